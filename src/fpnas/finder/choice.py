"""`--space auto`: which space suits the images and the budget, and why."""

from __future__ import annotations

from dataclasses import dataclass

from fpnas.data import ImageData
from fpnas.errors import InputError
from fpnas.text import short
from fpnas.train.suited import not_photographs


@dataclass(frozen=True)
class _Kind:
    """A space that may be chosen.

    Args:
        name: of the space.
        smallest: pixels a side of the smallest images that it suits.
        largest: of the largest.
        greatest: multiply-adds of its greatest network at 64 px; they grow with the area.
    """

    name: str
    smallest: int
    largest: int
    greatest: float


KINDS = (
    _Kind("tiny", 16, 96, 62e6),
    _Kind("fbnetv2-f", 97, 512, 27e6),
    _Kind("fpnas-l0", 32, 512, 182e6),
    _Kind("fpnas-l1", 32, 512, 499e6),
)
ROOM = 1.5
"""The greatest network costs at least so many times the target: below, a target leaves little to choose."""
FEW = 5000
"""Photographs below which trained weights are suggested: on 2,022 these gave 13 points (docs/pretrained.md)."""


def space_for(images: ImageData, target_flops: float | None) -> tuple[str, str]:
    """The name of a space for these images and multiply-adds, and the reason in words.

    Raises:
        InputError: no space suits images of that size.

    Example:
        >>> from fpnas import data
        >>> space_for(data.load("digits"), 1e6)
        ('tiny', 'made for images of 16 to 96 px, and these have 16')
    """
    size = images.image_size
    fitting = [kind for kind in KINDS if kind.smallest <= size <= kind.largest]
    if not fitting:
        least, most = min(kind.smallest for kind in KINDS), max(kind.largest for kind in KINDS)
        raise InputError(f"images of {least} to {most} px", f"{size} px", "give another image size, or name a space")
    first = fitting[0]
    why = f"made for images of {first.smallest} to {first.largest} px, and these have {size}"
    if target_flops is None:
        return first.name, why
    area = (size / 64) ** 2
    found = next((kind for kind in fitting if kind.greatest * area >= ROOM * target_flops), fitting[-1])
    if found is first:
        return first.name, why
    most, target = short(found.greatest * area), short(target_flops)
    return (
        found.name,
        f"its networks cost up to about {most} at {size} px, and {target} leaves {first.name} little choice",
    )


def hint(images: ImageData, pretrained: bool) -> str | None:
    """What would help more than another space; None where nothing is known to."""
    if pretrained or len(images.train) >= FEW or not_photographs(images) is not None:
        return None
    return (
        f"hint: {len(images.train):,} images to learn from are few; begin with weights that were trained on others, "
        "for instance --from timm/mobilenetv3_small_100 (pip install timm)"
    )
