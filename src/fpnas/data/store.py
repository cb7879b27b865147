"""Decoded images that memory can't hold, in files that are mapped into memory: decoded once, then there for every run.

An entry is a folder named after what it is made from: the files' names, sizes and times of change, the images that are
wanted of them, and what they become. It is written whole or not at all, and by one process while others wait for it.
Entries stay until someone removes them.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.lib.format import open_memmap
from torch import Tensor

from fpnas.data.request import Encoded
from fpnas.errors import InputError
from fpnas.files import data_folder

FORMAT = 1
"""Part of the key: raise it where the same files would become other pixels."""

Shape = tuple[int, int, int, int]
Bytes = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Fill = Callable[[Bytes], dict[int, str]]
"""Fills an array from its start; what it left out, by place, so many rows at the end are then unused."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """(N, C, H, W) uint8 images, and the names of those that were left out, by place among the wanted ones."""

    images: Tensor
    skipped: Mapping[int, str]

    @classmethod
    def of(cls, images: Tensor, skipped: Mapping[int, str]) -> Decoded:
        """Of memory for all wanted images: what was left out has left some at its end."""
        return cls(images[: len(images) - len(skipped)], skipped)

    @property
    def kept(self) -> Tensor:
        """The places of the images among the wanted ones."""
        kept = torch.ones(len(self.images) + len(self.skipped), dtype=torch.bool)
        kept[list(self.skipped)] = False
        return kept.nonzero().flatten()


def folder() -> Path:
    """Where entries lie: `$FPNAS_DATA/decoded`, or in the cache folder."""
    return data_folder("decoded")


def key(sources: Sequence[tuple[Encoded, Tensor]], becomes: tuple[Any, ...]) -> str:
    """The name of the entry for these images."""
    hasher = hashlib.blake2b(f"{FORMAT} {becomes}".encode(), digest_size=16)
    for source, indices in sources:
        hasher.update(f"{len(indices)} {len(source.files)}".encode())
        hasher.update(indices.numpy().tobytes())
        for file in source.files:
            hasher.update(os.fsencode(os.path.abspath(file)))
            with suppress(OSError):  # a file that is gone is named when it should be decoded
                facts = os.stat(file)
                hasher.update(f"\0{facts.st_size} {facts.st_mtime_ns}\0".encode())
    return hasher.hexdigest()


def read(key: str) -> list[Decoded] | None:
    """The entry, a `Decoded` for each part, or None where there is none that is whole."""
    place = folder() / key
    try:
        skipped: Any = json.loads((place / "skipped.json").read_bytes())
        # Copied on write: whatever writes into the images writes into memory of its own, never into the file.
        arrays = [np.load(place / f"{number}.npy", mmap_mode="c") for number in range(len(skipped))]
        return [
            Decoded.of(torch.from_numpy(array), {int(at): name for at, name in left_out.items()})
            for array, left_out in zip(arrays, skipped, strict=True)
        ]
    except (OSError, EOFError, ValueError, TypeError, AttributeError):
        return None


def write(key: str, shapes: Sequence[Shape], fills: Sequence[Fill]) -> list[Decoded]:
    """Makes the entry and maps it; an entry that another process has made meanwhile is taken as it is.

    Raises:
        InputError: it doesn't fit onto the disk, or can't be written.
    """
    try:
        folder().mkdir(parents=True, exist_ok=True)
        with FileLock(folder() / f"{key}.lock"):
            saved = read(key)
            if saved is not None:
                return saved
            _check_room(shapes)
            shutil.rmtree(folder() / key, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=".decoding-", dir=folder(), ignore_cleanup_errors=True) as made:
                skipped: list[dict[int, str]] = []
                for number, (shape, fill) in enumerate(zip(shapes, fills, strict=True)):
                    out = open_memmap(Path(made) / f"{number}.npy", "w+", np.uint8, shape)
                    skipped.append(fill(out))
                    out.flush()
                    del out  # a mapped file can't be renamed on Windows
                (Path(made) / "skipped.json").write_text(json.dumps(skipped))
                os.rename(made, folder() / key)
    except OSError as error:
        got, fix = f"{error.strerror or error} ({error.filename or folder()})", "let FPNAS_DATA name another folder"
        raise InputError("a folder that can hold decoded images", got, fix) from error
    saved = read(key)
    assert saved is not None
    return saved


def _check_room(shapes: Sequence[Shape]) -> None:
    needed, free = sum(map(math.prod, shapes)), shutil.disk_usage(folder()).free
    if needed > free:
        count, _, size, _ = shapes[0]
        got = f"{needed / 2**30:.1f} GiB for {count} training images of {size} x {size} pixels and the held-out ones"
        fix = "choose a smaller image size, make room, or let FPNAS_DATA name a folder with room"
        raise InputError(f"images that fit into the {free / 2**30:.1f} GiB free in '{folder()}'", got, fix)
