"""Folders of class folders: `mine/cat/1.jpg`, or `mine/train/cat/1.jpg` beside `mine/val/` or `mine/test/`.

A class is a folder, named after itself; classes are in the order of their names, images in the order of theirs, folders
within a class included. JPEG, PNG and WebP images are taken, files that aren't images passed over, images of other
kinds refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from fpnas.data.request import PARTS, Encoded, Item, Parts, Request
from fpnas.errors import InputError

FORM = "a folder of class folders with JPEG, PNG or WebP images"

_READ = (".jpg", ".jpeg", ".png", ".webp")
_REFUSED = (".avif", ".bmp", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".tif", ".tiff")
"""These are taken too, so that they aren't passed over in silence."""

_DEPTH = 3

_Classes = dict[str, list[Path]]


def recognises(data: str | Path) -> bool:
    """By an image in the folder, or not far below."""
    return any(_images(Path(data), depth=_DEPTH))


def read(request: Request) -> Parts:
    """The parts of a folder of class folders; images stay encoded."""
    folder = Path(request.data)
    places = {
        PARTS[place.name]: place
        for place in _folders(folder)
        # One that has images of its own, and no folders with images, is a class that is called like a part.
        if place.name in PARTS and any(any(_images(inside)) for inside in _folders(place))
    } or {"train": folder}
    found: dict[str, _Classes] = {
        part: {within.name: list(_images(within)) for within in _folders(place)} for part, place in places.items()
    }
    if "train" in found and not found["train"]:
        got = f"images without one in '{places['train']}'"
        raise InputError("a folder for each class, with images in it", got, "sort the images into such folders")
    for name, files in found.get("train", {}).items():
        if not files:
            got = f"none in '{places['train'] / name}'"
            raise InputError("images in every class folder", got, "add some, or remove the folder")
    # Parts that aren't used are checked too: a class of theirs would be an output that nothing trains.
    for part, by_class in found.items():
        for name, files in by_class.items():
            if files and name not in found.get("train", by_class):
                got = f"'{name}' in '{places[part]}'"
                raise InputError("classes that training has", got, "add training images of it, or remove the class")
    classes = tuple(sorted({name for by_class in found.values() for name, files in by_class.items() if files}))
    return Parts.of(folder.resolve().name, classes, {part: _encoded(files, classes) for part, files in found.items()})


def _encoded(by_class: _Classes, classes: tuple[str, ...]) -> Encoded:
    """The images in their order, labelled by the place of their class in `classes`."""
    files = tuple(file for name in classes for file in by_class.get(name, ()))
    counts = torch.tensor([len(by_class.get(name, ())) for name in classes], dtype=torch.int64)

    def items(indices: Int64[Tensor, " k"]) -> Iterator[Item]:
        for index in indices.tolist():
            yield Item(str(files[index]), files[index])

    return Encoded(torch.arange(len(classes)).repeat_interleave(counts), items, files)


def _folders(folder: Path) -> list[Path]:
    """The folders within, by name; [] where there is no such folder."""
    return [Path(entry.path) for entry in _entries(folder) if entry.is_dir()]


def _images(folder: Path, depth: int | None = None) -> Iterator[Path]:
    """The images in `folder` by name, then those of the folders in it; at most so many levels deep."""
    entries = _entries(folder)
    for entry in entries:
        if entry.name.lower().endswith(_READ + _REFUSED) and entry.is_file():
            yield Path(entry.path)
    for entry in entries:
        # Links to folders aren't followed: they may lead in a circle.
        if depth != 0 and entry.is_dir(follow_symlinks=False):
            yield from _images(Path(entry.path), None if depth is None else depth - 1)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, by name, but for hidden things."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except (OSError, ValueError):
        return []
