"""Decoded images that memory can't hold, in files that are mapped into memory: decoded once, then there for every run.

An entry is a folder named after what it is made from: the files' names, sizes and times of change, the images that are
wanted of them, and what they become. It is written whole or not at all, and by one process while others wait for it.
Entries stay until someone removes them. What goes into one is left to `decoding`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from fpnas.data.places import own_folder
from fpnas.data.request import Encoded
from fpnas.errors import InputError

FORMAT = 1
"""Part of the key: raise it where the same files would become other pixels."""

Bytes = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Fill = Callable[[Bytes], dict[int, str]]
"""Fills an array from its start; what it left out, by place, so many rows at the end are then unused."""

Saved = list[tuple[Tensor, dict[int, str]]]
"""Of each part the images, mapped, and what was left out."""


def folder() -> Path:
    """Where entries lie: `$FPNAS_DATA/decoded`, or in the cache folder."""
    return own_folder("decoded")


def key(sources: Sequence[tuple[Encoded, Tensor]], becomes: tuple[Any, ...]) -> str:
    """The name of the entry for these images."""
    hasher = hashlib.blake2b(f"{FORMAT} {becomes}".encode(), digest_size=16)
    for source, indices in sources:
        hasher.update(f"{len(indices)} {len(source.files)}".encode())
        hasher.update(indices.numpy().tobytes())
        for file in source.files:
            facts = file.stat()
            hasher.update(os.fsencode(os.path.abspath(file)))
            hasher.update(f"\0{facts.st_size} {facts.st_mtime_ns}\0".encode())
    return hasher.hexdigest()


def read(key: str) -> Saved | None:
    """The entry, or None where there is none that is whole."""
    place = folder() / key
    try:
        meta: Any = json.loads((place / "meta.json").read_bytes())
        return [
            (_mapped(place / f"{number}.u8", tuple(part["shape"])), {int(at): name for at, name in part["skipped"]})
            for number, part in enumerate(meta)
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(key: str, shapes: Sequence[tuple[int, int, int, int]], fills: Sequence[Fill]) -> Saved:
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
                _fill(Path(made), shapes, fills)
                os.rename(made, folder() / key)
    except OSError as error:
        got, fix = f"{error.strerror or error} ({error.filename or folder()})", "let FPNAS_DATA name another folder"
        raise InputError("a folder that can hold decoded images", got, fix) from error
    saved = read(key)
    assert saved is not None
    return saved


def _fill(made: Path, shapes: Sequence[tuple[int, int, int, int]], fills: Sequence[Fill]) -> None:
    meta: list[dict[str, Any]] = []
    for number, (shape, fill) in enumerate(zip(shapes, fills, strict=True)):
        path = made / f"{number}.u8"
        out = np.memmap(path, np.uint8, "w+", shape=shape)
        skipped = fill(out)
        out.flush()
        del out
        shape = (shape[0] - len(skipped), *shape[1:])
        os.truncate(path, math.prod(shape))
        meta.append({"shape": shape, "skipped": list(skipped.items())})
    (made / "meta.json").write_text(json.dumps(meta))


def _mapped(path: Path, shape: tuple[int, ...]) -> Tensor:
    size = math.prod(shape)
    if path.stat().st_size != size or len(shape) != 4 or size == 0:
        raise ValueError("not as large as it should be")
    # Not shared: whatever writes into the images writes into memory of its own, never into the file.
    return torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8).view(shape)


def _check_room(shapes: Sequence[tuple[int, int, int, int]]) -> None:
    needed, free = sum(map(math.prod, shapes)), shutil.disk_usage(folder()).free
    if needed > free:
        count, _, size, _ = shapes[0]
        got = f"{needed / 2**30:.1f} GiB for {count} training images of {size} x {size} pixels and the held-out ones"
        fix = "choose a smaller image size, make room, or let FPNAS_DATA name a folder with room"
        raise InputError(f"images that fit into the {free / 2**30:.1f} GiB free in '{folder()}'", got, fix)
