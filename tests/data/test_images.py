"""`ImageSet` and `ImageData`: what they refuse, resizing, statistics and normalizing against plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from fpnas.data import Fit, ImageData, ImageSet
from fpnas.data.images import MIN_STD
from fpnas.errors import InputError


def random_set(count: int = 12, channels: int = 3, height: int = 8, width: int = 8, seed: int = 0) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8, generator=generator)
    return ImageSet(images, torch.arange(count) % 3)


def data_of(train: ImageSet, image_size: int | None = None) -> ImageData:
    return ImageData.of("x", train, train, classes=("a", "b", "c"), heldout_from="test", image_size=image_size)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 1, 4, 4), [0, 0], "images as uint8"),
        (torch.zeros(2, 4, 4).byte(), [0, 0], "images as uint8"),
        (torch.zeros(0, 1, 4, 4).byte(), [], "none of them 0"),
        (torch.zeros(2, 1, 4, 4).byte(), [0, 0, 0], r"shape \(2,\)"),
        (torch.zeros(2, 1, 4, 4).byte(), [0.0, 0.0], "labels as int64"),
        (torch.zeros(2, 1, 4, 4).byte(), [0, -1], "labels from 0 up"),
    ],
)
def test_an_image_set_refuses_what_does_not_fit(images: torch.Tensor, labels: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ImageSet(images, torch.tensor(labels))


def test_a_subset_has_the_images_in_the_order_asked_for() -> None:
    every = random_set()
    some = every.subset(torch.tensor([5, 0, 5]))
    assert len(some) == 3
    assert torch.equal(some.inputs, every.inputs[[5, 0, 5]])
    assert some.labels.tolist() == [2, 0, 2]


@pytest.mark.parametrize("size", [3, 7, 13, 32])
@pytest.mark.parametrize(
    ("fit", "height", "width", "box"),
    [
        ("stretch", 8, 8, None),
        ("stretch", 5, 11, None),
        ("crop", 8, 8, None),
        ("crop", 5, 11, (3, 0, 8, 5)),
        ("crop", 12, 7, (0, 2, 7, 9)),
    ],
)
def test_resizing_agrees_with_pillow(size: int, fit: Fit, height: int, width: int, box: tuple[int, ...] | None) -> None:
    """Of all of the image, or of its central square."""
    every = random_set(4, 3, height, width)
    resized = every.resized(size, fit).inputs
    assert resized.shape == (4, 3, size, size)
    for image, found in zip(every.inputs, resized, strict=True):
        square = Image.fromarray(image.permute(1, 2, 0).numpy()).crop(box)
        expected = np.asarray(square.resize((size, size), Image.Resampling.BILINEAR)).astype(int)
        # Pillow rounds after each of the two directions.
        assert np.abs(found.permute(1, 2, 0).numpy().astype(int) - expected).max() <= 1


def test_resizing_in_chunks_equals_resizing_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    every = random_set(11)
    assert every.resized(8) is every
    at_once = every.resized(5).inputs
    monkeypatch.setattr("fpnas.data.images._RESIZE_FLOATS", 3 * 8 * 8 * 2)
    assert torch.equal(every.resized(5).inputs, at_once)


def test_images_too_large_for_memory_are_an_input_error() -> None:
    with pytest.raises(InputError, match="fit into memory"):
        random_set(1).resized(2**24)


@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_and_normalising_follow_their_definition(channels: int) -> None:
    train = random_set(40, channels)
    data = data_of(train)
    scaled = train.inputs.double() / 255
    assert data.mean == pytest.approx(scaled.mean((0, 2, 3)).tolist(), rel=1e-12)
    assert data.std == pytest.approx(scaled.std((0, 2, 3), correction=0).tolist(), rel=1e-12)
    batch = train.inputs[:5]
    mean, std = (torch.tensor(values).double().view(1, -1, 1, 1) for values in (data.mean, data.std))
    expected = (batch.double() / 255 - mean) / std
    normalized = data.normalize(batch)
    assert normalized.dtype == torch.float32
    assert torch.allclose(normalized.double(), expected, atol=1e-5)
    assert normalized.stride() == (channels * 64, 1, channels * 8, channels)  # channels-last, also with one channel


def test_a_constant_channel_is_not_divided_by_zero() -> None:
    train = ImageSet(torch.full((4, 1, 2, 2), 7, dtype=torch.uint8), torch.arange(4) % 3)
    data = data_of(train)
    assert data.std == (MIN_STD,)
    assert data.normalize(train.inputs).abs().max() < 1e-3


def test_image_data_tells_its_measures() -> None:
    data = data_of(random_set(height=5, width=9))
    assert (data.num_classes, data.in_channels, data.image_size) == (3, 3, 5)
    assert data_of(random_set(), image_size=4).image_size == 4
    assert data_of(random_set(3, 1, 230, 226)).image_size == 224


@pytest.mark.parametrize(
    ("classes", "heldout", "std", "message"),
    [
        ("ab", random_set(), (1.0,) * 3, "labels below 2"),
        ("a", random_set(), (1.0,) * 3, "at least two classes"),
        ("abc", random_set(channels=1), (1.0,) * 3, "of one shape"),
        ("abc", random_set(), (1.0,), "for each of 3 channels"),
    ],
)
def test_image_data_refuses_what_does_not_fit(
    classes: str, heldout: ImageSet, std: tuple[float, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ImageData("x", random_set(), heldout, tuple(classes), "test", (0.5,) * 3, std)
