"""Folders of parquet files as Hugging Face writes them: a column of encoded images, a column of labels, and the names
of the classes in the schema's metadata.

Which files: `train.parquet` beside `test.parquet` or `val.parquet` (also `valid`, `validation`), in shards
(`train-00000-of-00002.parquet`) or in folders (`train/0000.parquet`), in the folder itself or in its `data/`. Which
columns: `image` and `label`, else the only one of its kind (Image, ClassLabel) in the metadata. An image is a struct
with its `bytes`, or binary; a label a whole number, or a string. Needs pyarrow, the extra `parquet`. Decoding is left
to `encoded`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Int64
from torch import Tensor

from fpnas.data.request import PARTS, Encoded, Item, Parts
from fpnas.errors import InputError

MOST_ROWS = 2**31
LARGEST_GROUP = 8 * 2**30
"""The most bytes of a row group, unpacked: parquet is read by such groups."""

LARGEST_LABELS = 2**30
"""The most bytes of a file's labels, unpacked: a text that a million rows repeat takes a few bytes in the file."""

_NAME = re.compile(rf"({'|'.join(PARTS)})(?:-(\d+)-of-(\d+)(?:-\w+)?)?\.parquet")
_ROWS = 256


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
            if match and entry.is_file():
                found.setdefault(PARTS[match[1]], []).append(Path(entry.path))
            elif entry.name in PARTS and entry.is_dir():
                inside = sorted(Path(entry.path).glob("*.parquet"))
                if inside:
                    found.setdefault(PARTS[entry.name], []).extend(inside)
        if found:
            return found
    return {}


def read_parquet_folder(folder: Path) -> Parts:
    """The parts of a folder of parquet files; images stay encoded.

    Raises:
        InputError: no training files, a shard that is missing, a file or columns that aren't as they should be.
    """
    tables: dict[str, Table] = {}
    for part, paths in parquet_files(folder).items():
        _check_shards(paths)
        tables[part] = _read_table(tuple(paths))
    return assembled(folder.resolve().name, tables)


def _check_shards(paths: Sequence[Path]) -> None:
    matches = [match for path in paths if (match := _NAME.fullmatch(path.name)) and match[3]]
    if matches:
        wanted = max(int(match[3]) for match in matches)
        if len(matches) != wanted or len(paths) != len(matches):
            got = f"{len(paths)} files in '{paths[0].parent}'"
            raise InputError(f"the {wanted} shards of '{matches[0][1]}'", got, "fetch what is missing, remove the rest")


class Block(NamedTuple):
    """Consecutive rows: where they are, the first one's number there and in the table, and their images' column."""

    where: str
    row: int
    start: int
    column: Any


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of one part.

    Attributes:
        where: what messages call it.
        image: name of the column of images.
        label: name of the column of labels.
        names: the classes' names, where the schema has them.
        values: the labels as they are there.
        blocks: streams the blocks in which the rows at sorted indices are.
        files: what it is read from.
        may_have_paths: whether an image may be the path of a file instead of its bytes.
    """

    where: str
    image: str
    label: str
    names: tuple[str, ...] | None
    values: tuple[Any, ...] = field(repr=False)
    blocks: Callable[[Int64[Tensor, " k"]], Iterator[Block]]
    files: tuple[Path, ...]
    may_have_paths: bool = False

    def classes(self) -> tuple[str, ...]:
        """The classes' names: of the metadata, else the labels themselves."""
        if self.names is not None:
            return self.names
        if self._has_strings():
            return tuple(sorted(set(self.values)))
        return tuple(str(label) for label in range(1 + max(self._numbers())))

    def encoded(self, classes: tuple[str, ...]) -> Encoded:
        """The images, with labels that count `classes`; -1 where there is none."""
        if self._has_strings():
            order = {name: label for label, name in enumerate(classes)}
            unknown = next((value for value in self.values if value not in order), None)
            if unknown is not None:
                got = f"'{unknown}' in {self.where}"
                raise InputError("classes that training has", got, "add training images, or remove the class")
            labels = torch.tensor([order[value] for value in self.values])
        else:
            labels = torch.tensor(self._numbers())
        return Encoded(labels, self._items, self.files)

    def _has_strings(self) -> bool:
        return all(isinstance(value, str) for value in self.values)

    def _numbers(self) -> list[int]:
        numbers = [-1 if value is None else value for value in self.values]
        if not all(isinstance(number, int) and -1 <= number < MOST_ROWS for number in numbers):
            got = f"others in '{self.label}' of {self.where}"
            raise InputError("labels that are whole numbers or strings", got, "convert the column")
        return cast("list[int]", numbers)

    def _items(self, indices: Int64[Tensor, " k"]) -> Iterator[Item]:
        wanted = iter(indices.tolist())
        index = next(wanted, None)
        for block in self.blocks(indices):
            contents = _contents(block, self.may_have_paths)
            while index is not None and index < block.start + len(contents):
                at = index - block.start
                yield Item(f"{block.where}, row {block.row + at}", contents[at])
                index = next(wanted, None)


def assembled(name: str, tables: Mapping[str, Table]) -> Parts:
    """The data set of the tables `train`, `test` and `val`."""
    classes = tables["train"].classes() if "train" in tables else ()
    for part, table in tables.items():
        if "train" in tables and table.names != tables["train"].names:
            raise InputError(f"the classes of training in '{part}'", "others", "get all files from one place")
    return Parts.of(name, classes, {part: table.encoded(classes) for part, table in tables.items()})


def columns(schema: Any, where: str) -> tuple[str, str, tuple[str, ...] | None]:
    """The image column, the label column and the classes' names (None where the schema has none) of an arrow schema."""
    try:
        metadata: Any = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features: dict[str, Any] = metadata.get("info", {}).get("features", {})
        kinds = {name: feature.get("_type") for name, feature in features.items() if isinstance(feature, dict)}
    except (ValueError, AttributeError, RecursionError) as error:
        raise InputError("metadata as Hugging Face writes it", f"other in {where}", "write the file again") from error

    def column(usual: str, kind: str) -> str:
        if usual in schema.names:
            return usual
        named = [name for name in schema.names if kinds.get(name) == kind]
        if len(named) != 1:
            got = f"{', '.join(schema.names)} in {where}"
            raise InputError(f"a column '{usual}', or one alone of kind {kind}", got, "rename the column")
        return named[0]

    image, label = column("image", "Image"), column("label", "ClassLabel")
    names: Any = features[label].get("names") if kinds.get(label) == "ClassLabel" else None
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise InputError(f"a list of names for the classes of '{label}'", f"other in {where}", "write the file again")
    return image, label, None if names is None else tuple(names)


def _read_table(paths: tuple[Path, ...]) -> Table:
    """Reads the labels and checks that the files agree."""
    found: list[tuple[str, str, tuple[str, ...] | None]] = []
    values: list[Any] = []
    for path in paths:
        with _opened(path) as file, _sound(path):
            found.append(columns(file.schema_arrow, f"'{path}'"))
            values.extend(_labels(file, found[-1][1], path))
    if any(other != found[0] for other in found):
        raise InputError("files with the same columns and classes", f"others in '{paths[0].parent}'", "check them")
    if not values:
        raise InputError("files with rows", f"none in '{paths[0]}'", "get the file again")
    image, label, names = found[0]

    def blocks(indices: Int64[Tensor, " k"]) -> Iterator[Block]:
        return _blocks(paths, image, indices)

    return Table(f"'{paths[0].parent}'", image, label, names, tuple(values), blocks, paths)


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
        fix = "run `pip install 'fpnas[parquet]'`"
        raise InputError("pyarrow, which reads parquet", f"no such package ({error})", fix) from error
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
        got = f"'{path}' ({' '.join(str(error).split())[:200]})"
        raise InputError("a sound parquet file", got, "get the file again") from error


def _contents(block: Block, may_have_paths: bool) -> list[bytes | Path]:
    """The encoded images of a block, or where they are; b"" where a row has none."""
    import pyarrow as pa

    column: Any = block.column
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    paths: list[str | None] = [None] * len(column)
    if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        if may_have_paths and column.type.get_field_index("path") >= 0:
            paths = column.field("path").to_pylist()
        column = column.field("bytes")
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        got = f"a column of {column.type}"
        raise InputError(f"encoded images in '{block.where}'", got, "write the images' bytes into it")
    return [
        content if content is not None else Path(path) if path else b""
        for content, path in zip(column.to_pylist(), paths, strict=True)
    ]
