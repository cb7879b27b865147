"""The four IDX files of a data set in MNIST's manner: a folder of them becomes a training and a test set.

Parsing a file is left to `idx`, knowing a data set by its contents to `fashion_mnist`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from fpnas.data.idx import read_idx
from fpnas.data.images import ImageSet
from fpnas.errors import InputError

Stem = str
"""What a file holds: one of the keys of `FILES`."""

FILES: Mapping[Stem, str] = {
    "train-images": "train-images-idx3-ubyte",
    "train-labels": "train-labels-idx1-ubyte",
    "t10k-images": "t10k-images-idx3-ubyte",
    "t10k-labels": "t10k-labels-idx1-ubyte",
}
"""The four files' usual names; a dot may stand before idx, and .gz may follow."""


def idx_file(folder: Path, stem: Stem) -> Path | None:
    """The file of a folder that holds `stem`; the unpacked one, which loads faster, where there are two."""
    name = FILES[stem]
    for candidate in (name, name.replace("-idx", ".idx")):
        for suffix in ("", ".gz"):
            path = folder / (candidate + suffix)
            if os.path.isfile(path):  # False, where Path.is_file raises for a folder that may not be entered
                return path
    return None


def missing_files(folder: Path) -> tuple[str, ...]:
    """The names of the four files that a folder lacks."""
    return tuple(name for stem, name in FILES.items() if idx_file(folder, stem) is None)


def read_idx_folder(folder: str | Path) -> dict[Stem, UInt8[Tensor, " ..."]]:
    """Reads the four files and checks that they fit together.

    Raises:
        InputError: a file is missing or unsound, images aren't (N, H, W), labels aren't (N,), or the counts differ.
    """
    folder = Path(folder)
    missing = missing_files(folder)
    if missing:
        got = f"'{folder}' without {', '.join(missing)}"
        raise InputError("a folder with the four IDX files (plain or .gz)", got, "add what is missing")
    values: dict[Stem, Tensor] = {}
    for stem in FILES:
        path = idx_file(folder, stem)
        assert path is not None
        values[stem] = read_idx(path)
        rank = 3 if stem.endswith("images") else 1
        if values[stem].ndim != rank:
            got = f"{values[stem].ndim} in '{path}'"
            raise InputError(f"{rank} dimensions", got, "check that the file is the one its name says")
    for part in ("train", "t10k"):
        images, labels = len(values[f"{part}-images"]), len(values[f"{part}-labels"])
        if images != labels:
            got = f"{images} images and {labels} labels of '{part}' in '{folder}'"
            raise InputError("as many labels as images", got, "get both files from one place")
    return values


def image_sets(values: Mapping[Stem, UInt8[Tensor, " ..."]]) -> tuple[ImageSet, ImageSet]:
    """The training and the test set that four files hold; one channel."""
    train, test = (
        ImageSet(values[f"{part}-images"].unsqueeze(1), values[f"{part}-labels"].long()) for part in ("train", "t10k")
    )
    return train, test


def load_idx_folder(folder: str | Path) -> tuple[ImageSet, ImageSet]:
    """The training and the test set of a folder with the four IDX files. Errors as of `read_idx_folder`."""
    return image_sets(read_idx_folder(folder))
