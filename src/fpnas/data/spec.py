"""`ImageSpec`: what a trained network takes and what its outputs mean, so that it can be used without any data.

It goes into arch.json after a training, and into exported files. Reading images is left to the readers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from jaxtyping import Float32, UInt8
from pydantic import BaseModel, StrictFloat, StrictInt, StrictStr, ValidationError
from torch import Tensor

from fpnas.data.images import Fit, ImageData, normalize
from fpnas.errors import InputError

LARGEST_SIDE = 4096
"""Pixels a side, the most that a file of unknown origin may ask for."""


class _Record(BaseModel):
    """The types of an `ImageSpec` in JSON; its ranges are left to itself."""

    image_size: StrictInt
    in_channels: StrictInt
    mean: tuple[StrictFloat, ...]
    std: tuple[StrictFloat, ...]
    classes: tuple[StrictStr, ...]
    fit: Fit = "stretch"  # of runs and files from before there was a choice


@dataclass(frozen=True)
class ImageSpec:
    """Square images of a network and the names of its classes.

    Attributes:
        image_size: pixels a side.
        in_channels: 1 for grey, 3 for colour.
        mean, std: of the training images scaled to 0..1, a number a channel.
        classes: the classes' names, in the order of the logits.
        fit: how images that aren't square become so.

    Raises:
        InputError: numbers out of range, or not one for each channel.
    """

    image_size: int
    in_channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    fit: Fit = "crop"

    def __post_init__(self) -> None:
        if not (1 <= self.image_size <= LARGEST_SIDE and 1 <= self.in_channels <= 1024):
            got = f"{self.image_size} pixels a side and {self.in_channels} channels"
            raise InputError(f"images of 1 to {LARGEST_SIDE} pixels a side and 1 to 1024 channels", got, "correct it")
        if not len(self.mean) == len(self.std) == self.in_channels:
            got = f"{len(self.mean)} means and {len(self.std)} deviations"
            raise InputError(f"a mean and a deviation for each of {self.in_channels} channels", got, "correct it")
        if not all(math.isfinite(value) for value in self.mean + self.std) or min(self.std) <= 0:
            raise InputError("finite means and deviations above 0", f"{self.mean} and {self.std}", "correct it")
        if len(self.classes) < 2:
            raise InputError("the names of at least two classes", str(len(self.classes)), "correct it")

    @classmethod
    def of(cls, data: ImageData) -> ImageSpec:
        """That of a network which is trained on `data`."""
        return cls(data.image_size, data.in_channels, data.mean, data.std, data.classes, data.fit)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> ImageSpec | None:
        """The inverse of `to_json`; further keys are left alone. None where one of its own is missing.

        Raises:
            InputError: a value of a wrong type or out of range.
        """
        if any(record.get(key) is None for key in ("image_size", "in_channels", "mean", "std", "classes")):
            return None
        try:
            return cls(**dict(_Record.model_validate(record)))
        except ValidationError as error:
            first = error.errors()[0]
            what = ".".join(str(part) for part in first["loc"])
            raise InputError(
                f"a sound {what} of the images", f"{first['input']!r:.40} ({first['msg']})", "correct it"
            ) from None

    def to_json(self) -> dict[str, Any]:
        """As arch.json and exported files have it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @property
    def num_classes(self) -> int:
        """How many logits there are."""
        return len(self.classes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        return self.in_channels, self.image_size, self.image_size

    def normalize(self, images: UInt8[Tensor, "n c h w"]) -> Float32[Tensor, "n c h w"]:
        """(images / 255 - mean) / std, as in training."""
        return normalize(images, self.mean, self.std)
