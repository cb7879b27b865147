"""Reading arrays from an .npz of unknown origin: names, types and shapes are looked at before memory is taken."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO, Any

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
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise InputError("an .npz of NumPy", f"{path} ({error})", "save it with numpy.savez_compressed") from None


def read_arrays(path: Path, names: dict[str, str], limit: int = MAX_BYTES) -> dict[str, NDArray[Any]]:
    """Arrays by name, each of at most `limit` bytes; `names` says which kinds of NumPy type it may have, such as "iu".

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
                info = archive.getinfo(f"{name}.npy")
                with archive.open(info) as file:
                    _refuse(file, info, kinds, limit, f"{name!r} of {path}")
                with archive.open(info) as file:
                    arrays[name] = npy.read_array(file, allow_pickle=False)
            except InputError:
                raise
            except Exception as error:  # zipfile, zlib, lzma and numpy raise a dozen kinds on broken files
                got = f"{path} ({' '.join(str(error).split()):.200})"
                raise InputError(f"a sound array {name!r}", got, "get the file anew") from None
    return arrays


def _refuse(file: IO[bytes], info: zipfile.ZipInfo, kinds: str, limit: int, what: str) -> None:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    size = math.prod(shape) * dtype.itemsize
    if dtype.kind not in kinds:
        raise InputError(f"numbers or text as {what}", f"type {dtype}", "get the file anew")
    if size > limit:
        raise InputError(f"at most {limit:,} bytes in {what}", f"{size:,}", "get the file anew")
    # A byte of deflate unpacks to at most 1,032.
    if info.file_size != file.tell() + size or info.file_size > 1032 * info.compress_size + 1024:
        raise InputError(f"{size:,} bytes in {what}, as it announces", "others", "get the file anew")
