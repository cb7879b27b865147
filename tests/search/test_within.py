"""`Within`: architectures within the budget, from P(A|alpha) where it can be, on a space of 144 that is enumerated.

The reference is the list of all architectures with their probabilities, tilted by their costs and cut at the target.
"""

from __future__ import annotations

import math
from collections import Counter

import helpers_run as h
import pytest
import torch
from table_problem import Codes, rows_of
from torch import Tensor

import fpnas
from fpnas import ArchDistribution, Budget
from fpnas.distribution import groups
from fpnas.search.within import SHARE, Within, feasible
from fpnas.streams import generator

COSTS = sorted(h.table_cost(code) for code in h.ALL_CODES)


def some_distribution(joint: bool = False, slant: float = 0.0, seed: int = 0) -> ArchDistribution:
    """Random logits; `slant` favours each choice's later options, which are dear."""
    found = ArchDistribution(h.TABLE_SPACE, groups(h.TABLE_SPACE) if joint else None)
    draws = torch.randn(found.logits.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found.set_logits(0.7 * draws + slant * torch.arange(found.logits.shape[1]))
    return found


def probabilities(distribution: ArchDistribution, target: float) -> dict[Codes, float]:
    """P(A|alpha) of those within the target, summing to 1."""
    logs = distribution.log_prob(torch.tensor(h.ALL_CODES)).tolist()
    weights = {
        code: math.exp(log) if h.table_cost(code) <= target else 0.0
        for code, log in zip(h.ALL_CODES, logs, strict=True)
    }
    return {code: weight / sum(weights.values()) for code, weight in weights.items()}


def share_within(distribution: ArchDistribution, target: float, mu: float = 0.0) -> float:
    """The share of draws of the tilted P(A|alpha) that meet the target."""
    everything = probabilities(distribution, math.inf)
    tilted = {code: p * math.exp(-mu * h.table_cost(code) / target) for code, p in everything.items()}
    return sum(w for code, w in tilted.items() if h.table_cost(code) <= target) / sum(tilted.values())


def assert_drawn_from(drawn: list[Codes], expected: dict[Codes, float]) -> None:
    """Chi-square, options that are hardly ever expected pooled: within 4 standard deviations of its mean."""
    counts = Counter(drawn)
    assert all(expected[code] > 0 for code in counts)
    common = {code: e for code, e in expected.items() if e >= 5}
    pairs = [(counts[code], e) for code, e in common.items()]
    rest = sum(expected.values()) - sum(common.values())
    if rest >= 5:
        pairs.append((len(drawn) - sum(counts[code] for code in common), rest))
    freedom = len(pairs) - 1
    assert freedom >= 10, "too few architectures for a test"
    chi_square = sum((count - e) ** 2 / e for count, e in pairs)
    assert abs(chi_square - freedom) < 4 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("joint", [False, True])
def test_where_many_meet_the_target_draws_are_those_of_p_given_the_budget(joint: bool) -> None:
    distribution, budget = some_distribution(joint), Budget(h.TableCost(), 60.0)
    assert 0.4 < share_within(distribution, 60.0) < 0.9
    within, num = Within(), 200
    drawn = [rows_of(within.draw(distribution, budget, num, generator(0, "test", step))) for step in range(100)]
    assert all(len(rows) == num for rows in drawn)
    assert within.mu == 1.0, "no tilt was looked for"
    expected = probabilities(distribution, 60.0)
    assert_drawn_from([row for rows in drawn for row in rows], {code: p * num * 100 for code, p in expected.items()})


@pytest.mark.parametrize("joint", [False, True])
def test_where_few_meet_it_draws_are_those_of_p_too(joint: bool) -> None:
    """P(A|alpha) alone would meet the target once in some hundred draws; the tilt finds them, and leaves no trace."""
    distribution, budget = some_distribution(joint, slant=1.5), Budget(h.TableCost(), 40.0)
    assert share_within(distribution, 40.0) < 0.03
    within, num, steps = Within(), 100, 150
    drawn: list[Codes] = []
    for step in range(steps):
        rows = rows_of(within.draw(distribution, budget, num, generator(0, "test", step)))
        assert len(rows) == num
        assert all(h.table_cost(row) <= 40.0 for row in rows)
        drawn += rows
        # The least tilt that will do, to within a third of it and the noise of a share of 256 draws.
        assert share_within(distribution, 40.0, within.mu) > SHARE - 0.1
        assert share_within(distribution, 40.0, within.mu * 2 / 3) < SHARE + 0.1
    expected = probabilities(distribution, 40.0)
    assert_drawn_from(drawn, {code: p * num * steps for code, p in expected.items()})


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("slant", [0.0, 2.0, 8.0, -2.0])
@pytest.mark.parametrize("met", [1, 2, 5, 20, 80])
def test_every_draw_meets_the_target_however_few_do(joint: bool, slant: float, met: int) -> None:
    """1 of 144 at the tightest, the distribution's favourite as far away as can be (slant 8: e^-40 or less)."""
    distribution, budget = some_distribution(joint, slant), Budget(h.TableCost(), COSTS[met - 1])
    within = Within()
    for step in range(3):
        codes = within.draw(distribution, budget, 16, generator(1, "test", step))
        assert codes.shape == (16, 5)
        assert all(h.table_cost(row) <= budget.target for row in rows_of(codes))


def test_many_are_drawn_within_the_budget_too() -> None:
    """A quarter of the draws meet the target, so for many architectures there must be many draws."""
    distribution, budget = some_distribution(slant=1.5), Budget(h.TableCost(), 40.0)
    for steep in (distribution, some_distribution(slant=0.3)):
        codes = Within().draw(steep, budget, 1000, generator(1, "test"))
        assert codes.shape == (1000, 5)
        assert all(h.table_cost(row) <= 40.0 for row in rows_of(codes))


@pytest.mark.parametrize("budget", [None, Budget(h.TableCost(), 500.0)])
def test_without_a_budget_that_binds_draws_are_the_distributions_own(budget: Budget | None) -> None:
    distribution, within = some_distribution(), Within()
    codes = within.draw(distribution, budget, 50, generator(3, "test"))
    assert torch.equal(codes, distribution.sample(50, generator(3, "test")))
    assert within.mu == 1.0


def test_the_distribution_itself_is_left_alone() -> None:
    distribution = some_distribution(slant=2.0)
    before = distribution.logits.detach().clone()
    Within().draw(distribution, Budget(h.TableCost(), 30.0), 8, generator(0, "test"))
    assert torch.equal(distribution.logits, before)
    assert distribution.logits.requires_grad


def test_the_last_tilt_is_all_that_the_next_draw_needs() -> None:
    """A resumed search has `mu` and nothing else of it, and draws the same."""
    distribution, budget = some_distribution(slant=2.0), Budget(h.TableCost(), 35.0)
    unbroken, resumed = Within(), Within()
    for step in range(4):
        unbroken.draw(distribution, budget, 8, generator(0, "test", step))
    assert unbroken.mu not in (1.0, resumed.mu)
    resumed.mu = unbroken.mu
    other = generator(0, "test", 9)
    assert torch.equal(
        resumed.draw(distribution, budget, 8, generator(0, "test", 9)),
        unbroken.draw(distribution, budget, 8, other),
    )
    assert resumed.mu == unbroken.mu


def test_a_join_in_the_midst_is_met() -> None:
    budget, within = Budget(h.TableCost(), 30.0), Within()
    for distribution in (some_distribution(False, 2.0), some_distribution(True, 2.0)):
        codes = within.draw(distribution, budget, 16, generator(0, "test"))
        assert all(h.table_cost(row) <= 30.0 for row in rows_of(codes))


def test_costs_that_are_no_sums_are_met_too() -> None:
    """The cheap are those whose codes are all alike or nearly: least squares on single options sees little of it."""

    class Odd(h.TableCost):
        name = "oddness"

        def __call__(self, codes: Tensor) -> Tensor:
            return 1.0 + codes.double().std(dim=1)

        def bounds(self) -> tuple[float, float]:
            costs = self(torch.tensor(h.ALL_CODES))
            return float(costs.min()), float(costs.max())

    budget = Budget(Odd(), 1.5)
    codes = Within().draw(some_distribution(slant=1.0), budget, 16, generator(0, "test"))
    assert not budget.excess(codes).any()


def test_feasible_takes_the_first_within_and_fills_up_with_the_nearest() -> None:
    budget = fpnas.Budget(h.TableCost(), 30.0)
    codes = torch.tensor(
        [(2, 0, 0, 1, 0), (0, 0, 0, 0, 0), (0, 1, 0, 0, 0), (2, 1, 2, 3, 1), (0, 0, 2, 0, 1), (0, 0, 1, 0, 0)]
    )
    assert [h.table_cost(row) for row in rows_of(codes)] == [40.0, 10.0, 11.0, 104.0, 33.0, 20.0]
    assert torch.equal(feasible(codes, budget, 2), codes[[1, 2]])
    assert torch.equal(feasible(codes, budget, 3), codes[[1, 2, 5]])
    assert torch.equal(feasible(codes, budget, 4), codes[[1, 2, 4, 5]])
    assert torch.equal(feasible(codes, budget, 5), codes[[0, 1, 2, 4, 5]])
    for loose in (None, Budget(h.TableCost(), 500.0)):
        assert torch.equal(feasible(codes, loose, 3), codes[:3])
