"""The kinds of data that `load` takes, a module each. The first that recognises the data reads it.

A new kind is a module here with what `Reader` says, and its name in `READERS`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from fpnas.data.readers import class_folder, csv_file, digits, fashion_mnist, hub, npz, parquet, tar_shards
from fpnas.data.request import Parts, Request


class Reader(Protocol):
    """A module that reads a kind of data."""

    @property
    def FORM(self) -> str:
        """What a user gives for it, as a noun phrase."""
        ...

    def recognises(self, data: str | Path) -> bool:
        """Whether this is it, by names alone. A `Path` is never the name of a data set, nor is "./digits"."""
        ...

    def read(self, request: Request) -> Parts:
        """What is there.

        Raises:
            InputError: it isn't sound.
        """
        ...


READERS: tuple[Reader, ...] = (fashion_mnist, digits, hub, npz, csv_file, parquet, tar_shards, class_folder)
