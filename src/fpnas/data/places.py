"""Where encoded images lie, as arrays: a million paths as Python objects take 150 MB, and every worker process copies
what it counts references of.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Int64


class Item(NamedTuple):
    """One encoded image: what messages call it, and its bytes or its file."""

    name: str
    content: bytes | Path


@final
class Texts:
    """Many paths or names, end to end in one array; read like a list."""

    def __init__(self, texts: Iterable[str]) -> None:
        content, ends = bytearray(), array("q", [0])
        for text in texts:
            content += os.fsencode(text)
            ends.append(len(content))
        self._content = np.frombuffer(bytes(content), np.uint8)
        self._ends = np.frombuffer(ends, np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, number: int) -> str:
        return os.fsdecode(self._content[self._ends[number] : self._ends[number + 1]].tobytes())

    def __iter__(self) -> Iterator[str]:
        return (self[number] for number in range(len(self)))


class Spans(NamedTuple):
    """Images in larger files: of each its name, the number of its file, and its bytes there.

    `named`: the names say all, also without the files'.
    """

    names: Texts
    file: Int64[np.ndarray, " n"]
    start: Int64[np.ndarray, " n"]
    size: Int64[np.ndarray, " n"]
    named: bool = False


@dataclass(frozen=True, eq=False)
class Places:
    """Where each of N images is: a file each, or so many bytes of one that holds many.

    Attributes:
        files: the files.
        spans: where in them the images are; None where each file is an image.
    """

    files: Texts
    spans: Spans | None = None

    def __len__(self) -> int:
        return len(self.files) if self.spans is None else len(self.spans.names)

    def name(self, number: int) -> str:
        """What messages call an image."""
        if self.spans is None:
            return self.files[number]
        name = self.spans.names[number]
        return name if self.spans.named else f"{self.files[int(self.spans.file[number])]}, {name}"

    def item(self, number: int) -> Item:
        """An image; one that has a file of its own isn't read.

        Raises:
            OSError: the file that holds it can't be read.
        """
        if self.spans is None:
            return Item(self.files[number], Path(self.files[number]))
        with open(self.files[int(self.spans.file[number])], "rb") as file:
            file.seek(int(self.spans.start[number]))
            return Item(self.name(number), file.read(int(self.spans.size[number])))

    def mark(self, number: int) -> str:
        """What tells an image from others, wherever the data lie."""
        if self.spans is None:
            return "/".join(self.files[number].replace(os.sep, "/").rsplit("/", 2)[-2:])
        return f"{os.path.basename(self.spans.names[number])} {self.spans.size[number]}"
