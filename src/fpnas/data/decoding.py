"""Many encoded images become pixels of one size, by threads, in memory; `are_streamed` says whether that can hold them.

First the headers of the training images are read: they give the size (where none is asked for) and the channels, and so
the room that is needed, before any is taken. Threads decode, since Pillow does so outside Python's lock, and hand over
images of any size; they are brought to one size one after another, by torch, which has threads of its own.
"""

from __future__ import annotations

import os
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from statistics import median_low
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from fpnas.data.decode import Pixels, UnreadableImage, read_header
from fpnas.data.images import LARGEST_DEFAULT, room
from fpnas.data.places import Item
from fpnas.data.request import Encoded, Request
from fpnas.data.square import Square, Target
from fpnas.errors import InputError

LARGEST_IN_MEMORY = 2 * 2**30
"""The most bytes of decoded images that are kept in memory, unless it is asked for; more are streamed."""

SAMPLE = 512
"""Images that are looked at where all would take too long: for size, channels, mean and deviation."""

_CHUNK = 32
"""The most images that a thread is given at once."""

_CHUNK_PIXELS = 2**22
"""The pixels that a thread is given at once, about: fewer images where they are large."""

Source = tuple[Encoded, Tensor]
"""Encoded images, and the sorted indices, (K,) int64, of those that are wanted."""


class Measured(NamedTuple):
    """What all images become, and the pixels of a usual one."""

    target: Target
    area: int


@dataclass(frozen=True, eq=False)
class Decoded:
    """(N, C, H, W) uint8 images, and the names of those that were left out, by place among the wanted ones."""

    images: Tensor
    skipped: Mapping[int, str]

    @property
    def kept(self) -> Tensor:
        """The places of the images among the wanted ones."""
        kept = torch.ones(len(self.images) + len(self.skipped), dtype=torch.bool)
        kept[list(self.skipped)] = False
        return kept.nonzero().flatten()


def are_streamed(sources: Sequence[Source], request: Request) -> bool:
    """Whether the images stay encoded until they are used: as was asked, else where memory shouldn't hold them."""
    if request.stream is not None:
        return request.stream
    count = sum(len(indices) for _, indices in sources)
    size, channels = request.image_size or LARGEST_DEFAULT, 3
    if count * channels * size**2 > LARGEST_IN_MEMORY:
        found = measure(sources[0], request, SAMPLE).target
        size, channels = found.size, found.channels
    return count * channels * size**2 > LARGEST_IN_MEMORY


def sampled(count: int) -> Tensor:
    """The indices of `SAMPLE` images of so many, or of all where there are fewer."""
    return torch.linspace(0, count - 1, min(SAMPLE, count), dtype=torch.float64).long()


def decode_all(sources: Sequence[Source], request: Request) -> list[Decoded]:
    """Decodes all sources to the size that is asked for, or that suits the first of them (the training images).

    Raises:
        InputError: an unreadable image, by name, where such are not to be skipped; too little memory.
    """
    measured = measure(sources[0], request)
    target = measured.target
    chunk = min(_CHUNK, max(1, _CHUNK_PIXELS // measured.area))
    memory = [room((len(indices), target.channels, target.size, target.size)) for _, indices in sources]
    found: list[Decoded] = []
    for images, source in zip(memory, sources, strict=True):
        skipped = _decode_into(images.numpy(), source, target, chunk, request)
        found.append(Decoded(images[: len(images) - len(skipped)], skipped))
    return found


def measure(source: Source, request: Request, most: int | None = None) -> Measured:
    """Reads headers of the images, of `most` of them where that is given.

    Raises:
        InputError: an unreadable image, by name, where such are not to be skipped, or none that can be read.
    """
    sides, areas, grey = array("q"), array("q"), True  # a Header for each of many images would take more than these
    images, wanted = source
    if most is not None:
        # Of tables that are read one after another, from their start.
        wanted = wanted[:most] if images.places is None else wanted[sampled(len(wanted))]
    for item in images.items(wanted):
        try:
            header = read_header(item.content)
        except UnreadableImage as error:
            if not request.skip_corrupt:
                raise unreadable(item.name, str(error)) from error
            continue
        sides.append(header.short_side)
        areas.append(header.width * header.height)
        grey &= header.is_grey
    if not sides:
        raise InputError("training images that can be read", "none", "check the files")
    size = request.image_size or min(median_low(sides), LARGEST_DEFAULT)
    return Measured(Target(1 if grey else 3, size, request.fit), median_low(areas))


def _decode_into(out: Square, source: Source, target: Target, chunk: int, request: Request) -> dict[int, str]:
    """Fills `out` from its start with what can be read; the places (among the wanted) and names of the rest."""

    def work(part: list[Item]) -> list[Pixels | UnreadableImage]:
        return [_try_decode(item, target) for item in part]

    skipped: dict[int, str] = {}
    place = 0
    items = source[0].items(source[1])
    chunks = iter(lambda: list(islice(items, chunk)), [])
    for part, results in in_order(work, chunks, request.workers):
        for item, result in zip(part, results, strict=True):
            if not isinstance(result, UnreadableImage):
                out[place - len(skipped)] = target.fitted(result)
            elif request.skip_corrupt:
                skipped[place] = item.name
            else:
                raise unreadable(item.name, str(result)) from result
            place += 1
    if len(skipped) == place:
        raise InputError("images that can be read", "none", "check the files")
    return skipped


def _try_decode(item: Item, target: Target) -> Pixels | UnreadableImage:
    try:
        return target.decode(item.content)
    except UnreadableImage as error:
        return error


def unreadable(name: str, why: str) -> InputError:
    """The error for an image that can't be read, where such are not to be skipped."""
    fix = "mend or remove it, or pass over such files (--skip-corrupt, skip_corrupt=True)"
    return InputError("images that can be read", f"'{name}' ({why})", fix)


T = TypeVar("T")
R = TypeVar("R")


def in_order(work: Callable[[T], R], values: Iterable[T], workers: int | None) -> Iterator[tuple[T, R]]:
    """`work` of each value, in order, by so many threads; never more than two values a thread are in memory."""
    threads = (os.cpu_count() or 1) if workers is None else workers
    if threads == 0:
        for value in values:
            yield value, work(value)
        return
    with ThreadPoolExecutor(threads) as pool:
        submitted = ((value, pool.submit(work, value)) for value in values)
        waiting = deque(islice(submitted, 2 * threads))
        try:
            while waiting:
                value, future = waiting.popleft()
                yield value, future.result()
                waiting.extend(islice(submitted, 1))
        finally:
            for _, future in waiting:
                future.cancel()
