"""A table of your own: CSV with a header, or parquet. Every column that is not named otherwise is a choice. Lines of a
CSV before its header that begin with # are comments.

Options of a choice are the values of its column, in order: numbers where all are, else text. A metric whose greatest
value is at most 1 is read as fractions, else as percent. Several metric columns are runs, taken in rotation.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fpnas.errors import InputError, missing_extra, unknown_name
from fpnas.space import Choice, Option, SearchSpace
from fpnas.tables.rows import MAX_ROWS, Column, Rows, in_rotation, place

MAX_BYTES = 2**30

_Table = dict[str, list[Any]]


def recognises(path: Path) -> bool:
    """By the end of its name."""
    return path.suffix in (".csv", ".parquet")


def read(
    path: Path,
    metric: Sequence[str] = (),
    truth: str | None = None,
    cost_columns: Sequence[str] = (),
    ignore: Sequence[str] = (),
    seed: str | None = None,
) -> Rows:
    """The rows of a CSV or parquet file; the arguments are those of `fpnas.tables.load`.

    Raises:
        InputError: a column that isn't there, a missing value, or text where a number belongs; with the row's number.
    """
    if not metric:
        raise InputError("a metric column for a table of your own", "none", "name it with --metric")
    table, header = _read_csv(path) if path.suffix == ".csv" else (_read_parquet(path), None)
    named = [*metric, *(name for name in (truth, seed) if name is not None), *cost_columns, *ignore]
    for name in named:
        if name not in table:
            raise unknown_name("column", name, table)
    if len(set(named)) != len(named):
        twice = next(name for name in named if named.count(name) > 1)
        raise InputError("each column for one purpose", f"{twice!r} for two", "name it once")
    choices = [name for name in table if name not in named]
    if not choices:
        raise InputError("a column for each choice", f"none left in {path}", "name fewer columns otherwise")
    found = [_choice(name, table[name], path, header) for name in choices]
    space = SearchSpace([choice for choice, _ in found])
    codes = np.stack([codes for _, codes in found], axis=1)
    numbers = {name: _numbers(name, table[name], path, header) for name in (*metric, *cost_columns)}
    runs = np.stack([_fractions(numbers[name]) for name in metric], axis=1)
    reward, judge = in_rotation(runs)
    if truth is not None:
        judge = np.tile(_fractions(_numbers(truth, table[truth], path, header))[:, None], (1, len(metric)))
    costs = {name: Column(name, numbers[name]) for name in cost_columns}
    seeds = None if seed is None else np.unique([str(value) for value in table[seed]], return_inverse=True)[1]
    return Rows(path.stem, str(path), space, codes, reward, judge, costs, seeds=seeds, header_lines=header)


def _read_csv(path: Path) -> tuple[_Table, int]:
    """The columns, and how many lines lie before row 1."""
    if path.stat().st_size > MAX_BYTES:
        got = f"{path.stat().st_size:,} in {path}"
        raise InputError(f"a CSV of at most {MAX_BYTES:,} bytes", got, "give a parquet file, or fewer columns")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first, before = file.readline(), 1
            while first.startswith("#"):
                first, before = file.readline(), before + 1
            lines = csv.reader(itertools.chain([first], file), strict=True)
            names = next(lines, [])
            rows: list[list[str]] = []
            for index, row in enumerate(line for line in lines if line):
                if len(row) != len(names):
                    got = f"{len(row)} in {place(str(path), index, before)}"
                    raise InputError(f"{len(names)} values in each row, as in the header", got, "mend that row")
                rows.append(row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError("a CSV in UTF-8", f"{path} ({error})", "save it as CSV anew") from None
    _refuse_shape(names, len(rows), path)
    return {n: list(v) for n, v in zip(names, zip(*rows, strict=True), strict=True)}, before


def _read_parquet(path: Path) -> _Table:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise missing_extra("pyarrow, which reads parquet", "tables", error, ", or save it as CSV") from error
    try:
        with parquet.ParquetFile(path) as file:
            about = file.metadata
            _refuse_shape(file.schema_arrow.names, about.num_rows, path)
            size = sum(about.row_group(n).total_byte_size for n in range(about.num_row_groups))
            if size > MAX_BYTES:
                raise InputError(f"at most {MAX_BYTES:,} bytes in a parquet", f"{size:,}", "give fewer columns")
            return _unpacked(file, path)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: names of columns
        if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
            raise
        raise InputError("a sound parquet file", f"{path} ({error})", "save it anew") from None


def _unpacked(file: Any, path: Path) -> _Table:
    """All columns, counted as they are unpacked: a text that a million rows repeat takes a few bytes in the file."""
    table: _Table = {name: [] for name in file.schema_arrow.names}
    size = 0
    for batch in file.iter_batches(4096):
        size += batch.nbytes
        if size > MAX_BYTES:
            got = f"more in {path}"
            raise InputError(f"at most {MAX_BYTES:,} bytes in a parquet, unpacked", got, "give fewer columns")
        for name, values in batch.to_pydict().items():
            table[name].extend(values)
    return table


def _refuse_shape(names: Sequence[str], count: int, path: Path) -> None:
    if not names or not count:
        raise InputError("a header and rows", f"{path}, which has none", "give a table")
    if len(set(names)) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise InputError("distinct names of columns", f"{twice!r} twice in {path}", "rename one of each")
    if count > MAX_ROWS:
        raise InputError(f"at most {MAX_ROWS:,} rows", f"{count:,} in {path}", "give fewer")


def _choice(name: str, values: Sequence[Any], path: Path, header: int | None) -> tuple[Choice, NDArray[np.int64]]:
    """The choice of a column, its options in order, and the code of each row."""
    for index, value in enumerate(values):
        if value is None or value != value or str(value).strip() == "":  # NaN is unlike itself
            got = f"none in {place(str(path), index, header)}"
            raise InputError(f"an option of {name!r} in each row", got, "mend or remove that row")
    numbers = [_number(value) for value in values]
    plain: list[Option] = [str(v) for v in values] if None in numbers else [n for n in numbers if n is not None]
    options = sorted(set(plain))  # pyright: ignore[reportArgumentType] - all are of one kind
    if len(options) < 2:
        got = f"{options[0]!r} in every row"
        raise InputError(f"two options or more in {name!r}", got, f"leave it out (--ignore-column {name})")
    codes = {option: code for code, option in enumerate(options)}
    return Choice(name, tuple(options)), np.array([codes[option] for option in plain], dtype=np.int64)


def _numbers(name: str, values: Sequence[Any], path: Path, header: int | None) -> NDArray[np.float64]:
    """A column of finite numbers."""
    numbers = [_number(value) for value in values]
    for index, number in enumerate(numbers):
        if number is None:
            got = f"{values[index]!r:.40} in {place(str(path), index, header)}"
            raise InputError(f"a finite number of {name!r} in each row", got, "mend or remove that row")
    return np.array(numbers, dtype=np.float64)


def _fractions(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values if values.max() <= 1 else values / 100


def _number(value: Any) -> float | None:
    """A finite number, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
