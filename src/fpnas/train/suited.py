"""`recipe_for`: the recipe that suits the data, in what isn't given, and why; the default of `fpnas train`.

Photographs in colour are shifted and mirrored, since a handful of them would otherwise be learnt by heart. Whether data
are photographs is told by a sample of them, and by nothing else than what is said here:

* they were decoded from files, and are trained on at `SMALLEST` pixels a side or more;
* they have colour: in half of the sample, or more, a pixel's channels differ by `COLOUR` of 255 levels on average;
* they aren't drawn: in half of the sample, or more, at most `FLAT` of the neighbouring pixels are equal.

All else (grey images, digits, drawings, arrays, tables) gets the plain recipe.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import torch

from fpnas.data import Data, EpochOrder, ImageData
from fpnas.job import epochs_for
from fpnas.spaces import SPACES
from fpnas.text import lasting
from fpnas.train.recipe import Recipe

STEPS = 2000
"""That a training takes at least, if epochs aren't given: those of the pools on CIFAR-10 take 2,112."""

MOST_EPOCHS = 300
"""But no image is seen more often than that."""

LEAST_STEPS = 500
"""Below which nothing is augmented, unless there are many epochs of them: in 160 steps, 10 epochs, a crop cost 3 points
(docs/training.md)."""

LR_PHOTOGRAPHS = 0.8
"""Of "sgd" for 128 images, and in proportion to them, for fresh networks of fpnas's own spaces (docs/training.md)."""

SMALLEST, COLOUR, FLAT = 32, 4.0, 0.5
_SAMPLE = 256

_SIDED = re.compile(r"(^|[^a-z])(left|right)([^a-z]|$)", re.IGNORECASE)


class Suited(NamedTuple):
    """A recipe, and in a line what it was chosen by."""

    recipe: Recipe
    reason: str


def recipe_for(data: Data, *, space: str | None = None, **given: Any) -> Suited:
    """The recipe that suits the data; fields that are `given` stay as they are.

    Args:
        data: decides on `crop` and `flip`, and with the batch size on `epochs`.
        space: the name of that of a network with fresh weights. Where it is one of fpnas's own, photographs are learnt
            by "sgd" at `LR_PHOTOGRAPHS`; other networks have the recipe's rate.
        given: fields of a recipe.

    Raises:
        InputError: no such field, or one out of range.

    Example:
        >>> digits = fpnas.data.load("digits")
        >>> recipe_for(digits, batch_size=64).reason
        'grey images: no augmentation; 87 epochs, which make 2,001 steps'
    """
    plain = Recipe().with_fields(given)
    steps_per_epoch = EpochOrder(len(data.train), plain.batch_size, 0, "train").steps_per_epoch
    epochs = given.get("epochs", epochs_for(steps_per_epoch, STEPS, plain.epochs, MOST_EPOCHS))
    steps = epochs * steps_per_epoch
    other = not_photographs(data)
    chosen: dict[str, Any] = {}
    why = f"{other or f'photographs in colour at {data.input_shape[-1]} px'}: "
    if other is None and steps < LEAST_STEPS and epochs < Recipe.epochs:
        why = f"photographs, but fewer than {LEAST_STEPS} steps: "
    elif other is None:
        chosen = {"crop": "pad", "flip": not has_sides(data.classes)}
        if space in SPACES and plain.optimizer == "sgd" and "lr" not in given:
            chosen["lr"] = LR_PHOTOGRAPHS * plain.batch_size / Recipe.batch_size
    recipe = plain.with_fields({**chosen, **given, "epochs": epochs})
    why += _augmentation(recipe)
    if "lr" in chosen:
        why += f", learning rate {chosen['lr']:g}"
    if chosen and "flip" not in given and not chosen["flip"]:
        why += ", no flip for classes with these names"
    return Suited(recipe, f"{why}; {lasting(epochs, 'epoch', steps)}")


def not_photographs(data: Data) -> str | None:
    """What the data are, in words, where they aren't photographs in colour; None where they are."""
    if not isinstance(data, ImageData):
        return "no images"
    if data.in_channels != 3:
        return "grey images"
    if data.skipped is None:
        return "arrays of pixels"
    if data.image_size < SMALLEST:
        return f"images of {data.image_size} px"
    some = torch.linspace(0, len(data.train) - 1, min(_SAMPLE, len(data.train))).long()
    sample = data.train.subset(some).inputs
    spread = (sample.amax(1).int() - sample.amin(1).int()).double().mean((1, 2))
    if float(spread.median()) < COLOUR:
        return "images with hardly any colour"
    flat = (sample[..., 1:] == sample[..., :-1]).all(1).double().mean((1, 2))
    return "drawn images" if float(flat.median()) > FLAT else None


def has_sides(classes: tuple[str, ...]) -> bool:
    """Whether a mirrored image may be of another class: classes named left or right, or digits or letters."""
    return all(len(name) == 1 or name.isdecimal() for name in classes) or any(map(_SIDED.search, classes))


def _augmentation(recipe: Recipe) -> str:
    """What is done to images, in words."""
    words = [] if recipe.crop == "none" else [f"crop {recipe.crop}"]
    words += ["flip"] if recipe.flip else []
    rest = {"randaugment": recipe.randaugment, "random_erasing": recipe.random_erasing}
    rest |= {"mixup": recipe.mixup, "cutmix": recipe.cutmix}
    return ", ".join([*words, *(f"{name} {value:g}" for name, value in rest.items() if value)]) or "no augmentation"
