"""Torch data sets, torchvision's among them, and pairs of data loaders become an `ImageData`: each image is taken once.

What a data set does at random, augmentation say, is thus frozen; leave that to the training. Images are taken as they
come, as Pillow images, arrays or tensors; all have to be of one size, or `image_size` given.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from fpnas.data.assemble import assemble
from fpnas.data.decode import GREY, to_pixels
from fpnas.data.images import Fit, ImageData, ImageSet, known_fit, resize_images, room
from fpnas.data.labelled import numbered_classes
from fpnas.data.request import Parts, Request
from fpnas.errors import InputError

_BATCH = 64


def from_dataset(
    train: Dataset[Any] | DataLoader[Any] | Sequence[Any],
    test: Dataset[Any] | DataLoader[Any] | Sequence[Any] | None = None,
    *,
    name: str = "dataset",
    class_names: Sequence[str] | None = None,
    image_size: int | None = None,
    fit: str = "crop",
    seed: int = 0,
    classes: int | None = None,
    classes_seed: int = 0,
    workers: int = 0,
) -> ImageData:
    """The images of torch data sets, in memory.

    Args:
        train: a map-style data set, or a list, of pairs (image, label), or a data loader of pairs of batches. An image
            is a Pillow image, a uint8 array (H, W) or (H, W, C), a uint8 tensor (C, H, W), or a tensor (C, H, W) of
            floats from 0 to 1, as `ToTensor` gives it. Not normalized: `ImageData` does that.
        test: likewise what is held out; by default a fifth of `train` by `seed`.
        name: what reports call the data.
        class_names: in the order of the labels; by default the `classes` of the data set, as torchvision's have them.
        image_size: pixels a side, 1 to 1024; by default the images' own, at most 224.
        fit: see `load`.
        seed: see `load`.
        classes: see `load`.
        classes_seed: see `load`.
        workers: processes that fetch the items of a data set; a data loader has its own.

    Raises:
        InputError: items that are something else, or don't fit each other.
    """
    request = Request(name, image_size, seed, False, known_fit(fit), classes, classes_seed, workers)
    found = _collect(train, image_size, request.fit, workers, "training")
    heldout = None if test is None else _collect(test, image_size, request.fit, workers, "held-out")
    named: Any = class_names or getattr(getattr(train, "dataset", train), "classes", None)
    if named is None:
        named = numbered_classes(found.labels, "number them anew, or give all of them class_names")
    parts = Parts(name, tuple(str(each) for each in named), found, heldout, "split" if heldout is None else "test")
    return assemble(parts, request)


def _collect(source: Any, size: int | None, fit: Fit, workers: int, what: str) -> ImageSet:
    count = _length(source)
    if not count:
        got = f"{type(source).__name__} of {'unknown length' if count is None else 'none'}"
        raise InputError(f"a map-style data set of {what} images, or a loader of one", got, "give one")
    images, labels = torch.empty(0), list[int]()
    for image, label in _items(source, workers, what):
        pixels = _pixels(image, what)[None]
        if size is not None:
            pixels = resize_images(pixels, size, fit)
        if not labels:
            images = room((count, *pixels.shape[1:]))
        if pixels.shape[1:] != images.shape[1:]:
            got = f"{tuple(images.shape[1:])} and {tuple(pixels.shape[1:])} among the {what} images"
            fix = "give image_size where sizes differ; convert all to RGB or all to grey where channels do"
            raise InputError("images of one size and kind", got, fix)
        if len(labels) == count:
            raise InputError(f"the {count} {what} images that its length announces", "more", "correct the length")
        images[len(labels)] = pixels[0]
        labels.append(_label(label, what))
    return ImageSet(images[: len(labels)], torch.tensor(labels, dtype=torch.int64))


def _length(source: Any) -> int | None:
    within = getattr(source, "dataset", source)
    return None if isinstance(within, IterableDataset) or not hasattr(within, "__len__") else len(within)


def _items(source: Any, workers: int, what: str) -> Iterator[tuple[Any, Any]]:
    if isinstance(source, DataLoader):
        for batch in source:
            yield from zip(*_pair(batch, what), strict=True)
        return
    # A generator of its own: a loader would draw from torch's global one, even where it doesn't shuffle.
    loader: Any = DataLoader(source, _BATCH, num_workers=workers, collate_fn=list, generator=torch.Generator())
    for batch in loader:
        yield from (_pair(item, what) for item in batch)


def _pair(item: Any, what: str) -> tuple[Any, Any]:
    if not isinstance(item, tuple | list) or len(item) != 2:
        got = f"{type(item).__name__} among the {what} images"
        raise InputError("pairs of an image and a label", got, "let the data set return two things")
    return item[0], item[1]


def _pixels(image: Any, what: str) -> Tensor:
    """(C, H, W) uint8."""
    if isinstance(image, Image.Image):
        return torch.from_numpy(np.array(to_pixels(image, 1 if image.mode in GREY else 3)))
    if isinstance(image, np.ndarray):
        array = image[..., None] if image.ndim == 2 else image
        image = torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1) if array.ndim == 3 else array
    if not isinstance(image, Tensor) or image.ndim != 3 or image.shape[0] not in (1, 3) or image.numel() == 0:
        got = f"{getattr(image, 'shape', type(image).__name__)} among the {what} images"
        raise InputError("images as from_dataset says, with 1 or 3 channels", got, "convert them")
    if image.is_floating_point():
        low, high = float(image.min()), float(image.max())
        if not 0 <= low <= high <= 1:
            got = f"{low:.3g} to {high:.3g} among the {what} images"
            raise InputError("floats from 0 to 1", got, "leave normalizing out, fpnas does it")
        image = (image * 255).round().to(torch.uint8)
    if image.dtype != torch.uint8:
        raise InputError("images as uint8, or as floats from 0 to 1", f"{image.dtype}", "convert them")
    return image


def _label(label: Any, what: str) -> int:
    try:
        number = operator.index(label)
    except TypeError as error:
        got = f"{label!r:.50} among the {what} ones"
        raise InputError("labels as whole numbers from 0 up", got, "number the classes") from error
    if not 0 <= number < 2**31:
        raise InputError("labels as whole numbers from 0 up", f"{number} among the {what} ones", "number the classes")
    return number
