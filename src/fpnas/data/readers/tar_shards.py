"""Folders of tar files as WebDataset has them: `train-000000.tar` beside `val-000000.tar`, or `train/000000.tar`.

A file `1.jpg` in them has its class, a number or a name, beside it: `1.cls`.

An image's place is that of its bytes in the tar file, which `tarfile` finds by going through all of it; the places are
kept in the cache. A tar file has to be uncompressed.
"""

from __future__ import annotations

import re
import tarfile
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fpnas.data.places import Places, Spans, Texts
from fpnas.data.readers.class_folder import IMAGES
from fpnas.data.request import PARTS, Encoded, Parts, Request, part_called
from fpnas.data.store import as_array, as_texts, entry, load_arrays
from fpnas.errors import InputError, reason

FORM = "a folder of tar files (train-0000.tar) with images and .cls files"

LONGEST_CLASS = 1000
"""Bytes of a .cls file."""

_PART = re.compile(rf"(?:^|[-_.])({'|'.join(PARTS)})(?=[-_.]|$)", re.IGNORECASE)


class _Member(NamedTuple):
    """An image in a tar file."""

    name: str
    start: int
    size: int
    label: str


def recognises(data: str | Path) -> bool:
    """By the files' names."""
    return bool(_shards(Path(data)))


def read(request: Request) -> Parts:
    """The parts of a folder of tar files; images stay encoded."""
    folder = Path(request.data)
    found = {part: _read(shards) for part, shards in _shards(folder).items()}
    _, known = found.get("train", next(iter(found.values())))
    labels = sorted(set(known))
    if all(label.isascii() and label.isdecimal() and int(label) < 2**31 for label in labels):
        labels = [str(number) for number in range(1 + max(map(int, labels)))]
    order = {label: number for number, label in enumerate(labels)}
    parts: dict[str, Encoded] = {}
    for part, (places, of_part) in found.items():
        strange = next((label for label in of_part if label not in order), None)
        if strange is not None:
            got = f"'{strange}' in the tar files of '{part}'"
            raise InputError("classes that training has", got, "add training images, or remove the class")
        parts[part] = Encoded.at(places, (order[label] for label in of_part))
    return Parts.of(folder.resolve().name, tuple(labels), parts)


def _shards(folder: Path) -> dict[str, list[str]]:
    """The tar files of each part, sorted by name; {} where there are none."""
    found: dict[str, list[str]] = {}
    try:
        inside = sorted(folder.iterdir())
    except (OSError, ValueError):
        return {}
    for place in inside:
        if place.suffix == ".tar" and place.is_file():
            match = _PART.search(place.stem)
            found.setdefault(PARTS[match[1].lower()] if match else "train", []).append(str(place))
        elif (part := part_called(place.name)) and place.is_dir():
            shards = sorted(map(str, place.glob("*.tar")))
            if shards:
                found.setdefault(part, []).extend(shards)
    return found


def _read(shards: Sequence[str]) -> tuple[Places, list[str]]:
    """Where the images of a part are, and the classes that their .cls files name."""
    place = entry(shards, lambda made: _write_index(shards, made))
    found = load_arrays(place / "index.npz")
    classes = list(as_texts(found["classes"]))
    spans = Spans(as_texts(found["names"]), found["shard"], found["start"], found["size"])
    return Places(Texts(shards), spans), [classes[number] for number in found["label"].tolist()]


def _write_index(shards: Sequence[str], made: Path) -> None:
    names: list[str] = []
    shard_of, start, size, label = array("q"), array("q"), array("q"), array("q")
    classes: dict[str, int] = {}
    for number, shard in enumerate(shards):
        for member in _members(shard):
            names.append(member.name)
            shard_of.append(number)
            start.append(member.start)
            size.append(member.size)
            label.append(classes.setdefault(member.label, len(classes)))
    if not names:
        raise InputError("images with .cls files beside them", f"none in '{shards[0]}'", "write the tar files anew")
    texts = {"names": as_array(names), "classes": as_array(classes)}
    numbers = {"shard": np.array(shard_of), "start": np.array(start), "size": np.array(size), "label": np.array(label)}
    np.savez(made / "index.npz", allow_pickle=False, **texts, **numbers)


def _members(shard: str) -> Iterator[_Member]:
    """The images of a tar file, in the order in which each is complete."""
    images: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, str] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                folder, _, base = member.name.rpartition("/")
                stem, _, ending = base.partition(".")
                key = f"{folder}/{stem}"
                if not member.isfile() or member.issparse():
                    continue
                if f".{ending.lower()}" in IMAGES:
                    images[key] = member
                elif ending.lower() == "cls" and member.size <= LONGEST_CLASS:
                    content = tar.extractfile(member)
                    assert content is not None
                    labels[key] = content.read().decode().strip()
                if key in images and key in labels:
                    image = images.pop(key)
                    yield _Member(image.name, image.offset_data, image.size, labels.pop(key))
        with open(shard, "rb") as file:
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # tarfile takes a cut header for the end
                raise tarfile.ReadError("it is cut off")
    except (OSError, tarfile.TarError, UnicodeDecodeError) as error:
        got = f"'{shard}' ({reason(error)})"
        raise InputError("a sound, uncompressed tar file", got, "get the file again, or unpack it") from error
    if images:
        got = f"'{next(iter(images.values())).name}' without one in '{shard}'"
        raise InputError("a .cls file beside each image", got, "write the tar files anew")
