"""What a short training sees: batches of small images, and crops and mirror images of them where it is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Generator, Tensor

from fpnas.data import Batches, Data, ImageData, LabelledSet
from fpnas.data.augment import flipped, padded_crop
from fpnas.elastic import Supernet
from fpnas.elastic.checks import evaluating
from fpnas.errors import InputError, unknown_name

SHRUNK = 1 / 2
"""To what share of its side an image is shrunk."""

LEAST_SIZE = 16
"""Pixels a side below which images aren't shrunk."""

Crop = Literal["none", "pad"]


class ProxyImages:
    """The training examples as short trainings take them.

    Args:
        supernet: whose space it is.
        data: whose training examples.
        image_size: see `ProxyEvaluator`.
        crop: likewise.
        flip: likewise.
        device: where batches are wanted.
        own_size: of the networks' input, where it isn't the data's.

    Raises:
        InputError: a size that the space doesn't take, an unknown crop, or any of these for what is no image.
    """

    def __init__(
        self,
        supernet: Supernet,
        data: Data,
        image_size: int | None,
        crop: Crop,
        flip: bool,
        device: str,
        own_size: int | None = None,
    ) -> None:
        if crop not in ("none", "pad"):
            raise unknown_name("crop of short trainings", str(crop), ("none", "pad"))
        if not isinstance(data, ImageData) and (crop != "none" or flip):
            raise InputError("images, for crop and flip", f"examples of shape {data.input_shape}", "leave them out")
        self.size, self.crop, self.flip = _size(supernet, data, image_size, own_size), crop, flip
        small: LabelledSet = data.train
        if isinstance(data, ImageData) and self.size is not None:
            small = data.train.resized(self.size, data.fit)
        self._data, self._batches = data, Batches(small, device)

    def at(self, indices: Tensor, stream: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Normalized inputs and labels of the examples at `indices`; with a stream, cropped and mirrored as asked."""
        inputs, labels = self._batches.at(indices)
        return self._changed(inputs, stream), labels

    def steps(self, chosen: Callable[[int], Tensor]) -> Callable[[int, Generator], tuple[Tensor, Tensor]]:
        """From a step, and a stream to draw from, to its batch as `at` gives it; streamed images are decoded ahead.

        Args:
            chosen: from a step to the indices of its examples, on this rank.
        """
        batches = self._batches.steps(chosen)

        def of_step(step: int, stream: Generator) -> tuple[Tensor, Tensor]:
            inputs, labels = batches(step)
            return self._changed(inputs, stream), labels

        return of_step

    def _changed(self, inputs: Tensor, stream: Generator | None) -> Tensor:
        if stream is not None and self.crop == "pad":
            inputs = padded_crop(inputs, stream)
        if stream is not None and self.flip:
            inputs = flipped(inputs, stream)
        return self._data.normalize(inputs)

    def settings(self) -> dict[str, Any]:
        """What is done to the images; {} where nothing is."""
        return {"crop": self.crop, "flip": self.flip} if self.crop != "none" or self.flip else {}


def _size(supernet: Supernet, data: Data, asked: int | None, own: int | None) -> int | None:
    """Pixels a side that networks of `own` size, by default the data's, train at; None where the data are no images."""
    own = own or data.describe().get("image_size")
    if own is None:
        if asked is not None:
            raise InputError("images, for an image size", f"examples of shape {data.input_shape}", "leave it out")
        return None
    least, most = supernet.image_sizes or (1, own)
    if asked is not None:
        if not least <= asked <= most:
            raise InputError(f"an image size of {least} to {most}", str(asked), "use the default")
        if not _runs(supernet, data, asked):
            raise InputError(f"an image size on which {supernet.name!r} runs", str(asked), "use the default")
        return asked
    shrunk = min(own, max(4 * math.ceil(SHRUNK * own / 4), LEAST_SIZE, least))
    return shrunk if shrunk == own or _runs(supernet, data, shrunk) else own


def _runs(supernet: Supernet, data: Data, size: int) -> bool:
    """Whether its largest network takes images of that size: of small ones little is left for the last kernels."""
    in_force = supernet.arch
    device = next(iter(supernet.parameters()), torch.zeros(0)).device
    example = torch.zeros(2, data.input_shape[0], size, size, device=device)
    try:
        with torch.no_grad(), evaluating(supernet):
            supernet.select(supernet.space.decode([n - 1 for n in supernet.space.cardinalities]))(example)
    except RuntimeError:  # of torch's layers
        return False
    finally:
        supernet.select(in_force)
    return True
