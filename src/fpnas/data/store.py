"""What is made of data once: the images of tables end to end in a file, as parquet can't be read one image at a time;
and the places of images in tar files.

An entry is a folder named after what it is made from: the files' names, sizes and times of change. It is written whole
or not at all, and by one process while others wait for it. Entries stay until someone removes them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
from array import array
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from fpnas.data.places import Places, Spans, Texts
from fpnas.data.request import Encoded
from fpnas.errors import InputError, reason
from fpnas.files import data_folder

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]

FORMAT = 1
"""Part of the key: raise it where the same files would become another entry."""


def folder() -> Path:
    """Where entries lie: `$FPNAS_DATA/encoded`, or in the cache folder."""
    return data_folder("encoded")


def entry(files: Iterable[str], make: Callable[[Path], None], bytes_: int = 0) -> Path:
    """The folder with what `make` writes of these files, made where it isn't there.

    Raises:
        InputError: it can't be written, or `bytes_` don't fit onto the disk.
    """
    place = folder() / _key(files)
    try:
        folder().mkdir(parents=True, exist_ok=True)
        with FileLock(folder() / f"{place.name}.lock"):
            if not place.exists():
                _check_room(bytes_)
                with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder(), ignore_cleanup_errors=True) as made:
                    make(Path(made))
                    os.rename(made, place)
    except OSError as error:
        got, fix = f"{error.strerror or error} ({error.filename or folder()})", "let FPNAS_DATA name another folder"
        raise InputError("a folder that can hold what is made of the data", got, fix) from error
    return place


def with_places(images: Encoded) -> Encoded:
    """The images where each can be read by itself: as they are, or, of a table, written anew.

    Raises:
        InputError: they don't fit onto the disk, or can't be written.
    """
    if images.places is not None:
        return images
    needed = sum(os.path.getsize(file) for file in images.files if os.path.exists(file))
    place = entry(images.files, lambda made: _write(images, made), needed)
    found = load_arrays(place / "spans.npz")
    sizes = found["sizes"]
    spans = Spans(as_texts(found["names"]), np.zeros(len(sizes), np.int64), sizes.cumsum() - sizes, sizes, named=True)
    return Encoded.at(Places(Texts([str(place / "images.bin")]), spans), images.labels.tolist())


def _write(images: Encoded, made: Path) -> None:
    sizes = array("q")
    names: list[str] = []
    with (made / "images.bin").open("wb") as file:
        for item in images.items(torch.arange(len(images.labels))):
            sizes.append(file.write(item.content if isinstance(item.content, bytes) else item.content.read_bytes()))
            names.append(item.name)
    np.savez(made / "spans.npz", sizes=np.array(sizes), names=as_array(names))


def as_array(texts: Iterable[str]) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Texts as an array that a file can hold."""
    return np.frombuffer(os.fsencode("\0".join(texts)), np.uint8)


def as_texts(content: Array) -> Texts:
    """The inverse of `as_array`."""
    return Texts(os.fsdecode(content.tobytes()).split("\0"))


def load_arrays(file: Path) -> dict[str, Array]:
    """The arrays of an entry's file.

    Raises:
        InputError: it is damaged.
    """
    try:
        with np.load(file) as saved:
            return dict(saved)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        got = f"'{file}' ({reason(error)})"
        raise InputError("a sound file in the cache", got, "remove its folder, it is made anew") from error


def _key(files: Iterable[str]) -> str:
    """The name of the entry for what is made of these files."""
    hasher = hashlib.blake2b(f"{FORMAT}".encode(), digest_size=16)
    for file in files:
        hasher.update(os.fsencode(os.path.abspath(file)))
        with suppress(OSError):  # a file that is gone is named when it should be read
            facts = os.stat(file)
            hasher.update(f"\0{facts.st_size} {facts.st_mtime_ns}\0".encode())
    return hasher.hexdigest()


def _check_room(needed: int) -> None:
    free = shutil.disk_usage(folder()).free
    if needed > free:
        fix = "make room, or let FPNAS_DATA name a folder with room"
        got = f"{needed / 2**30:.1f} GiB of encoded images"
        raise InputError(f"images that fit into the {free / 2**30:.1f} GiB free in '{folder()}'", got, fix)
