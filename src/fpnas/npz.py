"""Arrays of `.npz` files, NumPy's zip of arrays. Nothing in a file is trusted: names, types and sizes are looked at
before memory is taken, and arrays of Python objects, which could run code, are refused.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from fpnas.errors import InputError, reason

Kind = Literal["uint8", "whole numbers", "floats", "text"]

_CODES: Mapping[Kind, str] = {
    "uint8": "B",
    "whole numbers": np.typecodes["AllInteger"],
    "floats": np.typecodes["Float"],
    "text": "U",
}
"""Of each kind the types, by NumPy's letters for them."""

_AGAIN = "get it again, or write it again with numpy.savez"


def array_names(path: Path) -> set[str]:
    """The names of the arrays in a file.

    Raises:
        InputError: it is no .npz.
    """
    with _opened(path) as archive:
        return {name.removesuffix(".npy") for name in archive.namelist()}


def read_arrays(path: Path, kinds: Mapping[str, Kind], limit: int = 2**30) -> dict[str, NDArray[Any]]:
    """Reads arrays.

    Args:
        path: the file.
        kinds: of which kind each must be, by name.
        limit: the most bytes of an array.

    Raises:
        InputError: one is absent, of another kind, too large, or broken.
    """
    with _opened(path) as archive:
        return {name: _read(archive, name, kind, limit, f"'{name}' of '{path}'") for name, kind in kinds.items()}


@contextmanager
def _opened(path: Path) -> Generator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except InputError:
        raise
    except MemoryError as error:
        raise InputError("arrays that fit into memory", f"'{path}'", "give smaller ones") from error
    except Exception as error:  # zipfile, zlib, lzma and numpy raise a dozen kinds on broken or encrypted files
        raise InputError("a sound .npz file", f"'{path}' ({reason(error)})", _AGAIN) from error


def _read(archive: zipfile.ZipFile, name: str, kind: Kind, limit: int, what: str) -> NDArray[Any]:
    if f"{name}.npy" not in archive.namelist():
        raise InputError(f"an array {what}", "none", "add it, or give another file")
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as member:
        version = npy.read_magic(member)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(member)
        size, header = math.prod(shape) * dtype.itemsize, member.tell()
    if dtype.char not in _CODES[kind]:
        raise InputError(f"{kind} in {what}", str(dtype), "convert the array")
    if size > limit:
        raise InputError(f"at most {limit:,} bytes in {what}", f"{size:,}", "give a smaller array")
    # A byte of deflate unpacks to at most 1,032.
    if info.file_size != header + size or info.file_size > 1032 * info.compress_size + 1024:
        raise InputError(f"{size:,} bytes in {what}, as it announces", "others", _AGAIN)
    with archive.open(info) as member:
        return npy.read_array(member, allow_pickle=False)
