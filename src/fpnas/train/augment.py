"""Augmentation of a batch on the device that it is on: uint8 images in, uint8 images out, ready to be normalized.

The random resized crop, RandAugment and random erasing are kornia's, an extra, which is imported where a recipe asks
for it. Every draw comes from the generator that is handed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Generator, Tensor

from fpnas.data import Data, ImageData, StreamedSet
from fpnas.data.augment import flipped, padded_crop
from fpnas.errors import InputError, missing_extra
from fpnas.streams import as_global
from fpnas.train.recipe import Recipe

OF_IMAGES = ("crop", "flip", "randaugment", "random_erasing", "mixup", "cutmix")
"""Fields of a recipe that are for images alone, and off by default."""

RANDAUGMENT_OPERATIONS = 2
RANDAUGMENT_GROUP = 32
"""Images that share their operations: kornia draws them once a call; a whole batch of inverted ones teaches little."""


class Augmentation:
    """What a recipe does to the images of a batch.

    Args:
        recipe: its fields `crop`, `crop_area`, `flip`, `randaugment` and `random_erasing` count here.
        shape: (C, H, W) of the images.

    Raises:
        InputError: kornia is needed and isn't installed, or can't take so many channels.
    """

    def __init__(self, recipe: Recipe, shape: tuple[int, int, int]) -> None:
        channels, height, width = shape
        self._crop, self._flip = recipe.crop, recipe.flip
        self._resized: Callable[[Tensor], Tensor] | None = None
        self._randaugment: Callable[[Tensor], Tensor] | None = None
        self._erase: Callable[[Tensor], Tensor] | None = None
        if recipe.crop == "resized":
            scale = (recipe.crop_area, 1.0)
            self._resized = _kornia().RandomResizedCrop((height, width), scale=scale, cropping_mode="resample")
        if recipe.randaugment:
            if channels not in (1, 3):
                raise InputError("1 or 3 channels for RandAugment", str(channels), "leave randaugment at 0")
            self._randaugment = _randaugment(recipe.randaugment, channels)
        if recipe.random_erasing:
            self._erase = _kornia().RandomErasing(p=recipe.random_erasing)

    def __call__(self, images: Tensor, stream: Generator) -> Tensor:
        """(n, C, H, W) uint8 -> the same; new images, drawn from `stream`."""
        if self._crop == "pad":
            images = padded_crop(images, stream)
        if self._flip:
            images = flipped(images, stream)
        if self._resized is None and self._randaugment is None:
            return images
        values = images.contiguous().float() / 255  # of streams too, so that kornia rounds alike
        with as_global(stream), torch.no_grad():
            if self._resized is not None:
                values = self._resized(values)
            if self._randaugment is not None:
                values = torch.cat([self._randaugment(group) for group in values.split(RANDAUGMENT_GROUP)])
        return values.mul(255).round_().clamp_(0, 255).to(torch.uint8)

    def erased(self, images: Tensor, stream: Generator) -> Tensor:
        """Normalized images with rectangles of 0, the mean, where the recipe erases; otherwise as they are."""
        if self._erase is None:
            return images
        with as_global(stream), torch.no_grad():
            return self._erase(images)


def augmentation(recipe: Recipe, data: Data) -> Augmentation | None:
    """What a recipe does to the images of `data`; None where it has no images, but a table, say.

    Raises:
        InputError: the recipe changes or mixes images there, or asks for what can't be done to these.
    """
    if isinstance(data, ImageData):
        if isinstance(data.train, StreamedSet) and recipe.crop == "resized":
            recipe = replace(recipe, crop="none")  # they come as random parts of the photographs already
        return Augmentation(recipe, data.input_shape)
    plain = Recipe()
    changed = [name for name in OF_IMAGES if getattr(recipe, name) != getattr(plain, name)]
    if changed:
        got = f"{', '.join(changed)} for {data.name!r}, whose examples are no images"
        raise InputError("a recipe without augmentation", got, "leave out these fields")
    return None


def _randaugment(magnitude: int, channels: int) -> Callable[[Tensor], Tensor]:
    kinds = _kornia().auto
    from kornia.augmentation.auto.rand_augment.rand_augment import default_policy

    # Grey images have no saturation to change, and kornia refuses them there.
    policy = [entry for entry in default_policy if channels == 3 or entry[0][0] != "color"]
    return kinds.RandAugment(RANDAUGMENT_OPERATIONS, magnitude, policy=policy)


def _kornia() -> Any:
    try:
        import kornia.augmentation
    except ImportError as error:
        otherwise = ", or leave crop, randaugment and random_erasing at their defaults"
        raise missing_extra("kornia, which augments images", "augment", error, otherwise) from error
    return cast("Any", kornia.augmentation)
