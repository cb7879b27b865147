"""The kinds of data that `load` takes, one `Reader` each: how it is recognised, and the function that reads it.

A new kind is a function here and a line in `READERS`; the first reader that recognises the data reads it. How the
files are parsed is left to the modules of the formats.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fpnas.data import digits, fashion_mnist, hub
from fpnas.data.class_folder import is_class_folder, read_class_folder
from fpnas.data.idx_folder import FILES, image_sets, missing_files, read_idx_folder
from fpnas.data.labelled import numbered_classes
from fpnas.data.npz import read_npz
from fpnas.data.parquet import parquet_files, read_parquet_folder
from fpnas.data.request import Parts, Request


@dataclass(frozen=True)
class Reader:
    """A kind of data.

    Attributes:
        form: what a user gives for it, as a noun phrase.
        recognises: whether this is it. Looks at names, doesn't read contents.
        read: says what is there; raises `InputError`.
    """

    form: str
    recognises: Callable[[str | Path], bool]
    read: Callable[[Request], Parts]


def _named(name: str) -> Callable[[str | Path], bool]:
    # A Path is never a name, nor is "./digits": so a folder that is called like a data set can be had too.
    return lambda data: data == name


def _folder(recognises: Callable[[Path], bool]) -> Callable[[str | Path], bool]:
    # An empty string would be the working folder, which nobody asked for.
    return lambda data: str(data) != "" and recognises(Path(data))


def _read_idx_folder(request: Request) -> Parts:
    folder = Path(request.data)
    values = read_idx_folder(folder)
    if fashion_mnist.differing(values) is None:
        return fashion_mnist.named(values)
    train, test = image_sets(values)
    fix = f"number those of '{folder}' anew, or give an .npz that names all in an array 'classes'"
    classes = numbered_classes(train.labels, fix)
    return Parts(folder.resolve().name, classes, train, test, "test")


def _is_npz(data: str | Path) -> bool:
    return Path(data).suffix == ".npz" and os.path.isfile(data)


READERS: tuple[Reader, ...] = (
    Reader(
        fashion_mnist.NAME,
        _named(fashion_mnist.NAME),
        lambda request: fashion_mnist.read_fashion_mnist(download=request.download),
    ),
    Reader(digits.NAME, _named(digits.NAME), lambda _: digits.read_digits()),
    Reader(
        f"{hub.PREFIX}NAME of the Hugging Face hub",
        lambda data: isinstance(data, str) and data.startswith(hub.PREFIX),
        lambda request: hub.read_hub(str(request.data).removeprefix(hub.PREFIX)),
    ),
    Reader("an .npz file", _is_npz, lambda request: read_npz(Path(request.data))),
    Reader(
        f"a folder with the four IDX files ({', '.join(FILES.values())})",
        _folder(lambda folder: len(missing_files(folder)) < len(FILES)),
        _read_idx_folder,
    ),
    Reader(
        "a folder of parquet files (train.parquet, test.parquet)",
        _folder(lambda folder: bool(parquet_files(folder))),
        lambda request: read_parquet_folder(Path(request.data)),
    ),
    Reader(
        "a folder of class folders with JPEG, PNG or WebP images",
        _folder(is_class_folder),
        lambda request: read_class_folder(Path(request.data)),
    ),
)
