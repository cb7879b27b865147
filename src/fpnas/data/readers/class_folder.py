"""Folders of class folders: `mine/cat/1.jpg`, or `mine/train/cat/1.jpg` beside `mine/val/` or `mine/test/`.

A class is a folder, named after itself; classes are in the order of their names, images in the order of theirs, folders
within a class included. Images are told by the ends of their names. Kinds that can't be read are taken too, so that
they are named and not passed over as other files are.

Links are followed, but for those to folders that they are in, which lead in a circle.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from fpnas.data.places import Places, Texts
from fpnas.data.request import Encoded, Parts, Request, part_called
from fpnas.errors import InputError

FORM = "a folder of class folders with images"

IMAGES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".heic", ".heif", ".hif")
"""How the names of images end."""

_REFUSED = (".bmp", ".gif", ".jp2", ".jxl", ".tif", ".tiff")

_DEPTH = 3

_Classes = dict[str, list[str]]


def recognises(data: str | Path) -> bool:
    """By an image in the folder, or not far below."""
    return any(_images(Path(data), depth=_DEPTH))


def read(request: Request) -> Parts:
    """The parts of a folder of class folders; images stay encoded."""
    folder = Path(request.data)
    places = _parts(folder) or {"train": folder}
    found = {part: _classes(place) for part, place in places.items()}
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


def _parts(folder: Path) -> dict[str, Path]:
    """The folders of parts, such as `train`; {} where there are none."""
    places: dict[str, Path] = {}
    for place in _folders(folder):
        part = part_called(place.name)
        # One that has images of its own, and no folders with images, is a class that is called like a part.
        if part is None or not any(any(_images(inside)) for inside in _folders(place)):
            continue
        if part in places:
            got = f"'{places[part].name}' and '{place.name}' in '{folder}'"
            raise InputError(f"one folder of {part} images", got, "put them into one, or remove one")
        places[part] = place
    return places


def _classes(place: Path) -> _Classes:
    """The images of each class: folders whose names look the same, which macOS and Linux write differently, are one."""
    found: _Classes = {}
    for folder in _folders(place):
        name = unicodedata.normalize("NFC", folder.name)
        if any("\ud800" <= letter <= "\udfff" for letter in name):
            got = f"{folder.name!a:.80} in '{place}'"
            raise InputError("class folders with names in UTF-8", got, "rename the folder")
        found.setdefault(name, []).extend(_images(folder))
    return found


def _encoded(by_class: _Classes, classes: tuple[str, ...]) -> Encoded:
    """The images in their order, labelled by the place of their class in `classes`."""
    files = Texts(file for name in classes for file in by_class.get(name, ()))
    labels = (label for label, name in enumerate(classes) for _ in by_class.get(name, ()))
    return Encoded.at(Places(files), labels)


def _folders(folder: Path) -> list[Path]:
    """The folders within, by name; [] where there is no such folder."""
    return [Path(entry.path) for entry in _entries(folder) if _is_folder(entry)]


def _images(folder: Path, depth: int | None = None, been: set[str] | None = None) -> Iterator[str]:
    """The images in `folder` by name, then those of the folders in it; at most so many levels deep.

    `been` are the folders that aren't entered, by their real paths: those above, and those that were entered already.
    """
    entries = _entries(folder)
    if been is None and entries:
        above = {folder.absolute(), *folder.absolute().parents, *folder.resolve().parents}
        been = {os.path.realpath(place) for place in above}
    for entry in entries:
        # A link to a file that is gone is taken, and then named as unreadable.
        if entry.name.lower().endswith(IMAGES + _REFUSED) and not _is_folder(entry):
            yield entry.path
    for entry in entries:
        if depth == 0 or been is None or not _is_folder(entry):
            continue
        real = os.path.realpath(entry.path)
        if real not in been:
            been.add(real)
            yield from _images(Path(entry.path), None if depth is None else depth - 1, been)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, by name, but for hidden things."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except (OSError, ValueError):
        return []
