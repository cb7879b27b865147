"""The formats that need nothing beside torch: torch.export's .pt2, with a dynamic batch, and safetensors."""

from __future__ import annotations

import copy
import io
import json
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from safetensors.torch import load as safetensors_load
from safetensors.torch import save as safetensors_save
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from fpnas.data import ImageSpec
from fpnas.shipping.check import Shipped, check, example, plain_copy

PT2_FACTS = "fpnas.json"
"""The name of the facts within a .pt2, for `extra_files` of `torch.export.load`."""

BATCH = Dim("batch", min=1, max=2**31 - 1)
"""Any number of images; with no largest one torch 2.6 refuses many a network."""


def exported_program(network: nn.Module, spec: ImageSpec) -> ExportedProgram:
    """The network as torch.export sees it: images (N, C, H, W) with any N from 1 on, C, H and W fixed."""
    # Two images: a batch of one would be taken for a constant.
    return torch.export.export(network, (example(spec, 2),), dynamic_shapes=({0: BATCH},))


def to_pt2(network: nn.Module, spec: ImageSpec, facts: Mapping[str, Any] | None = None) -> Shipped:
    """A .pt2 that `torch.export.load(file).module()` gives back, with a dynamic batch.

    Args:
        network: a plain module, images to logits.
        spec: what it takes.
        facts: plain JSON to be carried along in the file; the spec is added.

    Raises:
        InputError: read back, it differs from the network by more than 1e-4.
    """
    plain = plain_copy(network)
    buffer = io.BytesIO()
    with quiet():
        program = exported_program(plain, spec)
        torch.export.save(program, buffer, extra_files={PT2_FACTS: json.dumps({**(facts or {}), **spec.to_json()})})
        content = buffer.getvalue()
        again = torch.export.load(io.BytesIO(content)).module()
    return Shipped(content, again, check(plain, again, spec, "a .pt2"))


def to_safetensors(network: nn.Module, spec: ImageSpec) -> Shipped:
    """The weights as a .safetensors; with an arch.json beside it `fpnas.load` gives the network back.

    Raises:
        InputError: read back, it differs from the network by more than 1e-4.
    """
    plain = plain_copy(network)
    content = safetensors_save({name: tensor.contiguous().clone() for name, tensor in plain.state_dict().items()})
    again = copy.deepcopy(plain)
    for tensor in again.state_dict().values():
        tensor.zero_()
    again.load_state_dict(safetensors_load(content))

    @torch.no_grad()
    def run(images: Tensor) -> Tensor:
        return again(images)

    return Shipped(content, run, check(plain, run, spec, "a .safetensors"))


@contextmanager
def quiet() -> Generator[None]:
    """Within it, the warnings of torch's exporters about their own code are kept back."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
