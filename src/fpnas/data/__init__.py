"""Image data for a search and for training: `load` takes a name or a folder and gives an `ImageData`.

`images` says what that is, `tensors` does so for whatever else has classes (`TensorData`), `splits` cuts and orders
either, `readers` lists the kinds of data. Batches, augmentation and
devices are left to the training.
"""

from __future__ import annotations

import os
from pathlib import Path

from fpnas.data.images import HeldoutFrom, ImageData, ImageSet
from fpnas.data.readers import READERS, Request
from fpnas.data.splits import EpochOrder, halves, stratified_split
from fpnas.data.tensors import Data, LabelledSet, TensorData, TensorSet
from fpnas.errors import InputError

__all__ = [
    "Data",
    "EpochOrder",
    "HeldoutFrom",
    "ImageData",
    "ImageSet",
    "LabelledSet",
    "TensorData",
    "TensorSet",
    "halves",
    "load",
    "stratified_split",
]

LARGEST_IMAGE = 1024


def load(data: str | Path, image_size: int | None = None, seed: int = 0, download: bool = False) -> ImageData:
    """Loads a data set into memory.

    Args:
        data: `fashion-mnist`, `digits`, or a folder with the four IDX files of MNIST and its kin. A `Path` is always
            a folder.
        image_size: pixels a side, 1 to 1024; by default the data's own (digits: 32).
        seed: decides which images are held out, where the data has no test images. Give the same one to a search and
            to the training and evaluation of what it found, or these will hold out images that the search has seen.
        download: whether a data set that is not on this machine may be fetched.

    Raises:
        InputError: data that isn't known, isn't there or isn't sound, or an image size out of range.
    """
    if image_size is not None and not 1 <= image_size <= LARGEST_IMAGE:
        raise InputError(f"an image size of 1 to {LARGEST_IMAGE}", str(image_size), "choose one in that range")
    request = Request(data, image_size, seed, download)
    for reader in READERS:
        if reader.recognises(data):
            return reader.read(request)
    forms = [reader.form for reader in READERS]
    expected = f"{', '.join(forms[:-1])} or {forms[-1]}"
    if os.path.isdir(data):
        raise InputError(expected, f"the folder '{data}', which holds none of these", "check what is in it")
    if os.path.exists(data):
        raise InputError(expected, f"the file '{data}'", "give the folder that it is in")
    raise InputError(expected, f"'{data}': no such name or folder", "check the spelling, or give the folder's path")
