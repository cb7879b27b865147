"""The ranges of int8 activations: what training images show of each tensor, by several methods, and which one to take.

A range that holds all values makes coarse steps; a narrower one clips outliers. Which is better depends on the network,
so a file is made by each method, and the one whose logits are nearest to the float network's, on other training images,
is taken. Held-out images have no part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from fpnas.data import ImageSpec
from fpnas.errors import InputError
from fpnas.shipping.check import BATCH_SIZES, Run, Shipped, example

Range = tuple[float, float]
Bounds = Mapping[str, Range]
"""Of each tensor, by its name."""

_SAMPLES = 1024
"""Values of a tensor that are kept of one image; its extremes always are."""
_BATCH = 32
_CLIPS = np.linspace(0.3, 1.0, 15)


class Seen:
    """What calibration images show of each tensor: extremes, and a random sample."""

    def __init__(self) -> None:
        self._draws = np.random.default_rng(0)
        self._extremes: dict[str, Range] = {}
        self._samples: dict[str, list[np.ndarray[Any, Any]]] = {}

    def add(self, name: str, values: np.ndarray[Any, Any]) -> None:
        """The values of a tensor for one image or several, the first axis."""
        flat = values.reshape(-1)
        low, high = self._extremes.get(name, (0.0, 0.0))
        self._extremes[name] = min(low, float(flat.min())), max(high, float(flat.max()))
        count = min(len(flat), _SAMPLES * len(values))
        self._samples.setdefault(name, []).append(flat[self._draws.integers(0, len(flat), count)])

    def bounds(self, method: str) -> dict[str, Range]:
        """The ranges, each with 0 in it, by one of `METHODS`; 0 to 1 where nothing but 0 was seen."""
        narrow = METHODS[method]
        return {
            name: narrow(np.concatenate(self._samples[name]), extremes) if extremes[0] < extremes[1] else (0.0, 1.0)
            for name, extremes in self._extremes.items()
        }


def _all(values: np.ndarray[Any, Any], extremes: Range) -> Range:
    del values
    return extremes


def _percentile(share: float) -> Callable[[np.ndarray[Any, Any], Range], Range]:
    def narrow(values: np.ndarray[Any, Any], extremes: Range) -> Range:
        low, high = np.percentile(values, [100 - share, share])
        found = min(0.0, float(low)), max(0.0, float(high))
        return found if found[0] < found[1] else extremes

    return narrow


def _least_squares(values: np.ndarray[Any, Any], extremes: Range) -> Range:
    """Of ranges that are shares of the whole one, that in which 256 steps leave the least squared error."""

    def error(share: float) -> float:
        low, high = share * extremes[0], share * extremes[1]
        step = (high - low) / 255
        rounded = np.round((values.clip(low, high) - low) / step) * step + low
        return float(((rounded - values) ** 2).mean())

    best = min(_CLIPS, key=error)
    return best * extremes[0], best * extremes[1]


METHODS: dict[str, Callable[[np.ndarray[Any, Any], Range], Range]] = {
    "min-max": _all,
    "percentile 99.99": _percentile(99.99),
    "percentile 99.9": _percentile(99.9),
    "least squares": _least_squares,
}
"""From sampled values and extremes to a range."""


@dataclass(frozen=True, eq=False)
class Quantised:
    """An int8 file and how it was chosen.

    Attributes:
        shipped: the file.
        facts: plain JSON: "calibration", the method taken, with further options of the format, "calibration_images",
            and "divergence", that of each way tried: the mean Kullback-Leibler divergence of its classes'
            probabilities from the float network's, in nats.
    """

    shipped: Shipped
    facts: dict[str, Any]


def halves(images: Float32[Tensor, "n c h w"]) -> tuple[Tensor, Tensor]:
    """The images to calibrate with, and the others, to choose by; of one image, that for both.

    Raises:
        InputError: there are none.
    """
    if len(images) == 0:
        raise InputError("calibration images", "none", "give some training images")
    half = (len(images) + 1) // 2
    return images[:half], images[half:] if len(images) > 1 else images


def nearest(
    ways: Iterable[str], make: Callable[[str], Shipped], exact: Run, images: Tensor
) -> tuple[Shipped, str, Any]:
    """The file whose probabilities are nearest to those of `exact` on the images.

    Args:
        ways: to make a file, the preferred ones first: a later one is taken where it is nearer.
        make: a file of a way.
        exact: the float network.
        images: training images that nothing was calibrated with.

    Returns:
        The file, its way, and the divergence of each way.
    """
    made = {way: make(way) for way in ways}
    wanted = _log_probabilities(exact, images)
    divergence = {way: _divergence(wanted, _log_probabilities(file.run, images)) for way, file in made.items()}
    best = min(divergence, key=lambda way: divergence[way])
    return made[best], best, divergence


def _log_probabilities(run: Run, images: Tensor) -> Tensor:
    return torch.cat([run(part) for part in images.split(_BATCH)]).double().log_softmax(dim=1)


def _divergence(wanted: Tensor, found: Tensor) -> float:
    return float((wanted.exp() * (wanted - found)).sum(dim=1).mean())


def check_int8(run: Run, spec: ImageSpec) -> None:
    """`InputError` where int8 logits have another shape or aren't finite."""
    for count in BATCH_SIZES:
        logits = run(example(spec, count))
        if logits.shape != (count, spec.num_classes) or not bool(torch.isfinite(logits).all()):
            got = f"shape {tuple(logits.shape)}, or values that aren't"
            raise InputError(f"finite int8 logits of shape ({count}, {spec.num_classes})", got, "export without int8")
