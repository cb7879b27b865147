"""`.npz` files, NumPy's zip of arrays: images as uint8 and labels as whole numbers.

The arrays, by their names:

* `train_images`, `train_labels`: N x H x W, or N x H x W x C with 1 or 3 channels, uint8; N (or N x 1) whole numbers;
* `test_images`, `test_labels`, and `val_images`, `val_labels`: likewise, where there are some;
* `classes`: the classes' names, where they have some.

MedMNIST's files are such. Nothing in a file is trusted: headers are checked before memory is taken, and arrays of
Python objects, which could run code, are refused.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fpnas.data.images import ImageSet
from fpnas.data.labelled import numbered_classes
from fpnas.data.request import Parts
from fpnas.errors import InputError

LIMIT = 8 * 2**30
"""The most bytes of an array."""

_LONGEST_NAME = 4096
_AGAIN = "write the file again with numpy.savez"


def read_npz(path: Path) -> Parts:
    """The parts of an .npz file.

    Raises:
        InputError: an array is missing, of another kind than it should be, too large, or broken.
    """
    with _opened(path) as file:
        if "train_images" not in file.names:
            got = f"{', '.join(sorted(file.names)) or 'nothing'} in '{path}'"
            raise InputError("arrays 'train_images' and 'train_labels'", got, _AGAIN)
        found = {
            part: ImageSet(_images(file, f"{part}_images"), _labels(file, f"{part}_labels"))
            for part in ("train", "test", "val")
            if f"{part}_images" in file.names
        }
        classes = _classes(file) if "classes" in file.names else None
    if classes is None:
        fix = f"number those of '{path}' anew, or name all in an array 'classes'"
        classes = numbered_classes(found["train"].labels, fix)
    return Parts.of(path.stem, classes, found)


class _File:
    """An open .npz whose arrays are checked before they are read."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self.names = {name.removesuffix(".npy") for name in archive.namelist()}
        self._archive = archive

    def array(self, name: str, kinds: str, expected: str) -> np.ndarray[Any, np.dtype[Any]]:
        """The array of that name, of one of NumPy's kinds."""
        if name not in self.names:
            raise InputError(f"an array '{name}'", f"none in '{self.path}'", _AGAIN)
        info = self._archive.getinfo(f"{name}.npy")
        with self._archive.open(info) as member:
            version = np.lib.format.read_magic(member)
            reads = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in reads:
                raise ValueError(f"version {version} of the format in {name}")
            shape, _, dtype = reads[version](member)
            size, header = math.prod(shape) * dtype.itemsize, member.tell()
        if dtype.kind not in kinds or (dtype.kind == "u" and kinds == "u" and dtype.itemsize != 1):
            raise InputError(f"{expected} in '{name}'", f"{dtype} in '{self.path}'", "convert the array")
        if size > LIMIT:
            got = f"{size} bytes announced in '{name}' of '{self.path}'"
            raise InputError(f"arrays of at most {LIMIT} bytes", got, "give fewer or smaller images")
        # A byte of deflate unpacks to at most 1,032.
        if info.file_size != header + size or info.file_size > 1032 * info.compress_size + 1024:
            raise InputError(f"{size} bytes in '{name}' of '{self.path}', as it announces", "others", _AGAIN)
        with self._archive.open(info) as member:
            return np.lib.format.read_array(member, allow_pickle=False)


@contextmanager
def _opened(path: Path) -> Generator[_File]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield _File(path, archive)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError("arrays that fit into memory", f"'{path}'", "give fewer or smaller images") from error
    except Exception as error:  # zipfile, zlib, lzma and numpy raise a dozen kinds on broken or encrypted files
        raise InputError("a sound .npz file", f"'{path}' ({error!s:.200})", _AGAIN) from error


def _images(file: _File, name: str) -> Tensor:
    values = file.array(name, "u", "images as uint8")
    if values.ndim == 3:
        values = values[..., None]
    if values.ndim != 4 or values.shape[3] not in (1, 3) or 0 in values.shape:
        got = f"{values.shape} in '{name}' of '{file.path}'"
        raise InputError("images of shape N x H x W, or N x H x W x C with 1 or 3 channels", got, "reorder the array")
    return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2)))


def _labels(file: _File, name: str) -> Tensor:
    values = file.array(name, "iu", "labels as whole numbers")
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        got = f"{values.shape} in '{name}' of '{file.path}'"
        raise InputError("labels of shape N, one class an image", got, "reorder the array")
    return torch.from_numpy(values.astype(np.int64))


def _classes(file: _File) -> tuple[str, ...]:
    values = file.array("classes", "U", "names as strings")
    if values.ndim != 1 or values.dtype.itemsize > 4 * _LONGEST_NAME:
        got = f"{values.shape} in '{file.path}'"
        raise InputError("one name for each class in 'classes'", got, "reorder the array")
    return tuple(str(name) for name in values)
