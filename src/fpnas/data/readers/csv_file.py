"""A CSV of (file, label), with an optional third column, split: `cats/1.jpg,cat,train`.

A file's path is relative to the CSV's folder, or absolute. Classes are in the order of their names, or of their values
where all are whole numbers; images in the order of the rows. Without the column split a part is held out.
"""

from __future__ import annotations

import os
from pathlib import Path

from fpnas.data.csv_rows import FILE, Row, read_rows
from fpnas.data.places import Places, Texts
from fpnas.data.request import Encoded, Parts, Request, part_called
from fpnas.errors import InputError

FORM = "a CSV of (file, label)"

COLUMNS = {
    "file": FILE,
    "label": ("class", "class_name", "category", "target"),
    "split": ("part", "set", "subset"),
}


def recognises(data: str | Path) -> bool:
    """By the end of its name."""
    return Path(data).suffix.lower() == ".csv" and os.path.isfile(data)


def read(request: Request) -> Parts:
    """The parts of a CSV; images stay encoded."""
    path = Path(request.data)
    rows = read_rows(path, COLUMNS, needed=2)
    listed: dict[str, int] = {}
    for row in rows:
        file = os.path.normcase(os.path.normpath(path.parent / row.values[0]))
        if file in listed:
            got = f"'{row.values[0]}' in lines {listed[file]} and {row.line} of '{path}'"
            raise InputError("each file once", got, "remove one of the rows")
        listed[file] = row.line
    labels = {row.values[1] for row in rows}
    whole = all(label.isascii() and label.isdecimal() for label in labels)
    classes = tuple(sorted(labels, key=lambda label: (int(label), label) if whole else (0, label)))
    found: dict[str, list[Row]] = {}
    for row in rows:
        part = part_called(row.values[2]) if len(row.values) == 3 else "train"
        if part is None:
            got = f"'{row.values[2]}' in line {row.line} of '{path}'"
            raise InputError("train, val or test as split", got, "correct it, or leave the column out")
        found.setdefault(part, []).append(row)
    known = {row.values[1] for row in found.get("train", rows)}
    for row in rows:
        if row.values[1] not in known:
            got = f"'{row.values[1]}' in line {row.line} of '{path}'"
            raise InputError("classes that training has", got, "add training images of it, or remove the class")
    order = {name: number for number, name in enumerate(classes)}
    return Parts.of(
        path.stem,
        classes,
        {
            part: Encoded.at(
                Places(Texts(str(path.parent / row.values[0]) for row in of)), (order[row.values[1]] for row in of)
            )
            for part, of in found.items()
        },
    )
