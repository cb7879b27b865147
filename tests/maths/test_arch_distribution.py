"""`ArchDistribution` against exact enumeration of a small space, factorised, joint and partly joined.

Log-probabilities, entropy, mode and samples are those of a plain dict of probabilities; `joined()` changes none of
them; the gradient of the log-probability is that of finite differences.
"""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from enumeration import PARTITIONS, SPACE, enumerated, every_codes, with_random_logits

from fpnas import ArchDistribution, Choice, InputError, SearchSpace
from fpnas.distribution import groups, singletons
from fpnas.streams import generator

ALL = torch.tensor(every_codes())
partitions = pytest.mark.parametrize("partition", PARTITIONS.values(), ids=PARTITIONS)


def test_the_two_named_partitions() -> None:
    assert singletons(SPACE) == PARTITIONS["FD"]
    assert groups(SPACE) == PARTITIONS["JD"]
    assert ArchDistribution(SPACE).partition == PARTITIONS["FD"]


@partitions
@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_log_probabilities_are_those_of_the_enumeration_and_sum_to_1(
    partition: tuple[tuple[int, ...], ...], scale: float
) -> None:
    distribution = with_random_logits(partition, seed=1, scale=scale)
    expected = torch.tensor([enumerated(distribution)[tuple(codes)] for codes in ALL.tolist()], dtype=torch.float64)
    log_prob = distribution.log_prob(ALL)
    torch.testing.assert_close(log_prob.exp(), expected, rtol=1e-12, atol=0)
    assert log_prob.exp().sum().item() == pytest.approx(1.0, abs=1e-12)


@partitions
def test_entropy_is_the_sum_over_all_architectures(partition: tuple[tuple[int, ...], ...]) -> None:
    distribution = with_random_logits(partition, seed=2)
    expected = -sum(p * math.log(p) for p in enumerated(distribution).values())
    assert distribution.entropy().item() == pytest.approx(expected, abs=1e-12)


@partitions
def test_a_fresh_distribution_is_uniform(partition: tuple[tuple[int, ...], ...]) -> None:
    distribution = ArchDistribution(SPACE, partition)
    expected = torch.full((144,), -math.log(144), dtype=torch.float64)
    torch.testing.assert_close(distribution.log_prob(ALL), expected, rtol=0, atol=1e-12)
    assert distribution.entropy().item() == pytest.approx(math.log(144), abs=1e-12)


@partitions
@pytest.mark.parametrize("seed", range(4))
def test_mode_is_the_argmax_of_the_enumeration(partition: tuple[tuple[int, ...], ...], seed: int) -> None:
    distribution = with_random_logits(partition, seed)
    probability = enumerated(distribution)
    assert SPACE.encode(distribution.mode()) == max(probability, key=probability.__getitem__)


def chi_square(counts: Counter[tuple[int, ...]], probability: dict[tuple[int, ...], float]) -> float:
    total = counts.total()
    return sum((counts[codes] - total * p) ** 2 / (total * p) for codes, p in probability.items())


@partitions
def test_sample_frequencies(partition: tuple[tuple[int, ...], ...]) -> None:
    """143 degrees of freedom: chi-square is 143 +- 17, and 204 has a probability of 0.0006."""
    distribution = with_random_logits(partition, seed=3, scale=0.5)
    probability = enumerated(distribution)
    assert 40_000 * min(probability.values()) > 5
    counts = Counter(map(tuple, distribution.sample(40_000, generator(0, "chi")).tolist()))
    assert chi_square(counts, probability) < 204
    assert chi_square(counts, dict.fromkeys(probability, 1 / 144)) > 1000, "the test could not tell it from uniform"


def test_samples_never_come_from_the_padding_nor_from_what_has_no_probability() -> None:
    distribution = with_random_logits(PARTITIONS["JD"], seed=4)
    with torch.no_grad():
        distribution.logits[2, 0] = -1e6  # option 0 of choice c
        distribution.logits[~distribution.is_option] = 1e6
    codes = distribution.sample(20_000, generator(1, "padding"))
    assert bool((codes >= 0).all())
    assert bool((codes < torch.tensor(SPACE.cardinalities)).all())
    assert set(codes[:, 5].tolist()) == {1, 2}


def test_samples_depend_on_the_generator_alone() -> None:
    distribution = with_random_logits(PARTITIONS["JD"])
    before = torch.get_rng_state()
    first, again = (distribution.sample(50, generator(7, "samples")) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, distribution.sample(50, generator(8, "samples")))
    assert torch.equal(torch.get_rng_state(), before)


joins = pytest.mark.parametrize(
    ("start", "end"),
    [
        ("FD", "JD"),
        ("FD", "partial"),
        ("FD", "across groups"),
        ("FD", "one table"),
        ("partial", "JD"),
        ("JD", "one table"),
        ("across groups", "one table"),
        ("JD", "JD"),
    ],
)


@joins
@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_joined_is_the_same_distribution(start: str, end: str, scale: float) -> None:
    before = with_random_logits(PARTITIONS[start], seed=5, scale=scale)
    after = before.joined(PARTITIONS[end])
    assert after.partition == PARTITIONS[end]
    torch.testing.assert_close(after.log_prob(ALL), before.log_prob(ALL), rtol=0, atol=1e-9)
    assert after.entropy().item() == pytest.approx(before.entropy().item(), abs=1e-9)
    reference = torch.tensor([enumerated(after)[tuple(codes)] for codes in ALL.tolist()], dtype=torch.float64)
    torch.testing.assert_close(reference, before.log_prob(ALL).exp().detach(), rtol=1e-9, atol=1e-300)


def test_joined_goes_to_the_groups_by_default_and_leaves_the_original_alone() -> None:
    before = with_random_logits(PARTITIONS["FD"], seed=6)
    logits = before.logits.detach().clone()
    after = before.joined()
    assert after.partition == PARTITIONS["JD"]
    with torch.no_grad():
        after.logits.add_(1.0)
    assert torch.equal(before.logits, logits)


@pytest.mark.parametrize(
    ("start", "end"), [("JD", "FD"), ("JD", "across groups"), ("one table", "JD"), ("partial", "across groups")]
)
def test_joined_refuses_to_tear_a_cell(start: str, end: str) -> None:
    with pytest.raises(InputError, match="unions of the present ones"):
        with_random_logits(PARTITIONS[start]).joined(PARTITIONS[end])


@pytest.mark.parametrize(
    "cells", [((0, 1, 2),), ((0, 1, 2, 3, 4, 5), (0,)), ((0, 1), (2, 3), (4, 6)), ((0, 0, 1, 2, 3, 4, 5),)]
)
def test_a_partition_holds_every_choice_once(cells: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(InputError, match="each of 6 choices once"):
        ArchDistribution(SPACE, cells)


@partitions
def test_the_gradient_of_log_prob_and_of_entropy_by_finite_differences(partition: tuple[tuple[int, ...], ...]) -> None:
    distribution = with_random_logits(partition, seed=8)
    codes = ALL[::37]
    functions = [lambda k=k: distribution.log_prob(codes)[k] for k in range(len(codes))] + [distribution.entropy]
    for function in functions:
        (gradient,) = torch.autograd.grad(function(), [distribution.logits])
        expected = torch.zeros_like(gradient)
        with torch.no_grad():
            for index in torch.cartesian_prod(*(torch.arange(n) for n in gradient.shape)).tolist():
                here = float(distribution.logits[tuple(index)])
                sides = []
                for step in (1e-5, -1e-5):
                    distribution.logits[tuple(index)] = here + step
                    sides.append(function().item())
                distribution.logits[tuple(index)] = here
                expected[tuple(index)] = (sides[0] - sides[1]) / 2e-5
        torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-8)
        assert bool((gradient[~distribution.is_option] == 0).all())


def test_num_logits_counts_what_is_in_use() -> None:
    assert ArchDistribution(SPACE).num_logits == 3 + 2 + 2 + 1 + 4 + 3
    assert ArchDistribution(SPACE, groups(SPACE)).num_logits == 3 * 2 * 1 + 2 * 4 + 3


def test_a_space_of_a_single_architecture() -> None:
    distribution = ArchDistribution(SearchSpace([Choice("a", (1,)), Choice("b", (2,))]))
    assert distribution.sample(3, generator(0)).tolist() == [[0, 0]] * 3
    assert distribution.entropy().item() == 0.0
    assert distribution.log_prob(torch.tensor([[0, 0]])).tolist() == [0.0]


def test_sharp_logits_stay_finite() -> None:
    """A distribution that has settled: probabilities of exp(-800) are 0 in float64, and 0 * log 0 is 0."""
    distribution = ArchDistribution(SPACE, groups(SPACE))
    with torch.no_grad():
        distribution.logits[:, 0] = 800.0
    assert distribution.entropy().item() == pytest.approx(0.0, abs=1e-12)
    (gradient,) = torch.autograd.grad(distribution.entropy() + distribution.log_prob(ALL).sum(), [distribution.logits])
    assert bool(gradient.isfinite().all())
