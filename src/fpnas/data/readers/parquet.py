"""Folders of parquet files: `train.parquet` beside `test.parquet` or `val.parquet` (also `valid`, `validation`), in
shards (`train-00000-of-00002.parquet`) or in folders (`train/0000.parquet`), in the folder itself or in its `data/`.

Nothing in a file is trusted: rows and row groups are counted before memory is taken, labels as they are unpacked. Needs
pyarrow, the extra `parquet`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxtyping import Int64
from torch import Tensor

from fpnas.data.readers.arrow import MOST_ROWS, Block, Columns, Table, assembled, columns_of
from fpnas.data.request import PARTS, Parts, Request, part_called
from fpnas.errors import InputError, missing_extra, reason

FORM = "a folder of parquet files (train.parquet, test.parquet)"
LARGEST_GROUP = 8 * 2**30
"""The most bytes of a row group, unpacked: parquet is read by such groups."""

LARGEST_LABELS = 2**30
"""The most bytes of a file's labels, unpacked: a text that a million rows repeat takes a few bytes in the file."""

_NAME = re.compile(rf"({'|'.join(PARTS)})(?:-(\d+)-of-(\d+)(?:-\w+)?)?\.parquet", re.IGNORECASE)
_ROWS = 256


def recognises(data: str | Path) -> bool:
    """By the files' names."""
    return bool(parquet_files(Path(data)))


def read(request: Request) -> Parts:
    """The parts of a folder of parquet files; images stay encoded."""
    folder = Path(request.data)
    tables: dict[str, Table] = {}
    for part, paths in parquet_files(folder).items():
        _check_shards(paths)
        tables[part] = _read_table(tuple(paths))
    return assembled(folder.resolve().name, tables)


def parquet_files(folder: Path) -> dict[str, list[Path]]:
    """The files of each part (`train`, `test`, `val`), sorted by name; {} where it isn't such a folder."""
    for place in (folder, folder / "data"):
        found: dict[str, list[Path]] = {}
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except (OSError, ValueError):
            continue
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            part = part_called(match[1] if match else entry.name)
            if match and part and entry.is_file():
                found.setdefault(part, []).append(Path(entry.path))
            elif part and entry.is_dir():
                inside = sorted(Path(entry.path).glob("*.parquet"))
                if inside:
                    found.setdefault(part, []).extend(inside)
        if found:
            return found
    return {}


def _check_shards(paths: Sequence[Path]) -> None:
    matches = [match for path in paths if (match := _NAME.fullmatch(path.name)) and match[3]]
    if matches:
        wanted = max(int(match[3]) for match in matches)
        if len(matches) != wanted or len(paths) != len(matches):
            got = f"{len(paths)} files in '{paths[0].parent}'"
            raise InputError(f"the {wanted} shards of '{matches[0][1]}'", got, "fetch what is missing, remove the rest")


def _read_table(paths: tuple[Path, ...]) -> Table:
    """Reads the labels and checks that the files agree."""
    found: list[Columns] = []
    values: list[Any] = []
    for path in paths:
        with _opened(path) as file, _sound(path):
            found.append(columns_of(file.schema_arrow, f"'{path}'"))
            values.extend(_labels(file, found[-1].label, path))
    if any(other != found[0] for other in found):
        raise InputError("files with the same columns and classes", f"others in '{paths[0].parent}'", "check them")
    if not values:
        raise InputError("files with rows", f"none in '{paths[0]}'", "get the file again")

    def blocks(indices: Int64[Tensor, " k"]) -> Iterator[Block]:
        return _blocks(paths, found[0].image, indices)

    return Table(f"'{paths[0].parent}'", found[0], values, blocks, paths)


def _labels(file: Any, column: str, path: Path) -> list[Any]:
    """The values of a column, counted as they are unpacked."""
    found: list[Any] = []
    size = 0
    for batch in file.iter_batches(_ROWS, columns=[column]):
        size += batch.nbytes
        if size > LARGEST_LABELS:
            got = f"more in '{column}' of '{path}'"
            raise InputError(f"at most {LARGEST_LABELS // 2**30} GiB of labels", got, "name the classes by numbers")
        found.extend(batch.column(0).to_pylist())
    return found


def _blocks(paths: tuple[Path, ...], image: str, indices: Int64[Tensor, " k"]) -> Iterator[Block]:
    """Reads the row groups that have some of the rows; others are passed over."""
    start = 0
    for path in paths:
        first = start
        with _opened(path) as file, _sound(path):
            for group in range(file.num_row_groups):
                end = start + file.metadata.row_group(group).num_rows
                if bool(((indices >= start) & (indices < end)).any()):
                    at = start
                    for batch in file.iter_batches(_ROWS, row_groups=[group], columns=[image]):
                        yield Block(str(path), at - first, at, batch.column(0))
                        at += batch.num_rows
                start = end


def _opened(path: Path) -> Any:
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise missing_extra("pyarrow, which reads parquet", "parquet", error) from error
    with _sound(path):
        file = pq.ParquetFile(path)
        groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
    on_disk = path.stat().st_size
    if file.metadata.num_rows > on_disk:  # each row has an image
        got = f"{file.metadata.num_rows} in the {on_disk} bytes of '{path}'"
        raise InputError("rows that hold images", got, "get the file again")
    if file.metadata.num_rows > MOST_ROWS or any(group.total_byte_size > LARGEST_GROUP for group in groups):
        got = f"{file.metadata.num_rows} rows in {len(groups)} groups in '{path}'"
        raise InputError(f"row groups of at most {LARGEST_GROUP // 2**30} GiB", got, "write it in more groups")
    return file


@contextmanager
def _sound(path: Path) -> Generator[None]:
    """What arrow says of broken files becomes `InputError`."""
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:  # the last: names of columns
        raise InputError("a sound parquet file", f"'{path}' ({reason(error)})", "get the file again") from error
