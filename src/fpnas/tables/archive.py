"""Reading arrays from an .npz of unknown origin: names, types and shapes are looked at before memory is taken."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from fpnas.errors import InputError

MAX_BYTES = 2**30


def array_names(path: Path) -> set[str]:
    """The arrays of an .npz.

    Raises:
        InputError: it is no .npz.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except zipfile.BadZipFile as error:
        raise InputError("an .npz of NumPy", f"{path} ({error})", "save it with numpy.savez_compressed") from None


def read_arrays(path: Path, names: dict[str, str]) -> dict[str, NDArray[Any]]:
    """Arrays by name; `names` says of each which kinds of NumPy type it may have, such as "iu" for integers.

    Raises:
        InputError: one is absent, of another kind, or too large.
    """
    arrays: dict[str, NDArray[Any]] = {}
    missing = sorted(set(names) - array_names(path))
    if missing:
        raise InputError(
            f"an array {missing[0]!r} in {path}", "none", "see docs/tables.md for the tables that are known"
        )
    with zipfile.ZipFile(path) as archive:
        for name, kinds in names.items():
            try:
                with archive.open(f"{name}.npy") as file:
                    _refuse(file, kinds, f"{name!r} of {path}")
                with archive.open(f"{name}.npy") as file:
                    arrays[name] = npy.read_array(file, allow_pickle=False)
            except (ValueError, EOFError, KeyError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
                if isinstance(error, InputError):
                    raise
                raise InputError(f"a sound array {name!r}", f"{path} ({error})", "get the file anew") from None
    return arrays


def _refuse(file: IO[bytes], kinds: str, what: str) -> None:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    size = int(np.prod([float(n) for n in shape])) * dtype.itemsize
    if dtype.kind not in kinds:
        raise InputError(f"numbers or text as {what}", f"type {dtype}", "get the file anew")
    if size > MAX_BYTES:
        raise InputError(f"at most {MAX_BYTES:,} bytes in {what}", f"{size:,}", "get the file anew")
