"""`StreamedSet`: images that are read and decoded when they are used, for data that memory can't hold.

It stands where an `ImageSet` does: `subset` and `resized` read nothing, `inputs` decodes its images, by threads, as
resident ones were decoded. A search and a training take batches that worker processes decode ahead, see `ahead`.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from fpnas.data.decode import UnreadableImage
from fpnas.data.decoding import in_order, sampled, unreadable
from fpnas.data.images import Fit, ImageSet, channel_statistics, room
from fpnas.data.labelled import check_groups, check_labels
from fpnas.data.places import Places
from fpnas.data.square import Crops, Square, Target
from fpnas.errors import InputError


@dataclass(frozen=True, eq=False)
class Stream:
    """Encoded images and what becomes of each.

    Attributes:
        places: where they are.
        target: what they become.
        skip_corrupt: whether another image of a batch stands in for one that can't be read, instead of an error.
        workers: processes, or threads, that decode; by default one for each core of this rank.
    """

    places: Places
    target: Target
    skip_corrupt: bool = False
    workers: int | None = None

    @property
    def num_workers(self) -> int:
        """How many processes or threads decode; 0: the caller's own."""
        if self.workers is not None:
            return self.workers
        return max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))

    def square(self, number: int, crops: Crops | None = None, epoch: int = 0) -> Square | Broken:
        """(C, size, size) uint8 of an image: of all of it, or of a random part."""
        try:
            content = self.places.item(number).content
            if crops is None:
                return self.target.whole(content)
            return crops.square(content, self.target, epoch, number)
        except UnreadableImage as error:
            return Broken(self.places.name(number), str(error))
        except OSError as error:
            return Broken(self.places.name(number), error.strerror or str(error))


class Broken(NamedTuple):
    """An image that can't be read, and why."""

    name: str
    reason: str


class Batch(NamedTuple):
    """(n, C, size, size) images, and those among them that are none, by their place."""

    images: UInt8[Tensor, "n c s s"]
    broken: Sequence[tuple[int, Broken]]

    @classmethod
    def of(cls, squares: Sequence[Square | Broken], target: Target) -> Batch:
        """Of images one by one, in channels-last memory, as they are decoded."""
        images = room((len(squares), target.size, target.size, target.channels)).permute(0, 3, 1, 2)
        array = images.numpy()
        broken: list[tuple[int, Broken]] = []
        for place, square in enumerate(squares):
            if isinstance(square, Broken):
                broken.append((place, square))
            else:
                array[place] = square
        return cls(images, broken)


@final
class StreamedSet(ImageSet):
    """Labelled images that are decoded when they are used.

    Args:
        stream: where they are, and what becomes of them.
        numbers: (N,) int64, which of the stream's images these are.
        labels: (N,) int64, not negative.
        groups: as in `LabelledSet`.

    Raises:
        InputError: no image, unequal counts, or a negative label.
    """

    def __init__(
        self, stream: Stream, numbers: Int64[Tensor, " n"], labels: Tensor, groups: Tensor | None = None
    ) -> None:
        if len(numbers) == 0:
            raise InputError("images", "none", "add some")
        check_labels(labels, len(numbers), "image")
        check_groups(groups, len(numbers))
        for name, value in (("stream", stream), ("numbers", numbers), ("labels", labels), ("groups", groups)):
            object.__setattr__(self, name, value)

    stream: Stream
    numbers: Tensor

    @property
    def inputs(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """(N, C, H, W) uint8: all of its images, decoded anew at each call."""
        return self.read(torch.arange(len(self)))[0].contiguous()

    @property
    def shape(self) -> tuple[int, int, int]:
        target = self.stream.target
        return target.channels, target.size, target.size

    def subset(self, indices: Int64[Tensor, " k"]) -> StreamedSet:
        """The images at `indices`, in their order; none is read."""
        groups = None if self.groups is None else self.groups[indices]
        return StreamedSet(self.stream, self.numbers[indices], self.labels[indices], groups)

    def relabelled(self, labels: Tensor) -> StreamedSet:
        """The same images with other labels."""
        return StreamedSet(self.stream, self.numbers, labels, self.groups)

    def resized(self, size: int, fit: Fit = "crop") -> StreamedSet:
        """The same images as `size` x `size` pixels; none is read."""
        stream = replace(self.stream, target=replace(self.stream.target, size=size, fit=fit))
        return StreamedSet(stream, self.numbers, self.labels, self.groups)

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel, of a sample of `decoding.SAMPLE` images."""
        return channel_statistics(self.subset(sampled(len(self))).inputs)

    def add_to(self, hasher: hashlib.blake2b) -> None:
        """Names, labels and what images become: 1.3 million images aren't read for a digest."""
        hasher.update(f"streamed {self.stream.target}".encode())
        numbers: list[int] = self.numbers.tolist()
        for number in numbers:
            hasher.update(os.fsencode(self.stream.places.mark(number)) + b"\0")
        hasher.update(self.labels.numpy().tobytes())

    def read(self, indices: Int64[Tensor, " k"]) -> tuple[UInt8[Tensor, "k c s s"], Int64[Tensor, " k"]]:
        """Images and labels at `indices`, decoded by threads.

        Raises:
            InputError: an image that can't be read, where such are not to be skipped.
        """
        numbers: list[int] = self.numbers[indices].tolist()
        found = [square for _, square in in_order(self.stream.square, numbers, self.stream.num_workers)]
        return self.settled(Batch.of(found, self.stream.target), indices)

    def settled(
        self, batch: Batch, indices: Int64[Tensor, " k"]
    ) -> tuple[UInt8[Tensor, "k c s s"], Int64[Tensor, " k"]]:
        """Images and labels of a batch; the one before stands in for one that can't be read, where that is asked for.

        Raises:
            InputError: an image can't be read.
        """
        labels = self.labels[indices]
        if not batch.broken:
            return batch.images, labels
        whole = torch.ones(len(labels), dtype=torch.bool)
        whole[[place for place, _ in batch.broken]] = False
        first = batch.broken[0][1]
        if not self.stream.skip_corrupt or not bool(whole.any()):
            raise unreadable(*first)
        for _, broken in batch.broken:
            warnings.warn(f"left out an image that can't be read: {broken.name} ({broken.reason})", stacklevel=2)
        # Of each place the last readable one up to there; of those before the first, that.
        kept = whole.nonzero().flatten()
        nearest = kept[(whole.cumsum(0) - 1).clamp(min=0)]
        return batch.images[nearest], labels[nearest]
