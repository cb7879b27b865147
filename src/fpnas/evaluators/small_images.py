"""`SmallImages`: the data of short trainings, at a smaller size and cut into examples to train on and to judge by."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from fpnas import parallel
from fpnas.data import Batches, Data, EpochOrder, ImageData, LabelledSet, stratified_split
from fpnas.elastic import Supernet
from fpnas.errors import InputError

SHRUNK = 5 / 8
"""To what share of its side an image is shrunk. At a half the ranks of networks of one cost are far less those of the
truth, above it dearer."""

LEAST_SIZE = 16
"""Pixels a side below which images aren't shrunk."""

_AT_ONCE = 500


class Batch(NamedTuple):
    """A rank's part of a batch: normalized inputs and labels, the batch's number, and which share of it they are."""

    inputs: Tensor
    labels: Tensor
    number: int
    share: float


class SmallImages:
    """What there is for training, cut class by class.

    Args:
        supernet: that they are for.
        data: whose training examples are taken; other data than images stay as they are.
        size: pixels a side; by default `SHRUNK` of the data's, the next multiple of 4, but at least `LEAST_SIZE` and
            what the space takes.
        batch_size: examples of a batch.
        held_back: the share to judge by.
        seed: of the cut and of the order.
        device: where batches go.

    Raises:
        InputError: a size that isn't to be had, or too few examples.
    """

    def __init__(
        self,
        supernet: Supernet,
        data: Data,
        size: int | None,
        batch_size: int,
        held_back: float,
        seed: int,
        device: str,
    ) -> None:
        self.size, self._data = _size(supernet, data, size), data
        self._train, self._val = stratified_split(data.train.labels, held_back, seed)
        small: LabelledSet = data.train
        if isinstance(data, ImageData) and self.size is not None:
            small = data.train.resized(self.size)
        self._batches = Batches(small, device)
        self._order = EpochOrder(len(self._train), batch_size, seed, "proxy")
        least = parallel.world_size() * 2
        if self._order.n // self._order.steps_per_epoch < least:
            expected = f"batches of at least {least} images, two for each rank"
            raise InputError(expected, str(len(self._train)), "raise the batch size, or give more images")

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        return self._order.steps_per_epoch

    @property
    def num_held_back(self) -> int:
        """Examples to judge by."""
        return len(self._val)

    def batch(self, number: int) -> Batch:
        """This rank's part of a batch to train on."""
        chosen = self._order.batch(number)
        own = parallel.share(chosen)
        images, labels = self._batches.at(self._train[own])
        return Batch(self._data.normalize(images), labels, number, len(own) / len(chosen))

    def held_back(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and labels to judge by, in parts."""
        for part in self._val.split(_AT_ONCE):
            images, labels = self._batches.at(part)
            yield self._data.normalize(images), labels


def _size(supernet: Supernet, data: Data, asked: int | None) -> int | None:
    """Pixels a side that networks are trained at; None where the data are no images."""
    own = data.describe().get("image_size")
    if own is None:
        if asked is not None:
            raise InputError("images, for an image size", f"examples of shape {data.input_shape}", "leave it out")
        return None
    least, most = supernet.image_sizes or (1, own)
    if asked is not None and not least <= asked <= most:
        raise InputError(f"an image size of {least} to {most}", str(asked), "use the default")
    return asked if asked is not None else min(own, max(4 * math.ceil(SHRUNK * own / 4), LEAST_SIZE, least))
