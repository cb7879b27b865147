"""`recipe_for`: photographs are told from other data, what is given stays, and a training has enough steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import helpers_run as h
import pytest
import torch
from torch import Tensor

from fpnas.data import ImageData, ImageSet, TensorData
from fpnas.errors import InputError
from fpnas.job import epochs_for
from fpnas.streams import generator
from fpnas.train import Recipe, recipe_for
from fpnas.train.suited import MOST_EPOCHS, STEPS, has_sides


def photographs(count: int = 100, size: int = 32, classes: tuple[str, ...] = ("cat", "dog"), **also: Any) -> ImageData:
    """Noise in colour, as if decoded from files."""
    pixels = torch.randint(0, 256, (count, 3, size, size), generator=generator(0, "noise"), dtype=torch.uint8)
    return of(pixels, classes, **also)


def of(pixels: Tensor, classes: tuple[str, ...] = ("cat", "dog"), skipped: tuple[str, ...] | None = ()) -> ImageData:
    images = ImageSet(pixels, torch.arange(len(pixels)) % len(classes))
    return ImageData.of("noise", images, images, classes=classes, heldout_from="test", skipped=skipped)


def drawn(data: ImageData) -> ImageData:
    """The same with large flat parts."""
    pixels = data.train.inputs.clone()
    pixels[..., 12:] = 200
    return of(pixels)


def grey(data: ImageData) -> ImageData:
    """The same without colour, but with three channels."""
    return of(data.train.inputs[:, :1].expand(-1, 3, -1, -1).contiguous())


def test_photographs_are_cropped_and_mirrored() -> None:
    found = recipe_for(photographs())
    assert found.recipe == Recipe(epochs=300, crop="pad", flip=True)
    assert found.reason == "photographs in colour at 32 px: crop pad, flip; 300 epochs, which make 300 steps"


rows = torch.randn(40, 3, generator=generator(0, "rows"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (h.made_up(size=32), "grey images"),
        (photographs(skipped=None), "arrays of pixels"),
        (photographs(size=28), "images of 28 px"),
        (grey(photographs()), "images with hardly any colour"),
        (drawn(photographs()), "drawn images"),
        (TensorData.of("rows", rows, torch.arange(40) % 4), "no images"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_data_have_the_plain_recipe(data: Any, words: str) -> None:
    found = recipe_for(data, epochs=30)
    assert found.recipe == Recipe()
    assert found.reason.startswith(f"{words}: no augmentation; 30 epochs")


@pytest.mark.parametrize(
    ("classes", "sided"),
    [
        (("cat", "dog"), False),
        (("0", "1", "2"), True),
        (("00", "01", "12"), True),
        (("a", "b"), True),
        (("cat", "7"), False),
        (("turn left", "stop"), True),
        (("Right_hand", "other"), True),
        (("bright", "cleft"), False),
    ],
)
def test_what_may_change_its_class_is_not_mirrored(classes: tuple[str, ...], sided: bool) -> None:
    assert has_sides(classes) == sided
    found = recipe_for(photographs(classes=classes))
    assert found.recipe.flip != sided
    assert ("no flip for classes with these names" in found.reason) == sided
    assert recipe_for(photographs(classes=classes), flip=True).recipe.flip


def test_what_is_given_stays() -> None:
    given = {"crop": "none", "flip": False, "randaugment": 3, "epochs": 7, "lr": 0.1, "batch_size": 10}
    assert recipe_for(photographs(), **given).recipe == Recipe(**given)
    assert recipe_for(photographs(), crop="none").recipe.flip
    with pytest.raises(InputError, match="a known field of a recipe"):
        recipe_for(photographs(), colour=1)
    with pytest.raises(InputError, match="epochs from 1"):
        recipe_for(photographs(), epochs=0)


def test_a_few_steps_are_not_augmented() -> None:
    few = recipe_for(photographs(), epochs=29)
    assert few.recipe == Recipe(epochs=29)
    assert few.reason == "photographs, but fewer than 500 steps: no augmentation; 29 epochs, which make 29 steps"
    assert recipe_for(photographs(), epochs=30).recipe.flip
    assert recipe_for(photographs(count=200), epochs=5, batch_size=2).recipe.flip, "500 steps"


@pytest.mark.parametrize(("images", "epochs"), [(100, MOST_EPOCHS), (1280, 200), (6400, 40), (12800, 30), (60000, 30)])
def test_epochs_follow_the_number_of_images(images: int, epochs: int) -> None:
    data = h.made_up()
    few = ImageSet(data.train.inputs[:1].expand(images, -1, -1, -1), torch.arange(images) % h.CLASSES)
    recipe, reason = recipe_for(replace(data, train=few))
    steps = recipe.epochs * -(-images // recipe.batch_size)
    assert recipe.epochs == epochs
    assert steps >= STEPS or epochs == MOST_EPOCHS
    assert reason.endswith(f"; {epochs} epochs, which make {steps:,} steps")
    assert epochs_for(-(-images // 128), STEPS, 30, MOST_EPOCHS) == epochs


def test_photographs_have_a_rate_of_their_own_in_spaces_of_this_package() -> None:
    found = recipe_for(photographs(), space="tiny")
    assert found.recipe == Recipe(epochs=300, crop="pad", flip=True, lr=0.8)
    assert found.reason.startswith("photographs in colour at 32 px: crop pad, flip, learning rate 0.8; ")
    assert recipe_for(photographs(), space="tiny", batch_size=64).recipe.lr == 0.4
    others: list[dict[str, Any]] = [{}, {"space": "timm/lcnet_050"}, {"space": "mine"}]
    others += [{"space": "tiny", "optimizer": "adamw"}, {"space": "tiny", "epochs": 29}]
    for other in others:
        found = recipe_for(photographs(), **other)
        assert (found.recipe.lr, "rate" in found.reason) == (None, False)
    assert recipe_for(h.made_up(size=32), space="tiny").recipe.lr is None
    assert recipe_for(photographs(), space="tiny", lr=0.1).recipe.lr == 0.1
