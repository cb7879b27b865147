"""`split_by`: a CSV of (image, group) that says which images belong together, such as those of one object or patient.

An image's path is relative to the data's folder or to the CSV's, or absolute. Every image of the data must be there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from fpnas.data.csv_rows import FILE, read_rows
from fpnas.data.request import Encoded, Parts, Request
from fpnas.errors import InputError

COLUMNS = {"image": ("file", *(name for name in FILE if name != "image")), "group": ("object", "patient", "subject")}

Groups = Int64[Tensor, " n"]


def groups_of(parts: Parts, request: Request) -> tuple[Groups | None, Groups | None]:
    """The group of each training and of each held-out image, numbered in the order of their names.

    None where none are asked for, and of held-out images where the data have none of their own.

    Raises:
        InputError: images that aren't files, a broken CSV, an image without a group or with two, or a group that is on
            both sides of the data's own split.
    """
    if request.split_by is None:
        return None, None
    path, data = Path(request.split_by), Path(request.data)
    sources = [source for source in (parts.train, parts.heldout) if source is not None]
    files = [source.files for source in sources if isinstance(source, Encoded) and source.one_each]
    if len(files) < len(sources):
        got = f"'{request.data}'"
        raise InputError("class folders or a CSV, for --split-by", got, "save the images as files, or leave it out")
    home = data if data.is_dir() else data.parent
    known = _read(path, home, {_key(file) for part in files for file in part})
    named: list[list[str]] = []
    for part in files:
        missing = [file for file in part if _key(file) not in known]
        if missing:
            got = f"none for {len(missing)} in '{path}', such as '{_shown(missing[0], home)}'"
            raise InputError("a group for each image", got, "add a row for each, with its path as here")
        named.append([known[_key(file)] for file in part])
    both = sorted(set(named[0]).intersection(*named[1:])) if len(named) == 2 else []
    if both:
        got = f"{len(both)} in training and in '{parts.heldout_from}', such as '{both[0]}'"
        raise InputError("groups that are on one side of the data's own split", got, "move their images to one side")
    order = {name: number for number, name in enumerate(sorted({name for part in named for name in part}))}
    found = [torch.tensor([order[name] for name in part]) for part in named]
    return found[0], found[1] if len(found) == 2 else None


def _read(path: Path, home: Path, images: Iterable[str]) -> dict[str, str]:
    """The group of each image that is listed, by its key; rows of other files are passed over."""
    wanted, known = set(images), dict[str, str]()
    for row in read_rows(path, COLUMNS, needed=2):
        name, group = row.values
        keys = [_key(folder / name) for folder in (home, path.parent)]
        key = next((key for key in keys if key in wanted), None)
        if key is not None and known.setdefault(key, group) != group:
            got = f"'{known[key]}' and '{group}' for '{name}' in '{path}'"
            raise InputError("one group for each image", got, "remove one of the rows")
    return known


def _shown(file: str | Path, home: Path) -> str:
    """As a row names it: relative to the data's folder, but for a file on another drive of Windows."""
    try:
        return os.path.relpath(file, home)
    except ValueError:
        return str(file)


def _key(file: str | Path) -> str:
    return os.path.normcase(os.path.abspath(file))
