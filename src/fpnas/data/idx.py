"""Reader of IDX files, the format of MNIST and its kin: a header (type, dimensions) and the bare bytes, often gzipped.

Files are input from elsewhere, so nothing in them is trusted: the header is checked before memory is taken, and the
contents must have exactly the announced length. What the four files of a data set mean is left to `idx_folder`.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from fpnas.errors import InputError

LIMIT = 4 * 2**30
"""The most bytes that a file may hold, unpacked."""

_UINT8 = 0x08
_MOST_DIMENSIONS = 4
_DEFLATE_RATIO = 1032
"""A byte of deflate unpacks to at most so many."""

_AGAIN = "get the file again"


def read_idx(path: str | Path, *, limit: int = LIMIT) -> UInt8[Tensor, " ..."]:
    """Reads an IDX file of unsigned bytes, gzipped where its name ends in .gz.

    Args:
        path: the file.
        limit: the most bytes to take memory for.

    Raises:
        InputError: not there, not readable, not (whole) gzip, not IDX of unsigned bytes, too large, too short or long.
    """
    path = Path(path)
    packed = path.suffix == ".gz"
    try:
        on_disk = path.stat().st_size
        with gzip.open(path, "rb") if packed else path.open("rb") as file:
            shape = _read_header(file, path)
            size = math.prod(shape)
            header = 4 + 4 * len(shape)
            if size > limit:
                got = f"{size} bytes announced in '{path}'"
                raise InputError(f"an IDX file of at most {limit} bytes", got, "give a smaller one")
            if not packed and on_disk != header + size:
                raise _wrong_length(path, size, f"{on_disk - header}")
            if packed and size > on_disk * _DEFLATE_RATIO:
                raise _wrong_length(path, size, f"{on_disk} packed ones, which can't hold them")
            return torch.from_numpy(_read_payload(file, path, size)).view(shape)
    except FileNotFoundError as error:
        raise InputError("an IDX file", f"no file '{path}'", "check the path") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError("a sound gzip file", f"'{path}' ({error})", _AGAIN) from error
    except EOFError as error:
        raise InputError("a whole gzip file", f"'{path}', which ends early", _AGAIN) from error
    except MemoryError as error:
        raise InputError("an IDX file that fits into memory", f"'{path}'", "give a smaller one") from error
    except OSError as error:
        got = f"'{path}' ({error.strerror or error})"
        raise InputError("a readable IDX file", got, "check the file and its permissions") from error


def content_sha256(values: UInt8[Tensor, " ..."]) -> str:
    """The SHA-256 of the IDX file, unpacked, that holds `values`: the same however the file was compressed."""
    values = values.contiguous()
    header = struct.pack(f">HBB{values.ndim}I", 0, _UINT8, values.ndim, *values.shape)
    digest = hashlib.sha256(header)
    digest.update(values.numpy().data.cast("B"))
    return digest.hexdigest()


def _read_header(file: io.BufferedIOBase, path: Path) -> tuple[int, ...]:
    magic = _read_exactly(file, path, 4)
    zero, kind, ndim = struct.unpack(">HBB", magic)
    if zero != 0 or not 1 <= ndim <= _MOST_DIMENSIONS:
        got = f"'{path}', which starts with {magic.hex(' ')}"
        raise InputError("an IDX file (00 00 08, then 1 to 4 dimensions)", got, "check that it is the right file")
    if kind != _UINT8:
        raise InputError("an IDX file of unsigned bytes (type 08)", f"type {kind:02x} in '{path}'", "convert it")
    shape: tuple[int, ...] = struct.unpack(f">{ndim}I", _read_exactly(file, path, 4 * ndim))
    if 0 in shape:
        raise InputError("an IDX file with contents", f"dimensions {shape} in '{path}'", _AGAIN)
    return shape


def _read_exactly(file: io.BufferedIOBase, path: Path, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise InputError("an IDX file with a whole header", f"'{path}', which ends before it", _AGAIN)
    return data


def _read_payload(file: io.BufferedIOBase, path: Path, size: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    values = np.empty(size, dtype=np.uint8)
    view = values.data
    done = 0
    while done < size:
        count = file.readinto(view[done:])
        if not count:
            raise _wrong_length(path, size, f"{done}")
        done += count
    # One byte more shows whether anything follows; it also makes gzip compare its checksum.
    if file.read(1):
        raise _wrong_length(path, size, "more")
    return values


def _wrong_length(path: Path, size: int, got: str) -> InputError:
    return InputError(f"{size} bytes after the header of '{path}', as it announces", got, _AGAIN)
