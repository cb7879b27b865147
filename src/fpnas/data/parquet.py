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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Int64
from torch import Tensor

from fpnas.data.encoded import Encoded, Item, Parts
from fpnas.data.images import HeldoutFrom
from fpnas.errors import InputError

PARTS: Mapping[str, str] = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}
"""What a file's name starts with, and the part that it then belongs to."""

MOST_ROWS = 2**31
LARGEST_GROUP = 8 * 2**30
"""The most bytes of a row group, unpacked: parquet is read by such groups."""

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

    `test` is held out, else `val`; a test part without labels (all of them -1) is passed over.

    Raises:
        InputError: no training files, a shard that is missing, a file or columns that aren't as they should be.
    """
    files = parquet_files(folder)
    if "train" not in files:
        got = f"'{folder}' with {', '.join(sorted(files))} alone"
        raise InputError("a folder with train.parquet", got, "add the training images")
    for paths in files.values():
        _check_shards(paths)
    tables = {part: _Table.of(paths) for part, paths in files.items()}
    train = tables["train"]
    classes, known = train.classes(), train.names
    heldout, heldout_from = None, cast("HeldoutFrom", "split")
    for part in ("test", "val"):
        if part in tables:
            if tables[part].names != known:
                raise InputError(f"the classes of training in '{part}'", "others", "get all files from one place")
            labels = tables[part].labels(classes)
            if int(labels.max()) >= 0:
                heldout, heldout_from = Encoded(labels, tables[part].items), cast("HeldoutFrom", part)
                break
    name = folder.resolve().name
    return Parts(name, classes, Encoded(train.labels(classes), train.items), heldout, heldout_from)


def _check_shards(paths: Sequence[Path]) -> None:
    matches = [match for path in paths if (match := _NAME.fullmatch(path.name)) and match[3]]
    if matches:
        wanted = max(int(match[3]) for match in matches)
        if len(matches) != wanted or len(paths) != len(matches):
            got = f"{len(paths)} files in '{paths[0].parent}'"
            raise InputError(f"the {wanted} shards of '{matches[0][1]}'", got, "fetch what is missing, remove the rest")


@dataclass(frozen=True, eq=False)
class _Table:
    """The files of one part, as one table: where the columns are and what they hold."""

    paths: tuple[Path, ...]
    image: str
    label: str
    names: tuple[str, ...] | None
    values: tuple[Any, ...]

    @classmethod
    def of(cls, paths: Sequence[Path]) -> _Table:
        """Reads the labels and checks that the files agree."""
        found: list[tuple[str, str, tuple[str, ...] | None]] = []
        values: list[Any] = []
        for path in paths:
            with _opened(path) as file:
                found.append(columns(file.schema_arrow, f"'{path}'"))
                values.extend(_column(file, path, found[-1][1]))
        if any(other != found[0] for other in found):
            raise InputError("files with the same columns and classes", f"others in '{paths[0].parent}'", "check them")
        if not values:
            raise InputError("files with rows", f"none in '{paths[0]}'", "get the file again")
        return cls(tuple(paths), *found[0], tuple(values))

    def classes(self) -> tuple[str, ...]:
        """The classes' names: of the metadata, else the labels themselves."""
        if self.names is not None:
            return self.names
        if all(isinstance(value, str) for value in self.values):
            return tuple(sorted(set(self.values)))
        return tuple(str(label) for label in range(1 + max(self._numbers())))

    def labels(self, classes: tuple[str, ...]) -> Int64[Tensor, " n"]:
        """(N,) whole numbers; -1 where there is none."""
        if all(isinstance(value, str) for value in self.values):
            order = {name: label for label, name in enumerate(classes)}
            unknown = next((value for value in self.values if value not in order), None)
            if unknown is not None:
                raise InputError("classes that training has", repr(unknown), "correct the label")
            return torch.tensor([order[value] for value in self.values])
        return torch.tensor(self._numbers())

    def _numbers(self) -> list[int]:
        numbers = [-1 if value is None else value for value in self.values]
        if not all(isinstance(number, int) for number in numbers):
            got = f"'{self.label}' of '{self.paths[0]}'"
            raise InputError("labels that are whole numbers or strings", got, "convert the column")
        return cast("list[int]", numbers)

    def items(self, indices: Int64[Tensor, " k"]) -> Iterator[Item]:
        """Streams the images at sorted indices; row groups without any of them aren't read."""
        wanted = iter(indices.tolist())
        index = next(wanted, None)
        start = 0
        for path in self.paths:
            with _opened(path) as file:
                for group in range(file.num_row_groups):
                    rows = file.metadata.row_group(group).num_rows
                    if index is not None and index < start + rows:
                        at = start
                        for content in _images(file, path, group, self.image):
                            if at == index:
                                yield Item(f"{path}, row {at - start}", content)
                                index = next(wanted, None)
                            at += 1
                    start += rows


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


def _opened(path: Path) -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        fix = "run `pip install 'fpnas[parquet]'`"
        raise InputError("pyarrow, which reads parquet", f"no such package ({error})", fix) from error
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise _broken(path, error) from error
    groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
    if file.metadata.num_rows > MOST_ROWS or any(group.total_byte_size > LARGEST_GROUP for group in groups):
        got = f"{file.metadata.num_rows} rows in {len(groups)} groups in '{path}'"
        raise InputError(f"row groups of at most {LARGEST_GROUP // 2**30} GiB", got, "write it in more groups")
    return file


def _broken(path: Path, error: Exception) -> InputError:
    return InputError("a sound parquet file", f"'{path}' ({error!s:.200})", "get the file again")


def _column(file: Any, path: Path, name: str) -> list[Any]:
    import pyarrow as pa

    try:
        return file.read(columns=[name]).column(name).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise _broken(path, error) from error


def _images(file: Any, path: Path, group: int, name: str) -> Iterator[bytes]:
    import pyarrow as pa

    try:
        for batch in file.iter_batches(_ROWS, row_groups=[group], columns=[name]):
            yield from encoded_images(batch.column(0), f"'{path}'")
    except (OSError, pa.ArrowException) as error:
        raise _broken(path, error) from error


def encoded_images(column: Any, where: str) -> list[bytes]:
    """The bytes of a column of images; b"" where a row has none."""
    import pyarrow as pa

    if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        column = column.field("bytes")
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        raise InputError(f"encoded images in {where}", f"a column of {column.type}", "write the images' bytes into it")
    return [content or b"" for content in column.to_pylist()]
