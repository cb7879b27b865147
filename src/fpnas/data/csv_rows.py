"""CSV files of a user's: which column is which, by its header or by its place, and rows of unknown origin, checked.

A header is known by its words. Without one the columns are in the order in which they are asked for. Commas, semicolons
and tabs separate; quotes, a byte order mark and blank lines are taken as spreadsheets write them.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fpnas.errors import InputError, reason

Columns = Mapping[str, Sequence[str]]
"""A column's name in messages, and what else headers call it; the last ones may be missing."""

FILE = ("filename", "file_name", "filepath", "file_path", "path", "image", "image_path", "img")


class Row(NamedTuple):
    """A row's values, in the order of the columns that there are, and its line."""

    line: int
    values: tuple[str, ...]


def read_rows(path: Path, columns: Columns, needed: int) -> list[Row]:
    """The rows of a CSV file, without its header, all with the same columns: at least the first `needed`.

    Raises:
        InputError: it can't be read, a column is missing, or a row is shorter or longer than the rest.
    """
    wanted = ", ".join(columns)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            sample = file.readline()
            file.seek(0)
            separator = max(",;\t", key=sample.count)
            reader = csv.reader(file, delimiter=separator, strict=True)
            rows = [Row(reader.line_num, tuple(map(str.strip, values))) for values in reader if any(values)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        got = f"'{path}' ({reason(error)})"
        raise InputError(f"a CSV file of {wanted}, in UTF-8", got, "save it as such") from error
    places, rows = _places(path, columns, needed, rows) if rows else ([], rows)
    if not rows:
        raise InputError(f"rows of {wanted}", f"none in '{path}'", "add some")
    width = max(places) + 1
    for row in rows:
        if not width <= len(row.values) <= max(width, len(rows[0].values)) or not all(row.values[at] for at in places):
            got = f"{separator.join(row.values)!r:.80} in line {row.line} of '{path}'"
            named = ", ".join(list(columns)[: len(places)])
            raise InputError(f"{named} in each row", got, "mend the row, put quotes around what has separators in it")
    return [Row(row.line, tuple(row.values[at] for at in places)) for row in rows]


def _places(path: Path, columns: Columns, needed: int, rows: list[Row]) -> tuple[list[int], list[Row]]:
    """Where the columns are, and the rows that follow the header, where there is one."""
    first = [value.lower() for value in rows[0].values]
    found = [
        next((at for at, value in enumerate(first) if value in (name, *others)), None)
        for name, others in columns.items()
    ]
    known = [at for at in found if at is not None]
    if len(known) >= needed and None not in found[:needed]:
        return known, rows[1:]
    width = len(first)
    if needed <= width <= len(columns):
        # A file that isn't there, under a name without a dot, is the title of a column.
        is_title = "." not in first[0] and not (path.parent / rows[0].values[0]).exists()
        return list(range(width)), rows[1:] if found[0] is not None or is_title else rows
    got = f"{', '.join(first)!r:.100} in '{path}'"
    raise InputError(f"columns {', '.join(columns)}", got, "give them these titles")
