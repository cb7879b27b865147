"""`from_dataset`: torch data sets and loaders of every kind of image that it names, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from pictures import picture
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from fpnas.data import from_dataset
from fpnas.errors import InputError

PIXELS = [picture(seed) for seed in range(12)]
LABELS = [seed % 3 for seed in range(12)]
EXPECTED = torch.from_numpy(np.stack(PIXELS).transpose(0, 3, 1, 2).copy())


class Pairs(Dataset[Any]):
    def __init__(self, images: Sequence[Any], labels: Sequence[Any] = LABELS) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return self.images[index], self.labels[index]


@pytest.mark.parametrize(
    "images",
    [
        PIXELS,
        [Image.fromarray(pixels) for pixels in PIXELS],
        list(EXPECTED),
        list(EXPECTED / 255),  # what ToTensor gives
    ],
    ids=["arrays", "Pillow", "uint8", "floats"],
)
def test_each_kind_of_image_gives_the_same_pixels(images: list[Any]) -> None:
    before = torch.get_rng_state()
    data = from_dataset(Pairs(images), Pairs(images[:3]), name="mine")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(data.train.inputs, EXPECTED)
    assert data.train.labels.tolist() == LABELS
    assert (data.name, data.classes, data.heldout_from, len(data.heldout)) == ("mine", ("0", "1", "2"), "test", 3)


def test_grey_images() -> None:
    grey = [picture(seed, channels=1) for seed in range(12)]
    for images in (grey, [Image.fromarray(pixels) for pixels in grey], [torch.from_numpy(g)[None] for g in grey]):
        data = from_dataset(Pairs(images))
        assert (data.in_channels, data.heldout_from, len(data.train)) == (1, "split", 10)


def test_loaders_and_tensor_data_sets() -> None:
    whole = TensorDataset(EXPECTED, torch.tensor(LABELS))
    data = from_dataset(DataLoader(whole, batch_size=5), DataLoader(whole, batch_size=4))
    assert torch.equal(data.train.inputs, EXPECTED)
    assert torch.equal(data.heldout.inputs, EXPECTED)
    assert from_dataset(whole, whole).digest == from_dataset(whole, whole, workers=2).digest == data.digest
    assert len(from_dataset(DataLoader(whole, batch_size=5, drop_last=True), whole).train) == 10


def test_names_of_classes_and_sizes() -> None:
    pairs = Pairs(PIXELS)
    assert from_dataset(pairs, class_names=["a", "b", "c"]).classes == ("a", "b", "c")
    pairs.classes = ["x", "y", "z"]  # pyright: ignore[reportAttributeAccessIssue]
    assert from_dataset(pairs).classes == ("x", "y", "z")
    tensors = Pairs(list(EXPECTED))
    tensors.classes = ["x", "y", "z"]  # pyright: ignore[reportAttributeAccessIssue]
    assert from_dataset(DataLoader(tensors)).classes == ("x", "y", "z")
    assert from_dataset(pairs, image_size=4).image_size == 4
    mixed = [picture(seed, 8 + seed, 10) for seed in range(12)]
    assert from_dataset(Pairs(mixed), image_size=9, fit="stretch").train.inputs.shape[2:] == (9, 9)
    assert from_dataset(pairs, classes=2).num_classes == 2


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        while True:
            yield PIXELS[0], 0


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (Endless(), "a map-style data set of training images"),
        (DataLoader(Endless(), batch_size=2), "a map-style data set of training images"),
        (Pairs([]), "got Pairs of none"),
        (TensorDataset(EXPECTED), "pairs of an image and a label, got tuple"),
        (Pairs(PIXELS, ["a"] * 12), "labels as whole numbers from 0 up, got 'a' among the training ones"),
        (Pairs(PIXELS, [0.5] * 12), "labels as whole numbers"),
        (Pairs(PIXELS, [-1] * 12), "labels as whole numbers from 0 up, got -1"),
        (Pairs(PIXELS, [0] * 12), "training images of at least two classes"),
        (Pairs(["x"] * 12), "got str among the training images"),
        (Pairs(list(EXPECTED[:, :2])), r"1 or 3 channels, got torch.Size\(\[2, 8, 8\]\)"),
        (Pairs(list(EXPECTED / 255 - 0.5)), "floats from 0 to 1, got -0.5.* leave normalizing out"),
        (Pairs(list(EXPECTED * float("nan"))), "floats from 0 to 1"),
        (Pairs(list(EXPECTED.int())), "images as uint8, or as floats from 0 to 1, got torch.int32"),
        (Pairs([*PIXELS[:-1], picture(0, 9, 9)]), r"images of one size and kind, got \(3, 8, 8\) and \(3, 9, 9\)"),
        (Pairs([*PIXELS[:-1], picture(0, channels=1)]), r"images of one size and kind, got \(3, 8, 8\) and \(1, 8"),
    ],
)
def test_what_is_refused(source: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        from_dataset(source)
