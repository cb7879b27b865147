"""Batches on a device. "meta" stands for a GPU: its tensors are elsewhere, and have shapes alone."""

from __future__ import annotations

import pytest
import torch

from fpnas.data import Batches, ImageSet, TensorSet


def images_of(count: int = 6) -> ImageSet:
    pixels = torch.randint(0, 256, (count, 3, 4, 4), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return ImageSet(pixels, torch.arange(count) % 3)


@pytest.mark.parametrize("limit", [None, 10**9])
def test_on_the_cpu_batches_are_those_of_the_set(limit: int | None) -> None:
    examples = images_of()
    batches = Batches(examples, "cpu", limit)
    assert not batches.resident, "it is there already"
    images, labels = batches.at(torch.tensor([4, 0, 4]))
    assert torch.equal(images, examples.inputs[[4, 0, 4]])
    assert torch.equal(labels, examples.labels[[4, 0, 4]])


def test_a_set_that_fits_is_put_on_the_device_once() -> None:
    examples = images_of()
    size = examples.inputs.nbytes + examples.labels.nbytes
    assert size == 6 * (48 + 8)
    assert Batches(examples, "meta", size).resident
    assert not Batches(examples, "meta", size - 1).resident
    assert not Batches(examples, "meta").resident, "without a limit only what is known to fit"


@pytest.mark.parametrize("limit", [0, 10**9])
@pytest.mark.parametrize("examples", [images_of(), TensorSet(torch.zeros(6, 5), torch.zeros(6).long())])
def test_batches_are_on_the_device_either_way(examples: ImageSet | TensorSet, limit: int) -> None:
    images, labels = Batches(examples, "meta", limit).at(torch.tensor([4, 0]))
    assert images.is_meta
    assert labels.is_meta
    assert images.shape == (2, *examples.inputs.shape[1:])
    assert images.dtype == examples.inputs.dtype
    assert labels.shape == (2,)


def test_a_resident_set_is_indexed_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The set itself is asked for nothing any more; a copy of another type stands for what is on the device."""
    examples = images_of()
    batches = Batches(examples, "meta", 10**9)
    there = (examples.inputs.clone(), examples.labels.clone())
    monkeypatch.setattr(batches, "_there", there)
    monkeypatch.setattr(batches, "_device", torch.device("cpu"))
    monkeypatch.setattr(batches, "_examples", None)
    images, labels = batches.at(torch.tensor([5, 1]))
    assert torch.equal(images, examples.inputs[[5, 1]])
    assert torch.equal(labels, examples.labels[[5, 1]])
