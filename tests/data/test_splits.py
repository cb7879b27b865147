"""Halves, the held-out split and the order of batches: the properties that a search relies on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fpnas.data import EpochOrder, ImageSet, halves, stratified_split
from fpnas.errors import InputError

quick = settings(deadline=None, max_examples=40)
some_labels = st.lists(st.integers(0, 6), min_size=2, max_size=60).map(torch.tensor)


def images_with(labels: torch.Tensor) -> ImageSet:
    return ImageSet(torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8), labels)


def is_partition(parts: tuple[torch.Tensor, ...], count: int) -> bool:
    return torch.equal(torch.cat(parts).sort().values, torch.arange(count))


@quick
@given(labels=some_labels, seed=st.integers(0, 1000))
def test_halves_are_a_partition_even_in_each_class_and_altogether(labels: torch.Tensor, seed: int) -> None:
    first, second = halves(images_with(labels), seed)
    assert is_partition((first, second), len(labels))
    assert abs(len(first) - len(second)) <= 1
    for label in labels.unique():
        assert abs(int((labels[first] == label).sum()) - int((labels[second] == label).sum())) <= 1
    again = halves(images_with(labels), seed)
    assert torch.equal(first, again[0])
    assert torch.equal(second, again[1])


def test_halves_depend_on_the_seed_and_on_nothing_else() -> None:
    train = images_with(torch.arange(400) % 10)
    state = torch.get_rng_state()
    first = halves(train, 0)[0]
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first, halves(train, 1)[0])


@quick
@given(labels=some_labels, fraction=st.floats(0.05, 0.95), seed=st.integers(0, 1000))
def test_the_held_out_split_is_even_over_the_classes(labels: torch.Tensor, fraction: float, seed: int) -> None:
    try:
        kept, held = stratified_split(labels, fraction, seed)
    except InputError:
        # Only where rounding, or keeping one of each class, leaves nothing to hold out.
        assert len(labels) * fraction < 1 + len(labels.unique())
        return
    assert is_partition((kept, held), len(labels))
    for label in labels.unique():
        count = int((labels == label).sum())
        share = int((labels[held] == label).sum())
        assert share < count
        assert abs(share - count * fraction) < 1 or share == count - 1
    assert torch.equal(held, stratified_split(labels, fraction, seed)[1])


def test_the_held_out_split_has_the_size_asked_for() -> None:
    labels = torch.arange(1000) % 100  # ten of each: 0.25 of them is 2.5, which must not all be rounded one way
    assert len(stratified_split(labels, 0.25, 0)[1]) == 250
    assert not torch.equal(stratified_split(labels, 0.25, 0)[1], stratified_split(labels, 0.25, 1)[1])


@quick
@given(n=st.integers(2, 200), batch_size=st.integers(2, 70), seed=st.integers(0, 99), epoch=st.integers(0, 3))
def test_an_epoch_sees_every_image_once_in_even_batches(n: int, batch_size: int, seed: int, epoch: int) -> None:
    order = EpochOrder(n, batch_size, seed, "weights")
    steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
    batches = tuple(order.batch(step) for step in steps)
    assert is_partition(batches, n)
    assert {order.epoch(step) for step in steps} == {epoch}
    sizes = [len(batch) for batch in batches]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 2
    assert max(sizes) <= batch_size or (batch_size == 2 and max(sizes) == 3)
    if batch_size > 2:
        assert order.steps_per_epoch == (n + batch_size - 1) // batch_size


@quick
@given(steps=st.lists(st.integers(0, 40), min_size=1, max_size=20))
def test_a_batch_is_a_function_of_its_step(steps: list[int]) -> None:
    order = EpochOrder(23, 5, 3, "weights")
    for step in steps:
        assert torch.equal(order.batch(step), EpochOrder(23, 5, 3, "weights").batch(step))


def test_epochs_seeds_and_streams_have_orders_of_their_own_which_nobody_can_change() -> None:
    for_all = [(0, "weights", 0), (0, "weights", 1), (1, "weights", 0), (0, "alpha", 0)]
    orders = [EpochOrder(64, 64, seed, stream).batch(step) for seed, stream, step in for_all]
    assert len({tuple(order.tolist()) for order in orders}) == 4
    order = EpochOrder(8, 4, 0, "weights")
    before = order.batch(0).clone()
    order.batch(0).zero_()
    assert torch.equal(order.batch(0), before)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: halves(images_with(torch.tensor([0])), 0), "at least two training examples"),
        (lambda: stratified_split(torch.zeros(9).long(), 1.0, 0), "between 0 and 1"),
        (lambda: stratified_split(torch.arange(5), 0.2, 0), "enough examples"),
        (lambda: EpochOrder(1, 8, 0, "weights"), "at least two examples"),
        (lambda: EpochOrder(8, 1, 0, "weights"), "batch size of at least 2"),
    ],
)
def test_what_can_not_be_is_refused(wrong: Callable[[], object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        wrong()
