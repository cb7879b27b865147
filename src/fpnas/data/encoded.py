"""Encoded images of any number and size, in class folders or in parquet, become an `ImageData`: the way that all
readers of encoded images share.

What a reader hands over are `Encoded` parts: labels that are known at once, and a stream of the images. First the
training images' headers are read: they give the size (where none is asked for) and the channels, before memory is
taken. Then images are decoded by threads (Pillow decodes outside Python's lock) and resized one after another. What one
image's bytes mean is left to `decode`, the rules of sizes to `images`.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median_low
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from fpnas.data.decode import Header, Pixels, UnreadableImage, decode, read_header
from fpnas.data.images import Fit, HeldoutFrom, ImageData, ImageSet, default_size, resize_images, too_large
from fpnas.data.splits import stratified_split
from fpnas.errors import InputError

HELDOUT = 0.2
"""The fraction that is held out where the data has no images of its own for that."""

_CHUNK = 32
_CHUNK_PIXELS = 2 * 2**20


class Item(NamedTuple):
    """One encoded image: what messages call it, and its bytes or its file."""

    name: str
    content: bytes | Path


@dataclass(frozen=True, eq=False)
class Encoded:
    """Encoded images with labels.

    Attributes:
        labels: (N,) int64.
        items: streams the images at sorted indices.
    """

    labels: Tensor
    items: Callable[[Int64[Tensor, " k"]], Iterator[Item]]


@dataclass(frozen=True, eq=False)
class Parts:
    """What a reader of encoded images found; `heldout` is None where a part of `train` has to be split off."""

    name: str
    classes: tuple[str, ...]
    train: Encoded
    heldout: Encoded | None
    heldout_from: HeldoutFrom


@dataclass(frozen=True)
class Settings:
    """How encoded images become an `ImageData`; see `load`."""

    image_size: int | None = None
    fit: Fit = "crop"
    seed: int = 0
    workers: int | None = None
    skip_corrupt: bool = False


def decoded(parts: Parts, settings: Settings) -> ImageData:
    """Decodes what a reader found.

    Raises:
        InputError: an image that can't be read (by name), labels that don't fit, too little memory.
    """
    check_labels(parts)
    every = torch.arange(len(parts.train.labels))
    if parts.heldout is None:
        kept, held = stratified_split(parts.train.labels, HELDOUT, settings.seed)
        sources = (parts.train, kept), (parts.train, held)
    else:
        sources = (parts.train, every), (parts.heldout, torch.arange(len(parts.heldout.labels)))
    headers = _headers(*sources[0], settings)
    size = settings.image_size or default_size(median_low(header.short_side for header in headers))
    channels = 1 if all(header.is_grey for header in headers) else 3
    train, heldout = (_decode_part(source, indices, channels, size, settings) for source, indices in sources)
    return ImageData.of(
        parts.name,
        train,
        heldout,
        classes=parts.classes,
        heldout_from=parts.heldout_from if parts.heldout is not None else "split",
        image_size=size,
    )


def check_labels(parts: Parts) -> None:
    """`InputError` where a label has no class, or a class of the held-out images none in training."""
    count = len(parts.classes)
    for part, source in (("training", parts.train), ("held-out", parts.heldout)):
        if source is None:
            continue
        if len(source.labels) == 0:
            raise InputError(f"{part} images in '{parts.name}'", "none", "add some")
        low, high = int(source.labels.min()), int(source.labels.max())
        if low < 0 or high >= count:
            got = f"{low if low < 0 else high} among the {part} labels of '{parts.name}'"
            raise InputError(f"labels of 0 to {count - 1}, as there are {count} classes", got, "mend the labels")
    if parts.heldout is not None:
        strangers = set(parts.heldout.labels.unique().tolist()) - set(parts.train.labels.unique().tolist())
        if strangers:
            names = ", ".join(repr(parts.classes[label]) for label in sorted(strangers)[:5])
            got = f"none of {names} in '{parts.name}'"
            raise InputError("training images of every class that is held out", got, "add some, or remove the class")


def _headers(source: Encoded, indices: Tensor, settings: Settings) -> list[Header]:
    headers: list[Header] = []
    for item in source.items(indices):
        try:
            headers.append(read_header(item.content))
        except UnreadableImage as error:
            if not settings.skip_corrupt:
                raise unreadable(item.name, error) from error
    if not headers:
        raise InputError("training images that can be read", "none", "check the files")
    return headers


def _decode_part(source: Encoded, indices: Tensor, channels: int, size: int, settings: Settings) -> ImageSet:
    """Decodes, fits to the size and puts together; unreadable images are left out where that is asked for."""
    shape = (len(indices), channels, size, size)
    try:
        images = torch.empty(shape, dtype=torch.uint8)
    except RuntimeError as error:
        raise too_large(shape) from error
    kept: list[int] = []

    def work(chunk: list[Item]) -> list[Pixels | UnreadableImage]:
        return [_try_decode(item, channels, 2 * size) for item in chunk]

    position = 0
    for chunk, results in _in_order(work, _chunks(source.items(indices), _CHUNK), settings.workers):
        for item, result in zip(chunk, results, strict=True):
            if isinstance(result, UnreadableImage):
                if not settings.skip_corrupt:
                    raise unreadable(item.name, result) from result
            else:
                if result.shape[1:] == (size, size):
                    images[len(kept)].numpy()[...] = result
                else:
                    images[len(kept)] = resize_images(_tensor(result)[None], size, settings.fit)[0]
                kept.append(position)
            position += 1
    if not kept:
        raise InputError("images that can be read", "none", "check the files")
    return ImageSet(images[: len(kept)], source.labels[indices[torch.tensor(kept)]])


def _try_decode(item: Item, channels: int, enough: int) -> Pixels | UnreadableImage:
    try:
        return decode(item.content, channels, enough)
    except UnreadableImage as error:
        return error


def _tensor(pixels: Pixels) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels))


def unreadable(name: str, error: UnreadableImage) -> InputError:
    """The error for an image that can't be read."""
    return InputError("images that can be read", f"'{name}' ({error})", "mend or remove it, or ask to skip such files")


T = TypeVar("T")
R = TypeVar("R")


def _chunks(values: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _in_order(work: Callable[[T], R], values: Iterable[T], workers: int | None) -> Iterator[tuple[T, R]]:
    """`work` of each value, in order, by so many threads; never more than two values a thread are in memory."""
    threads = (os.cpu_count() or 1) if workers is None else workers
    if threads < 2:
        for value in values:
            yield value, work(value)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[T, Future[R]]] = deque()
        try:
            for value in values:
                waiting.append((value, pool.submit(work, value)))
                if len(waiting) > 2 * threads:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
