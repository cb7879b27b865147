"""Data for a search and for training: `load` takes a name, a folder or a file and gives an `ImageData`, `from_dataset`
takes torch data sets, `TensorData.of` tables, tokens and other tensors.

`readers` lists the kinds of images, `assemble` makes the data of what they read, `splits` cuts and orders any.
"""

from __future__ import annotations

import os
from pathlib import Path

from fpnas.data.assemble import assemble
from fpnas.data.from_torch import from_dataset
from fpnas.data.images import Fit, ImageData, ImageSet, known_fit
from fpnas.data.labelled import Data, HeldoutFrom, LabelledSet, Normalization
from fpnas.data.readers import READERS
from fpnas.data.request import Request
from fpnas.data.resident import Batches, in_turn
from fpnas.data.spec import ImageSpec
from fpnas.data.splits import EpochOrder, halves, stratified_split
from fpnas.data.square import Crops
from fpnas.data.streamed import StreamedSet
from fpnas.data.tensors import TensorData, TensorSet
from fpnas.errors import InputError

__all__ = [
    "Batches",
    "Crops",
    "Data",
    "EpochOrder",
    "Fit",
    "HeldoutFrom",
    "ImageData",
    "ImageSet",
    "ImageSpec",
    "LabelledSet",
    "Normalization",
    "StreamedSet",
    "TensorData",
    "TensorSet",
    "from_dataset",
    "halves",
    "in_turn",
    "load",
    "stratified_split",
]


def load(
    data: str | Path,
    image_size: int | None = None,
    seed: int = 0,
    download: bool = False,
    *,
    fit: str = "crop",
    classes: int | None = None,
    classes_seed: int = 0,
    workers: int | None = None,
    skip_corrupt: bool = False,
    split_by: str | Path | None = None,
    stream: bool | None = None,
) -> ImageData:
    """Loads a data set: into memory, or as a stream that is decoded as it is used where it would take more than 2 GiB.

    Args:
        data: `fashion-mnist`, `digits` or `hf:NAME`, else a path: a folder of class folders or of parquet files, a
            CSV of (file, label), or an .npz file. A `Path` is always a path.
        image_size: pixels a side, 1 to 1024; by default the data's own (digits: 32), where images differ the median
            of the training images' shorter sides, and 224 where that is more.
        seed: decides which images are held out, where the data has none for that. Give the same one to a search and
            to the training and evaluation of what it found, or these will hold out images that the search has seen.
        download: whether a data set that is not on this machine may be fetched.
        fit: how images that aren't square become so: "crop" takes the central square, "stretch" all of it.
        classes: take so many of the classes, at random.
        classes_seed: decides which; as with `seed`, give the same one everywhere.
        workers: threads, or of a stream processes, that decode images; by default one for each core. 0: no other than
            the caller's.
        skip_corrupt: leave images out that can't be read (`ImageData.skipped` names them), instead of refusing them. In
            a stream another image of the batch stands in for one, with a warning.
        split_by: a CSV of (image, group), paths relative to the data's folder or to its own: images of one group, such
            as one object or patient, are never on both sides of a split, be it that of held-out images or one that a
            search makes. As with `seed`, give the same one everywhere.
        stream: whether encoded images are decoded each time that they are used, instead of once into memory; by default
            where they would take more than 2 GiB there.

    Raises:
        InputError: data that isn't known, isn't there or isn't sound, or an argument out of range.
    """
    request = Request(
        data, image_size, seed, download, known_fit(fit), classes, classes_seed, workers, skip_corrupt, split_by, stream
    )
    # An empty string would be the working folder, which nobody asked for.
    reader = next((reader for reader in READERS if data != "" and reader.recognises(data)), None)
    if reader is not None:
        return assemble(reader.read(request), request)
    *forms, last = (reader.FORM for reader in READERS)
    got, fix = f"'{data}': no such name or path", "check the spelling, or give the path"
    if os.path.isdir(data):
        got, fix = f"the folder '{data}', which holds none of these", "check what is in it"
    elif os.path.exists(data):
        got, fix = f"the file '{data}'", "give the folder that it is in"
    raise InputError(f"{', '.join(forms)} or {last}", got, fix)
