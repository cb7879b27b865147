"""Augmentation: crops and flips against a loop over images, kornia's parts within their promises, all from a stream."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from fpnas.data.augment import flipped, padded_crop
from fpnas.errors import InputError
from fpnas.streams import generator
from fpnas.train import Recipe
from fpnas.train.augment import Augmentation


def images_of(count: int = 40, channels: int = 3, size: int = 16, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randint(1, 256, (count, channels, size, size), generator=g).to(torch.uint8)


def augmented(recipe: Recipe, images: Tensor, *keys: int) -> Tensor:
    return Augmentation(recipe, (images.shape[1], *images.shape[2:]))(images, generator(0, *keys))


def test_a_crop_is_a_shift_with_black_coming_in() -> None:
    """For each image the one shift that explains it is found by trying all; all 25 shifts come up about as often."""
    images = images_of(300, channels=1, size=16)
    cropped = padded_crop(images, generator(3))
    seen: dict[tuple[int, int], int] = {}
    for image, found in zip(images[:, 0].tolist(), cropped[:, 0].tolist(), strict=True):
        shifts = []
        for down in range(-2, 3):
            for right in range(-2, 3):
                rows, columns = (range(shift, shift + 16) for shift in (down, right))
                if found == [[image[r][c] if {r, c} <= set(range(16)) else 0 for c in columns] for r in rows]:
                    shifts.append((down, right))
        assert len(shifts) == 1
        seen[shifts[0]] = seen.get(shifts[0], 0) + 1
    assert len(seen) == 25
    assert max(seen.values()) < 30
    white = torch.full((200, 1, 16, 16), 255, dtype=torch.uint8)
    rows = (augmented(Recipe(crop="pad"), white) > 0).any(dim=3).sum(dim=2)
    assert (rows.min(), rows.max()) == (14, 16), "a recipe's padding is an eighth"


def test_half_of_the_images_are_mirrored_left_to_right() -> None:
    images = images_of(400, size=5)
    mirrored = 0
    for image, found in zip(images.tolist(), flipped(images, generator(1)).tolist(), strict=True):
        other = [[list(reversed(row)) for row in channel] for channel in image]
        assert found in (image, other)
        mirrored += found == other
    assert 160 < mirrored < 240


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(crop="pad"),
        Recipe(flip=True),
        Recipe(crop="resized"),
        Recipe(crop="none", randaugment=9),
        Recipe(crop="resized", randaugment=29),
    ],
    ids=["pad", "flip", "resized", "randaugment", "all"],
)
def test_draws_are_the_streams_alone(recipe: Recipe, channels: int) -> None:
    """Equal streams, equal images, whatever torch's global state, which stays as it was; others, other images."""
    images = images_of(channels=channels)
    before = images.clone()
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        found.append(augmented(recipe, images, 5))
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(found[0], found[1])
    assert torch.equal(images, before)
    assert (found[0].shape, found[0].dtype) == (images.shape, torch.uint8)
    assert not torch.equal(found[0], augmented(recipe, images, 6))


@pytest.mark.parametrize("channels", [1, 3])
def test_randaugment_takes_grey_and_colour_whatever_it_draws(channels: int) -> None:
    """40 draws of two operations go through all fourteen or fifteen; groups of a batch are treated differently."""
    images = images_of(1, channels=channels).repeat(64, 1, 1, 1)
    augment = Augmentation(Recipe(crop="none", randaugment=9), (channels, 16, 16))
    changed, alike = 0, 0
    for step in range(20):
        found = augment(images, generator(0, step))
        changed += not torch.equal(found, images)
        alike += torch.equal(found[:32], found[32:])
    assert changed >= 18
    assert alike <= 4


def test_a_resized_crop_shows_a_part_of_the_image() -> None:
    """Of a ramp from left to right: each row stays a ramp, over a part of the range that is at least a fifth of it."""
    ramp = torch.arange(0, 256, 4).to(torch.uint8).expand(50, 1, 64, 64).contiguous()
    found = augmented(Recipe(crop="resized", crop_area=0.25), ramp).float()
    assert (found.diff(dim=3) >= -1).all()
    spread = found.amax(dim=3) - found.amin(dim=3)
    assert spread.min() > 0.2 * 252
    assert spread.std() > 10


def test_erasing_writes_the_mean_into_its_share_of_the_images() -> None:
    values = torch.randn(400, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    assert (values != 0).all()
    augment = Augmentation(Recipe(crop="none", random_erasing=0.25), (1, 12, 12))
    found = augment.erased(values, generator(2))
    touched = 0
    for before, after in zip(values[:, 0], found[:, 0], strict=True):
        gone = after == 0
        assert torch.equal(after[~gone], before[~gone])
        touched += bool(gone.any())
    assert 70 < touched < 130
    assert Augmentation(Recipe(), (1, 12, 12)).erased(values, generator(2)) is values


@pytest.mark.parametrize("field", [{"crop": "resized"}, {"randaugment": 5}, {"random_erasing": 0.1}])
def test_without_kornia_what_needs_it_is_refused_and_the_rest_works(
    field: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kornia", None)
    monkeypatch.setitem(sys.modules, "kornia.augmentation", None)
    augmented(Recipe(crop="pad", flip=True), images_of())
    with pytest.raises(InputError, match=r"kornia.*fpnas\[augment\]"):
        Augmentation(Recipe(**field), (3, 16, 16))  # pyright: ignore


def test_randaugment_refuses_channels_that_are_no_colours() -> None:
    with pytest.raises(InputError, match="1 or 3 channels"):
        Augmentation(Recipe(randaugment=5), (4, 16, 16))


def test_neither_fpnas_nor_its_augmentation_needs_torchvision() -> None:
    """Nor does `import fpnas` load kornia."""
    code = (
        "import sys; sys.modules['torchvision'] = None; import fpnas; assert 'kornia' not in sys.modules;"
        "from fpnas.train.augment import Augmentation; from fpnas.train import Recipe; import torch;"
        "a = Augmentation(Recipe(crop='resized', randaugment=9, random_erasing=0.5), (3, 16, 16));"
        "g = torch.Generator(); a.erased(a(torch.zeros(4, 3, 16, 16, dtype=torch.uint8), g).float(), g)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
