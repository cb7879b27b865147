"""Folders of class folders: `mine/cat/1.jpg`, or `mine/train/cat/1.jpg` beside `mine/val/` or `mine/test/`.

A class is a folder, named after itself; classes are in the order of their names, images in the order of theirs, folders
within a class included. JPEG, PNG and WebP images are taken, files that aren't images passed over, images of other
kinds refused. Decoding is left to `decoding`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from fpnas.data.request import PARTS, Encoded, Item, Parts
from fpnas.errors import InputError

_READ = {".jpg", ".jpeg", ".png", ".webp"}
_REFUSED = {".avif", ".bmp", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".tif", ".tiff"}
SUFFIXES = frozenset(_READ | _REFUSED)
"""What names of images end in; those that can't be read are taken too, so that they aren't passed over in silence."""

_DEPTH = 3


def is_class_folder(folder: Path) -> bool:
    """Whether there are images in `folder`, or not far below."""
    return any(_images(folder, depth=_DEPTH))


def read_class_folder(folder: Path) -> Parts:
    """The parts of a folder of class folders; images stay encoded.

    Raises:
        InputError: no training images, images outside of class folders, a class without images or unknown in training.
    """
    places = {
        PARTS[place.name]: place
        for place in _folders(folder)
        # One that has images of its own, and no folders with images, is a class that is called like a part.
        if place.name in PARTS and any(any(_images(inside)) for inside in _folders(place))
    }
    found = {part: _by_class(place) for part, place in (places or {"train": folder}).items()}
    classes = tuple(found.get("train", {}))
    if "train" in found:
        _check_training(places.get("train", folder), found["train"])
    for part, files in found.items():
        unknown = next((name for name in files if files[name] and name not in classes), None)
        if "train" in found and unknown is not None:
            got = f"'{unknown}' in '{places[part]}'"
            raise InputError("classes that training has", got, "add training images of it, or remove the class")
    return Parts.of(folder.resolve().name, classes, {part: _encoded(files, classes) for part, files in found.items()})


def _check_training(place: Path, files: dict[str, list[Path]]) -> None:
    if not files:
        got = f"images without one in '{place}'"
        raise InputError("a folder for each class, with images in it", got, "sort the images into such folders")
    empty = next((name for name in files if not files[name]), None)
    if empty is not None:
        raise InputError("images in every class folder", f"none in '{place / empty}'", "add some, or remove the folder")


def _by_class(folder: Path) -> dict[str, list[Path]]:
    return {place.name: list(_images(place)) for place in _folders(folder)}


def _encoded(by_class: dict[str, list[Path]], classes: tuple[str, ...]) -> Encoded:
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
    """The images in `folder` by name, then those of the folders in it; at most so many floors deep."""
    entries = _entries(folder)
    for entry in entries:
        if os.path.splitext(entry.name)[1].lower() in SUFFIXES and entry.is_file():
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
