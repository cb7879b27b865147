"""Many encoded images become pixels of one size: by threads, into memory or, where that can't hold them, into a file.

First the headers of the training images are read: they give the size (where none is asked for) and the channels, and so
the room that is needed, before any is taken. Threads decode, since Pillow does so outside Python's lock, and hand over
images of any size; they are brought to one size one after another, by torch, which has threads of its own.
"""

from __future__ import annotations

import math
import os
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from statistics import median_low
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from fpnas.data import store
from fpnas.data.decode import Pixels, UnreadableImage, decode, read_header
from fpnas.data.images import LARGEST_DEFAULT, resize_images, room
from fpnas.data.request import Encoded, Item, Request
from fpnas.errors import InputError

LARGEST_IN_MEMORY = 2 * 2**30
"""The most bytes of decoded images that are kept in memory; more are kept in a file."""

_CHUNK = 32
"""The most images that a thread is given at once."""

_CHUNK_PIXELS = 2**22
"""The pixels that a thread is given at once, about: fewer images where they are large."""

Source = tuple[Encoded, Tensor]
"""Encoded images, and the sorted indices, (K,) int64, of those that are wanted."""


@dataclass(frozen=True)
class _Target:
    """What all images become, and how many a thread is given at once."""

    channels: int
    size: int
    chunk: int


def decode_all(sources: Sequence[Source], request: Request) -> list[store.Decoded]:
    """Decodes all sources to the size that is asked for, or that suits the first of them (the training images).

    Raises:
        InputError: an unreadable image, by name, where such are not to be skipped; too little memory or disk.
    """
    key = store.key(sources, (request.image_size, request.fit, request.skip_corrupt))
    saved = store.read(key)
    if saved is not None:
        return saved
    target = _measure(sources[0], request)
    shapes = [(len(indices), target.channels, target.size, target.size) for _, indices in sources]
    work = [lambda out, source=source: _decode_into(out, source, target, request) for source in sources]
    if sum(map(math.prod, shapes)) > LARGEST_IN_MEMORY:
        return store.write(key, shapes, work)
    memory = [room(shape) for shape in shapes]
    return [store.Decoded.of(images, fill(images.numpy())) for images, fill in zip(memory, work, strict=True)]


def _measure(source: Source, request: Request) -> _Target:
    sides, areas, grey = array("q"), array("q"), True  # a Header for each of many images would take more than these
    for item in source[0].items(source[1]):
        try:
            header = read_header(item.content)
        except UnreadableImage as error:
            if not request.skip_corrupt:
                raise _unreadable(item.name, error) from error
            continue
        sides.append(header.short_side)
        areas.append(header.width * header.height)
        grey &= header.is_grey
    if not sides:
        raise InputError("training images that can be read", "none", "check the files")
    size = request.image_size or min(median_low(sides), LARGEST_DEFAULT)
    return _Target(1 if grey else 3, size, min(_CHUNK, max(1, _CHUNK_PIXELS // median_low(areas))))


def _decode_into(
    out: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], source: Source, target: _Target, request: Request
) -> dict[int, str]:
    """Fills `out` from its start with what can be read; the places (among the wanted) and names of the rest."""

    def work(chunk: list[Item]) -> list[Pixels | UnreadableImage]:
        return [_try_decode(item, target) for item in chunk]

    skipped: dict[int, str] = {}
    place = 0
    items = source[0].items(source[1])
    chunks = iter(lambda: list(islice(items, target.chunk)), [])
    for chunk, results in _in_order(work, chunks, request.workers):
        for item, result in zip(chunk, results, strict=True):
            if not isinstance(result, UnreadableImage):
                out[place - len(skipped)] = _fitted(result, target.size, request)
            elif request.skip_corrupt:
                skipped[place] = item.name
            else:
                raise _unreadable(item.name, result) from result
            place += 1
    if len(skipped) == place:
        raise InputError("images that can be read", "none", "check the files")
    return skipped


def _try_decode(item: Item, target: _Target) -> Pixels | UnreadableImage:
    try:
        # Twice the size: what is then resized still has all the detail that the result can show.
        return decode(item.content, target.channels, 2 * target.size)
    except UnreadableImage as error:
        return error


def _fitted(pixels: Pixels, size: int, request: Request) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    if pixels.shape[1:] == (size, size):
        return pixels
    return resize_images(torch.from_numpy(np.array(pixels))[None], size, request.fit)[0].numpy()


def _unreadable(name: str, error: UnreadableImage) -> InputError:
    fix = "mend or remove it, or pass over such files (--skip-corrupt, skip_corrupt=True)"
    return InputError("images that can be read", f"'{name}' ({error})", fix)


T = TypeVar("T")
R = TypeVar("R")


def _in_order(work: Callable[[T], R], values: Iterable[T], workers: int | None) -> Iterator[tuple[T, R]]:
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
