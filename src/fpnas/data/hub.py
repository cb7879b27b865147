"""Data sets of the Hugging Face hub, by name: `hf:uoft-cs/cifar10`, fetched and kept by the package `datasets`.

That package hands out arrow tables like those in parquet files, so columns, classes and images are understood by
`parquet`. Needs the extra `hub`, imported where it is used. Decoding is left to `decoding`.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from jaxtyping import Int64
from torch import Tensor

from fpnas.data.parquet import Block, Table, assembled, columns
from fpnas.data.request import PARTS, Parts
from fpnas.errors import InputError

PREFIX = "hf:"

_ROWS = 256


def read_hub(name: str) -> Parts:
    """The splits `train`, `test` and `validation` of a data set of the hub; images stay encoded.

    Args:
        name: as the hub has it, such as `uoft-cs/cifar10`.

    Raises:
        InputError: `datasets` isn't installed, or there is no such data set of labelled images.
    """
    try:
        datasets: Any = import_module("datasets")
    except ImportError as error:
        got, fix = f"no such package ({error})", "run `pip install 'fpnas[hub]'`"
        raise InputError(f"the package datasets, to fetch '{PREFIX}{name}'", got, fix) from error
    # What `datasets` raises is not documented, and goes from OSErrors of the network to ValueErrors of its builders.
    try:
        splits: Any = datasets.load_dataset(name)
    except Exception as error:
        got = f"'{name}' ({' '.join(str(error).split())[:200]})"
        raise InputError("a data set of the Hugging Face hub", got, "check its name and the network") from error
    tables = {PARTS[split]: _table(splits[split], f"{PREFIX}{name}, {split}") for split in splits if split in PARTS}
    return assembled(name.rpartition("/")[2], tables)


def _table(split: Any, where: str) -> Table:
    # With this format rows come as arrow has them, and images stay encoded.
    arrow: Any = split.with_format("arrow")
    image, label, names = columns(split.features.arrow_schema, where)

    def blocks(indices: Int64[Tensor, " k"]) -> Iterator[Block]:
        wanted = set((indices // _ROWS).tolist())
        for number in sorted(wanted):
            start = number * _ROWS
            yield Block(where, start, start, arrow[start : start + _ROWS].column(image))

    files = tuple(Path(file["filename"]) for file in split.cache_files)
    values = tuple(arrow[:].column(label).to_pylist())
    return Table(where, image, label, names, values, blocks, files, may_have_paths=True)
