"""`Memory` against a regression on all rows, kept and written out one by one.

The slow version keeps every architecture. A step's rows are whitened by the dense covariance of a random effect, aged
by the square root of their weight, and solved by least squares with the ridge as rows of its own; the ridge is that of
the greatest density of a multivariate normal. The library keeps sums and one decomposition.
"""

from __future__ import annotations

import math
from typing import Any

import helpers_run as h
import numpy as np
import pytest
import torch
from enumeration import PARTITIONS, SPACE
from numpy.typing import NDArray

from fpnas import ArchDistribution, InputError
from fpnas.memory import RIDGES, Memory

SIZES = [len(choice.options) for choice in SPACE.choices]
Rows = NDArray[np.float64]


def step_of(seed: int, num: int, noise: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    """`num` architectures and scores: main effects, one pair that is worth more together, a batch's shift, noise."""
    rng = np.random.default_rng(seed)
    codes = np.stack([rng.integers(0, n, num) for n in SIZES], axis=1)
    effects = np.random.default_rng(77)
    y = sum(effects.normal(size=n)[codes[:, v]] for v, n in enumerate(SIZES)) - 300.0
    y = y + 1.5 * ((codes[:, 0] == 1) & (codes[:, 2] == 1)) + rng.normal() + noise * rng.normal(size=num)
    return torch.tensor(codes), torch.tensor(y)


STEPS = [step_of(seed, num) for seed, num in enumerate((1, 7, 4, 12, 2, 9, 5, 30))]


def one_hot(codes: torch.Tensor) -> Rows:
    """A column an option and one of ones, by loops."""
    rows = np.zeros((len(codes), sum(SIZES) + 1))
    for row, code in zip(rows, codes.tolist(), strict=True):
        for v, option in enumerate(code):
            row[sum(SIZES[:v]) + option] = 1.0
        row[-1] = 1.0
    return rows


def whitened(z: Rows, y: Rows, batch_effect: float) -> tuple[Rows, Rows]:
    """By the symmetric inverse root of I + batch_effect * 1 1^T."""
    values, vectors = np.linalg.eigh(np.eye(len(y)) + batch_effect * np.ones((len(y), len(y))))
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    return root @ z, root @ y


def kept(steps: list[Any], batch_effect: float, half_life: float) -> tuple[Rows, Rows, Rows]:
    """All rows, and the weight that age has left to each."""
    rows = [whitened(one_hot(codes), y.numpy(), batch_effect) for codes, y in steps]
    ages = [0.5 ** ((len(steps) - 1 - number) / half_life) for number in range(len(steps))]
    weights = [np.full(len(y), age) for (_, y), age in zip(rows, ages, strict=True)]
    return np.concatenate([z for z, _ in rows]), np.concatenate([y for _, y in rows]), np.concatenate(weights)


PENALTY = np.array([1.0] * sum(SIZES) + [1e-6])
"""The ridge's share of each coefficient: the intercept is as good as free."""


def solved(z: Rows, y: Rows, weights: Rows, ridge: float) -> Rows:
    """argmin sum w (y - z b)^2 + ridge * sum penalty b^2, by least squares on augmented rows."""
    left = np.concatenate([z * np.sqrt(weights)[:, None], np.diag(np.sqrt(ridge * PENALTY))])
    right = np.concatenate([y * np.sqrt(weights), np.zeros(len(PENALTY))])
    return np.linalg.lstsq(left, right, rcond=None)[0]


def evidence(z: Rows, y: Rows, weights: Rows, ridge: float) -> float:
    """log N(y; 0, s (I + Z diag(1 / (ridge penalty)) Z^T)) at its best s; aged rows count `weights` of a row each."""
    z, y, count = z * np.sqrt(weights)[:, None], y * np.sqrt(weights), float(weights.sum())
    covariance = np.eye(len(y)) + z @ np.diag(1 / (ridge * PENALTY)) @ z.T
    distance = float(y @ np.linalg.solve(covariance, y))
    scale = distance / count
    log_det = float(np.linalg.slogdet(covariance)[1])
    return -0.5 * (count * math.log(2 * math.pi * scale) + log_det + distance / scale)


def filled(memory: Memory, partition: str = "FD", steps: list[Any] = STEPS) -> ArchDistribution:
    """The memory takes the steps in; the distribution whose cells they were drawn from."""
    distribution = ArchDistribution(SPACE, PARTITIONS[partition])
    for codes, scores in steps:
        memory.add(distribution, codes, scores)
    return distribution


def split(coefficients: Rows) -> list[Rows]:
    return [coefficients[sum(SIZES[:v]) : sum(SIZES[: v + 1])] for v in range(len(SIZES))]


aged = pytest.mark.parametrize(
    ("batch_effect", "half_life"), [(0.0, math.inf), (4.0, math.inf), (4.0, 3.0), (0.7, 1.0), (1e4, 20.0)]
)


@aged
def test_logits_are_a_ridge_regression_on_all_rows(batch_effect: float, half_life: float) -> None:
    memory = Memory(SPACE, batch_effect, half_life)
    table = memory.logits(filled(memory)).numpy()
    rows = kept(STEPS, batch_effect, half_life)
    for number, effect in enumerate(split(solved(*rows, memory.ridge))):
        np.testing.assert_allclose(table[number, : len(effect)], effect, rtol=0, atol=1e-8)
        assert not table[number, len(effect) :].any()
    assert np.abs(table).max() > 0.3


@aged
@pytest.mark.parametrize("noise", [0.1, 0.5, 20.0])
def test_the_ridge_is_the_most_probable_one(batch_effect: float, half_life: float, noise: float) -> None:
    steps = [step_of(seed, 8, noise) for seed in range(8)]
    memory = Memory(SPACE, batch_effect, half_life)
    memory.logits(filled(memory, steps=steps))
    found = [evidence(*kept(steps, batch_effect, half_life), ridge) for ridge in RIDGES]
    assert memory.ridge == RIDGES[int(np.argmax(found))]


def test_what_a_batch_shares_says_nothing_of_the_options() -> None:
    """Of two steps, one of which is a thousand nats better throughout, only the differences within count."""
    memory, shifted = (Memory(SPACE, batch_effect=1e12) for _ in range(2))
    (codes, y), (others, z) = STEPS[3], STEPS[7]
    logits = memory.logits(filled(memory, steps=[(codes, y), (others, z)]))
    moved = shifted.logits(filled(shifted, steps=[(codes, y), (others, z + 1000.0)]))
    torch.testing.assert_close(logits, moved, rtol=0, atol=1e-3)


# --------------------------------------------------------------------------------------------------------- joint cells


@pytest.mark.parametrize("partition", ["JD", "partial", "across groups", "one table"])
def test_without_interaction_joint_logits_are_sums_of_main_effects(partition: str) -> None:
    memory = Memory(SPACE, interaction=0.0)
    distribution = filled(memory, partition)
    table = memory.logits(distribution).tolist()  # which also settles the ridge
    effects = split(solved(*kept(STEPS, 4.0, math.inf), memory.ridge))
    for cell, row in zip(PARTITIONS[partition], table, strict=True):
        options = list(np.ndindex(*(SIZES[v] for v in cell)))
        wanted = [sum(effects[v][o] for v, o in zip(cell, option, strict=True)) for option in options]
        np.testing.assert_allclose(row[: len(options)], wanted, rtol=0, atol=1e-8)
        assert not any(row[len(options) :])


@pytest.mark.parametrize("partition", ["JD", "partial", "across groups"])
@pytest.mark.parametrize("half_life", [math.inf, 3.0])
def test_joint_cells_get_what_main_effects_leave_over(partition: str, half_life: float) -> None:
    """What is left over of the rows in which a joint option is, over their number and the shrinkage, a share a cell."""
    memory = Memory(SPACE, half_life=half_life, interaction=0.3)
    distribution = filled(memory, partition)
    table = memory.logits(distribution).tolist()  # which also settles the ridge
    z, y, weights = kept(STEPS, 4.0, half_life)
    main = solved(z, y, weights, memory.ridge)
    codes = torch.cat([codes for codes, _ in STEPS]).tolist()
    effects, cells = split(main), PARTITIONS[partition]
    for cell, row in zip(cells, table, strict=True):
        for position, option in enumerate(np.ndindex(*(SIZES[v] for v in cell))):
            rows = [k for k, code in enumerate(codes) if tuple(code[v] for v in cell) == option]
            rest = sum(weights[k] * (y[k] - float(z[k] @ main)) for k in rows)
            own = rest / (sum(weights[k] for k in rows) + memory.ridge / 0.3)
            wanted = sum(effects[v][o] for v, o in zip(cell, option, strict=True)) + own / len(cells)
            assert row[position] == pytest.approx(wanted, abs=1e-7)


def test_a_pair_that_is_worth_more_together_is_found() -> None:
    """Option (1, 1) of choices 0 and 2 has 1.5 nats of its own; with much data most of them end in its cell."""
    steps = [step_of(seed, 40) for seed in range(60)]
    own: list[torch.Tensor] = []
    for interaction in (0.0, 10.0):
        memory = Memory(SPACE, interaction=interaction)
        own.append(memory.logits(filled(memory, "JD", steps))[0, :6].reshape(3, 2))
    extra = own[1] - own[0]
    assert extra.argmax() == 1 * 2 + 1
    assert extra[1, 1] > 0.15


def test_rows_from_before_the_join_tell_of_main_effects() -> None:
    memory = Memory(SPACE, interaction=0.0)
    filled(memory, "FD", STEPS[:4])
    joint = filled(memory, "JD", STEPS[4:])
    whole = Memory(SPACE, interaction=0.0)
    torch.testing.assert_close(memory.logits(joint), whole.logits(filled(whole, "JD")), rtol=0, atol=1e-10)


# ------------------------------------------------------------------------------------------------- state and bad input


@pytest.mark.parametrize("partition", ["FD", "JD"])
def test_a_state_goes_on_where_it_was_left(partition: str) -> None:
    unbroken, first, second = (Memory(SPACE, half_life=5.0) for _ in range(3))
    distribution = filled(unbroken, partition)
    filled(first, partition, STEPS[:5])
    second.load_state_dict(h.through_file(first.state_dict()))
    filled(second, partition, STEPS[5:])
    assert torch.equal(second.logits(distribution), unbroken.logits(distribution))
    assert (second.ridge, second.count, second.power) == (unbroken.ridge, unbroken.count, unbroken.power)


def test_a_kept_state_does_not_move_on() -> None:
    memory = Memory(SPACE)
    filled(memory, "JD", STEPS[:3])
    state = memory.state_dict()
    before = [t.clone() for t in (state["gram"], state["moment"], *state["cells"])]
    filled(memory, "JD", STEPS[3:])
    assert all(
        torch.equal(a, b) for a, b in zip(before, (state["gram"], state["moment"], *state["cells"]), strict=True)
    )


@pytest.mark.parametrize("partition", ["FD", "JD"])
def test_scores_that_are_no_numbers_are_left_out(partition: str) -> None:
    codes, scores = STEPS[7]
    broken = scores.clone()
    broken[[2, 5, 11]] = torch.tensor([math.nan, -math.inf, math.inf], dtype=torch.float64)
    fine = broken.isfinite()
    memory, whole = Memory(SPACE), Memory(SPACE)
    distribution = filled(memory, partition, [(codes, broken)])
    filled(whole, partition, [(codes[fine], scores[fine])])
    assert torch.equal(memory.logits(distribution), whole.logits(distribution))
    assert memory.count == 27.0
    memory.add(distribution, codes[:2], torch.full((2,), math.nan, dtype=torch.float64))
    assert torch.equal(memory.logits(distribution), whole.logits(distribution))


def test_without_a_score_nothing_is_preferred() -> None:
    memory = Memory(SPACE)
    assert not memory.logits(ArchDistribution(SPACE)).any()


def test_settings_are_plain() -> None:
    assert Memory(SPACE).settings() == {"batch_effect": 4.0, "half_life": None, "interaction": 0.1}
    assert Memory(SPACE, 0.0, 20.0, 0.0).settings() == {"batch_effect": 0.0, "half_life": 20.0, "interaction": 0.0}


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_effect": -0.1},
        {"batch_effect": math.nan},
        {"half_life": 0.0},
        {"half_life": math.nan},
        {"interaction": -1.0},
        {"interaction": math.nan},
    ],
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="variances of 0 or more and a half-life above 0") as caught:
        Memory(SPACE, **wrong)
    assert "\n" not in str(caught.value)
