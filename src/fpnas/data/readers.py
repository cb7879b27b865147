"""The kinds of data that `load` takes, one `Reader` each: how it is recognised, and the function that reads it.

A new kind is a function here and a line in `READERS`; the first reader that recognises the data reads it. How the
files are parsed is left to the modules of the formats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fpnas.data import digits, fashion_mnist
from fpnas.data.encoded import Settings, decoded
from fpnas.data.idx_folder import FILES, image_sets, missing_files, read_idx_folder
from fpnas.data.images import ImageData
from fpnas.data.parquet import parquet_files, read_parquet_folder
from fpnas.errors import InputError


@dataclass(frozen=True)
class Request:
    """What `load` was asked for, `image_size` checked."""

    data: str | Path
    image_size: int | None
    seed: int
    download: bool


@dataclass(frozen=True)
class Reader:
    """A kind of data.

    Attributes:
        form: what a user gives for it, as a noun phrase.
        recognises: whether this is it. Looks at names, doesn't read contents.
        read: reads it; raises `InputError`.
    """

    form: str
    recognises: Callable[[str | Path], bool]
    read: Callable[[Request], ImageData]


def _has_idx_files(data: str | Path) -> bool:
    # An empty string would be the working folder, which nobody asked for.
    return str(data) != "" and len(missing_files(Path(data))) < len(FILES)


def _read_idx_folder(request: Request) -> ImageData:
    folder = Path(request.data)
    values = read_idx_folder(folder)
    if fashion_mnist.differing(values) is None:
        return fashion_mnist.assemble(values, request.image_size)
    train, test = image_sets(values)
    count = 1 + int(train.labels.max())
    if int(test.labels.max()) >= count:
        got = f"{int(test.labels.max())} among the test labels of '{folder}'"
        raise InputError(f"labels below {count}, as in training", got, "get all four files from one place")
    return ImageData.of(
        folder.resolve().name,
        train,
        test,
        classes=tuple(str(label) for label in range(count)),
        heldout_from="test",
        image_size=request.image_size,
    )


def _read_fashion_mnist(request: Request) -> ImageData:
    return fashion_mnist.load_fashion_mnist(image_size=request.image_size, download=request.download)


def _read_digits(request: Request) -> ImageData:
    return digits.load_digits(image_size=request.image_size, seed=request.seed)


def _named(name: str) -> Callable[[str | Path], bool]:
    # A Path is never a name, nor is "./digits": so a folder that is called like a data set can be had too.
    return lambda data: data == name


def _has_parquet_files(data: str | Path) -> bool:
    return str(data) != "" and bool(parquet_files(Path(data)))


def _read_parquet_folder(request: Request) -> ImageData:
    return decoded(read_parquet_folder(Path(request.data)), Settings(request.image_size, seed=request.seed))


READERS: tuple[Reader, ...] = (
    Reader(fashion_mnist.NAME, _named(fashion_mnist.NAME), _read_fashion_mnist),
    Reader(digits.NAME, _named(digits.NAME), _read_digits),
    Reader(f"a folder with the four IDX files ({', '.join(FILES.values())})", _has_idx_files, _read_idx_folder),
    Reader("a folder of parquet files (train.parquet, test.parquet)", _has_parquet_files, _read_parquet_folder),
)
