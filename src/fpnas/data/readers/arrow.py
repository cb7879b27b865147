"""Tables of arrow as Hugging Face writes them, in parquet files or on its hub: a column of encoded images, a column of
labels, and the names of the classes in the schema's metadata.

The columns are `image` and `label`, else the only one of its kind (Image, ClassLabel) in the metadata. An image is a
struct with its `bytes`, or binary; a label is a whole number, or a string. Needs pyarrow, the extra `parquet`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from fpnas.data.places import Item, Texts
from fpnas.data.request import Encoded, Parts
from fpnas.errors import InputError

MOST_ROWS = 2**31


class Columns(NamedTuple):
    """The columns of a table, by name, and its classes' names where the schema has them."""

    image: str
    label: str
    classes: tuple[str, ...] | None


class Block(NamedTuple):
    """Consecutive rows: where they are, the first one's number there and in the table, and their images' column."""

    where: str
    row: int
    start: int
    images: Any


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of one part.

    Attributes:
        where: what messages call it.
        columns: what they are called.
        values: the labels as they are there.
        blocks: streams the blocks in which the rows at sorted indices are.
        files: what it is read from.
        may_have_paths: whether an image may be the path of a file instead of its bytes.
    """

    where: str
    columns: Columns
    values: Sequence[Any] = field(repr=False)
    blocks: Callable[[Int64[Tensor, " k"]], Iterator[Block]]
    files: tuple[Path, ...]
    may_have_paths: bool = False

    def labels(self) -> list[str] | list[int]:
        """The labels: strings, or numbers of which -1 stands for none."""
        if all(isinstance(value, str) for value in self.values):
            return list(self.values)
        numbers = [-1 if value is None else value for value in self.values]
        if not all(isinstance(number, int) and -1 <= number < MOST_ROWS for number in numbers):
            got = f"others in '{self.columns.label}' of {self.where}"
            raise InputError("labels that are whole numbers or strings", got, "convert the column")
        return numbers

    def encoded(self, classes: tuple[str, ...]) -> Encoded:
        """The images, with labels that count `classes`; -1 where there is none."""
        order = {name: number for number, name in enumerate(classes)}
        numbers: list[int] = []
        for label in self.labels():
            if isinstance(label, str) and label not in order:
                got = f"'{label}' in {self.where}"
                raise InputError("classes that training has", got, "add training images, or remove the class")
            numbers.append(order[label] if isinstance(label, str) else label)
        return Encoded(torch.tensor(numbers), self._items, Texts(map(str, self.files)))

    def _items(self, indices: Int64[Tensor, " k"]) -> Iterator[Item]:
        for block in self.blocks(indices):
            contents = _contents(block, self.may_have_paths)
            ends = torch.tensor([block.start, block.start + len(contents)])
            first, end = torch.searchsorted(indices, ends).tolist()
            for at in (indices[first:end] - block.start).tolist():
                yield Item(f"{block.where}, row {block.row + at}", contents[at])


def assembled(name: str, tables: Mapping[str, Table]) -> Parts:
    """The data set of the tables `train`, `test` and `val`; classes without names are called like their labels."""
    classes: tuple[str, ...] = ()
    if train := tables.get("train"):
        for part, table in tables.items():
            if table.columns.classes != train.columns.classes:
                raise InputError(f"the classes of training in '{part}'", "others", "get all files from one place")
        labels = sorted(set(train.labels()))
        numbers = range(1 + labels[-1]) if isinstance(labels[-1], int) else labels
        classes = train.columns.classes or tuple(map(str, numbers))
    return Parts.of(name, classes, {part: table.encoded(classes) for part, table in tables.items()})


def columns_of(schema: Any, where: str) -> Columns:
    """The columns of an arrow schema, or `InputError` where they can't be told."""
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
    return Columns(image, label, None if names is None else tuple(names))


def _contents(block: Block, may_have_paths: bool) -> list[bytes | Path]:
    """The encoded images of a block, or where they are; b"" where a row has none."""
    import pyarrow as pa

    column: Any = block.images
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
