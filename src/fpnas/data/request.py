"""What `load` is asked for, and what readers answer: `Request` and `Parts`.

A reader says which images there are and which label each has; all else is the same for all and done by `assemble`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from fpnas.data.images import Fit, ImageSet
from fpnas.data.labelled import HeldoutFrom
from fpnas.data.places import Item, Places, Texts
from fpnas.errors import InputError

PARTS: Mapping[str, str] = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}
"""What folders, files and splits are called, in any case, and the part that they then hold."""

LARGEST_IMAGE = 1024
MOST_WORKERS = 256


@dataclass(frozen=True)
class Request:
    """The arguments of `load`, which explains them.

    Raises:
        InputError: one is out of range.
    """

    data: str | Path
    image_size: int | None = None
    seed: int = 0
    download: bool = False
    fit: Fit = "crop"
    classes: int | None = None
    classes_seed: int = 0
    workers: int | None = None
    skip_corrupt: bool = False
    split_by: str | Path | None = None
    stream: bool | None = None

    def __post_init__(self) -> None:
        if self.image_size is not None and not 1 <= self.image_size <= LARGEST_IMAGE:
            raise InputError(f"an image size of 1 to {LARGEST_IMAGE}", str(self.image_size), "choose one in that range")
        if self.classes is not None and self.classes < 2:
            raise InputError("at least two classes", str(self.classes), "take more of them")
        if self.workers is not None and not 0 <= self.workers <= MOST_WORKERS:
            raise InputError(f"0 to {MOST_WORKERS} workers", str(self.workers), "choose a number in that range")


def part_called(name: str) -> str | None:
    """The part, `train`, `test` or `val`, that a folder, file or split of this name holds; None where it is no part."""
    return PARTS.get(name.lower())


@dataclass(frozen=True, eq=False)
class Encoded:
    """Labelled images that are still encoded, of any sizes.

    Attributes:
        labels: (N,) int64.
        items: streams the images at sorted indices.
        files: what they are read from: a change of these is a change of the images.
        places: where each image is; None where only `items` can tell.
    """

    labels: Tensor
    items: Callable[[Int64[Tensor, " k"]], Iterator[Item]]
    files: Texts
    places: Places | None = None

    @property
    def one_each(self) -> bool:
        """Whether `files` has one for each image, in their order."""
        return self.places is not None and self.places.spans is None

    @classmethod
    def at(cls, places: Places, labels: Iterable[int]) -> Encoded:
        """Of images whose places are known."""

        def items(indices: Int64[Tensor, " k"]) -> Iterator[Item]:
            numbers: list[int] = indices.tolist()
            return map(places.item, numbers)

        return cls(torch.from_numpy(np.fromiter(labels, np.int64)), items, places.files, places)


@dataclass(frozen=True, eq=False)
class Parts:
    """A data set as a reader found it.

    Attributes:
        name: what reports call it.
        classes: the classes' names, in the order of the labels.
        train: the training images, as pixels or encoded.
        heldout: likewise the held-out images; None where a part of the training images has to be split off.
        heldout_from: what the held-out images are.
        image_size: pixels a side that suit the data where no size is asked for; by default the images' own.
    """

    name: str
    classes: tuple[str, ...]
    train: ImageSet | Encoded
    heldout: ImageSet | Encoded | None
    heldout_from: HeldoutFrom
    image_size: int | None = None

    @classmethod
    def of(cls, name: str, classes: tuple[str, ...], found: Mapping[str, ImageSet | Encoded]) -> Parts:
        """Of the parts `train`, `test` and `val`: `test` is held out, else `val`; one without labels is passed over.

        Raises:
            InputError: there are no training images.
        """
        if "train" not in found:
            raise InputError("training images", f"'{name}' with {', '.join(sorted(found))} alone", "add 'train'")
        for part in ("test", "val"):
            # Published test images often have no labels: all of them are -1.
            if part in found and (len(found[part].labels) == 0 or int(found[part].labels.max()) >= 0):
                return cls(name, classes, found["train"], found[part], part)
        return cls(name, classes, found["train"], None, "split")
