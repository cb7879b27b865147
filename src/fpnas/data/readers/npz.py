"""`.npz` files, NumPy's zip of arrays: images as uint8 and labels as whole numbers.

The arrays, by their names:

* `train_images`, `train_labels`: N x H x W, or N x H x W x C with 1 or 3 channels, uint8; N (or N x 1) whole numbers;
* `test_images`, `test_labels`, and `val_images`, `val_labels`: likewise, where there are some;
* `classes`: the classes' names, where they have some.

MedMNIST's files are such.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fpnas.data.images import ImageSet
from fpnas.data.labelled import numbered_classes
from fpnas.data.request import Parts, Request
from fpnas.errors import InputError
from fpnas.npz import Kind, array_names, read_arrays

FORM = "an .npz file"
LIMIT = 8 * 2**30
"""The most bytes of an array."""

_LONGEST_NAME = 4096


def recognises(data: str | Path) -> bool:
    """By the end of its name."""
    return Path(data).suffix == ".npz" and os.path.isfile(data)


def read(request: Request) -> Parts:
    """The parts of an .npz file."""
    path = Path(request.data)
    there = array_names(path)
    if "train_images" not in there:
        got = f"{', '.join(sorted(there)) or 'nothing'} in '{path}'"
        raise InputError("arrays 'train_images' and 'train_labels'", got, "write the file again with numpy.savez")
    parts = [part for part in ("train", "test", "val") if f"{part}_images" in there]
    kinds: dict[str, Kind] = {"classes": "text"} if "classes" in there else {}
    for part in parts:
        kinds |= {f"{part}_images": "uint8", f"{part}_labels": "whole numbers"}
    arrays = read_arrays(path, kinds, LIMIT)
    found = {
        part: ImageSet(_images(arrays[f"{part}_images"], part, path), _labels(arrays[f"{part}_labels"], part, path))
        for part in parts
    }
    if "classes" in arrays:
        return Parts.of(path.stem, _names(arrays["classes"], path), found)
    fix = f"number those of '{path}' anew, or name all in an array 'classes'"
    return Parts.of(path.stem, numbered_classes(found["train"].labels, fix), found)


def _images(values: NDArray[Any], part: str, path: Path) -> Tensor:
    if values.ndim == 3:
        values = values[..., None]
    if values.ndim != 4 or values.shape[3] not in (1, 3) or 0 in values.shape:
        got = f"{values.shape} in '{part}_images' of '{path}'"
        raise InputError("images of shape N x H x W, or N x H x W x C with 1 or 3 channels", got, "reorder the array")
    return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2)))


def _labels(values: NDArray[Any], part: str, path: Path) -> Tensor:
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        got = f"{values.shape} in '{part}_labels' of '{path}'"
        raise InputError("labels of shape N, one class an image", got, "reorder the array")
    return torch.from_numpy(values.astype(np.int64))


def _names(values: NDArray[Any], path: Path) -> tuple[str, ...]:
    if values.ndim != 1 or values.dtype.itemsize > 4 * _LONGEST_NAME:
        raise InputError("one name for each class in 'classes'", f"{values.shape} in '{path}'", "reorder the array")
    return tuple(values.tolist())
