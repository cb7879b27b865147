"""`ImageSpec`: what a trained network takes and what its outputs mean, so that it can be used without any data.

It goes into arch.json after a training, and into exported files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from jaxtyping import Float32, UInt8
from pydantic import Field, StrictFloat, StrictInt, StrictStr, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails
from torch import Tensor

from fpnas.data.images import Fit, ImageData, normalize
from fpnas.errors import InputError, refuses

LARGEST_SIDE = 4096
"""Pixels a side, the most that a file of unknown origin may ask for."""


def _refusal(flaw: ErrorDetails) -> InputError:
    what = ".".join(map(str, flaw["loc"])) or "description"
    got = f"{flaw['input']!r:.40} ({flaw['msg']})" if flaw["loc"] else flaw["msg"]
    return InputError(f"a sound {what} of the images", got, "correct it")


@refuses(_refusal)
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
        InputError: a value of a wrong type or out of range.
    """

    image_size: Annotated[StrictInt, Field(ge=1, le=LARGEST_SIDE)]
    in_channels: Annotated[StrictInt, Field(ge=1, le=1024)]
    mean: tuple[Annotated[StrictFloat, Field(allow_inf_nan=False)], ...]
    std: tuple[Annotated[StrictFloat, Field(allow_inf_nan=False, gt=0)], ...]
    classes: Annotated[tuple[StrictStr, ...], Field(min_length=2)]
    fit: Fit = "crop"

    @model_validator(mode="after")
    def _one_for_each_channel(self) -> ImageSpec:
        if not len(self.mean) == len(self.std) == self.in_channels:
            raise ValueError("there must be a mean and a deviation for each channel")
        return self

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
        own: dict[str, Any] = {name: record[name] for name in cls.__dataclass_fields__ if name in record}
        return cls(**own)

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
