"""Does an exported file compute what the network computes? `Shipped` is a file that does, and how closely.

The measure is the greatest difference of a logit, as a share of the greatest logit (of 1 where all are smaller):
float32 sums that are taken in another order differ by a share of what is summed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from fpnas.data import ImageSpec
from fpnas.errors import InputError
from fpnas.streams import generator

TOLERANCE = 1e-4
BATCH_SIZES = (1, 2, 5)
"""Of the check. One image is a case of its own in exporters; the example that a network is exported with has two."""

Run = Callable[[Float32[Tensor, "n c h w"]], Float32[Tensor, "n classes"]]
"""Normalized images to logits."""


@dataclass(frozen=True, eq=False)
class Shipped:
    """An exported network that was read back and checked.

    Attributes:
        content: the file.
        run: what is in the file, on normalized images (N, C, H, W).
        difference: the greatest one from torch, see the head of this file; None for int8, which differs by intent.
    """

    content: bytes
    run: Run
    difference: float | None


def plain_copy(network: nn.Module) -> nn.Module:
    """A copy to export: on the CPU, in float32, in eval mode.

    Raises:
        InputError: it has no weights, being on the meta device.
    """
    if any(tensor.is_meta for tensor in network.state_dict().values()):
        raise InputError("a network with weights", "one on the meta device", "load weights or train it first")
    return copy.deepcopy(network).to("cpu", torch.float32, memory_format=torch.contiguous_format).eval()  # pyright: ignore[reportCallIssue, reportUnknownVariableType]


def example(spec: ImageSpec, count: int, seed: int = 0) -> Float32[Tensor, "n c h w"]:
    """Standard normal images, as normalized ones nearly are."""
    return torch.randn(count, *spec.shape, generator=generator(seed, "export", count))


@torch.no_grad()
def check(network: nn.Module, run: Run, spec: ImageSpec, what: str) -> float:
    """The greatest difference over several batch sizes.

    Raises:
        InputError: it exceeds `TOLERANCE`, or the shapes differ.
    """
    worst = 0.0
    for count in BATCH_SIZES:
        images = example(spec, count)
        expected, got = network(images), run(images)
        if got.shape != expected.shape or expected.shape != (count, spec.num_classes):
            shapes = f"{tuple(got.shape)} where torch gives {tuple(expected.shape)}"
            raise InputError(f"logits of shape ({count}, {spec.num_classes})", shapes, "check the number of classes")
        scale = max(1.0, float(expected.abs().max()))
        difference = float((got - expected).abs().max()) / scale
        if not difference <= TOLERANCE:  # NaN included
            got_words = f"{difference:.2g} with {count} images"
            fix = "nothing was written; export to another format, and report it"
            raise InputError(f"{what} that differs from torch by at most {TOLERANCE:g}", got_words, fix)
        worst = max(worst, difference)
    return worst
