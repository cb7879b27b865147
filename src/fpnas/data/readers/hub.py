"""Data sets of the Hugging Face hub, by name: `hf:uoft-cs/cifar10`, fetched and kept by the package `datasets`, the
extra `hub`, which hands out tables of arrow."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from jaxtyping import Int64
from torch import Tensor

from fpnas.data.readers.arrow import Block, Table, assembled, columns_of
from fpnas.data.request import Parts, Request, part_called
from fpnas.errors import InputError, missing_extra, reason

PREFIX = "hf:"
FORM = f"{PREFIX}NAME of the Hugging Face hub"

_ROWS = 256


def recognises(data: str | Path) -> bool:
    """By its prefix."""
    return isinstance(data, str) and data.startswith(PREFIX)


def read(request: Request) -> Parts:
    """The splits `train`, `test` and `validation` of a data set of the hub; images stay encoded."""
    name = str(request.data).removeprefix(PREFIX)
    try:
        datasets: Any = import_module("datasets")
    except ImportError as error:
        raise missing_extra(f"the package datasets, to fetch '{PREFIX}{name}'", "hub", error) from error
    # What `datasets` raises is not documented, and goes from OSErrors of the network to ValueErrors of its builders.
    try:
        splits: Any = datasets.load_dataset(name)
    except Exception as error:
        got = f"'{name}' ({reason(error)})"
        raise InputError("a data set of the Hugging Face hub", got, "check its name and the network") from error
    parts = {part: split for split in splits if (part := part_called(split))}
    tables = {part: _table(splits[split], f"{PREFIX}{name}, {split}") for part, split in parts.items()}
    return assembled(name.rpartition("/")[2], tables)


def _table(split: Any, where: str) -> Table:
    # With this format rows come as arrow has them, and images stay encoded.
    arrow: Any = split.with_format("arrow")
    columns = columns_of(split.features.arrow_schema, where)

    def blocks(indices: Int64[Tensor, " k"]) -> Iterator[Block]:
        for start in ((indices // _ROWS).unique() * _ROWS).tolist():
            yield Block(where, start, start, arrow[start : start + _ROWS].column(columns.image))

    files = tuple(Path(file["filename"]) for file in split.cache_files)
    return Table(where, columns, arrow[:].column(columns.label).to_pylist(), blocks, files, may_have_paths=True)
