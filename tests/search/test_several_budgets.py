"""Several budgets at once: the answer equals that of trying every architecture; draws, refusals and methods."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import helpers_run as h
import numpy as np
import pytest
import torch

import fpnas
from fpnas import ArchDistribution, Budget, Budgets, Choice, Flash, Flops, InputError, Params, Ram, SearchSpace
from fpnas.cost import AdditiveCost, MaxCost, budget_of
from fpnas.cost.elimination import Factor
from fpnas.distribution import groups, singletons
from fpnas.search.constrained import best_within
from fpnas.search.within import Within, walked
from fpnas.streams import generator

SPACE = SearchSpace(
    Choice(f"group{g}.{name}", tuple(range(n))) for g in range(3) for name, n in (("a", 3), ("b", 2), ("width", 3))
)
EVERY = torch.tensor(list(itertools.product(*(range(n) for n in SPACE.cardinalities))))
SCOPES = ((0, 1, 2), (2, 3, 5), (2, 4), (5, 6, 7, 8), (8,))
SHAPE = (1, 8, 8)


def greatest_and_sum(space: SearchSpace, factors: list[Factor], constant: float) -> MaxCost:
    """The greatest, and beside it a sum that falls where the greatest rises."""
    return MaxCost(
        space, factors, constant, AdditiveCost(space, [Factor(f.scope, 41.0 - f.table) for f in factors], 3.0)
    )


class Cost:
    """A chain of factors, as networks have, joined by a sum or by the greatest."""

    space = SPACE

    def __init__(self, seed: int, kind: Callable[..., AdditiveCost | MaxCost] = AdditiveCost) -> None:
        rng = np.random.default_rng(seed)
        tables = [rng.integers(1, 40, [SPACE.cardinalities[v] for v in scope]).astype(float) for scope in SCOPES]
        self.name = f"{'sum' if kind is AdditiveCost else 'greatest'} {seed}"
        self.table = kind(SPACE, [Factor(s, t) for s, t in zip(SCOPES, tables, strict=True)], 5.0)

    def __call__(self, codes: torch.Tensor) -> torch.Tensor:
        return self.table(codes)

    def bounds(self) -> tuple[float, float]:
        return self.table.extreme(1)[0], self.table.extreme(-1)[0]


def distribution(space: SearchSpace, partition: Any, seed: int, scale: float) -> ArchDistribution:
    found = ArchDistribution(space, partition)
    draws = torch.randn(found.logits.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found.set_logits(draws * scale)
    return found


def every_of(space: SearchSpace) -> torch.Tensor:
    return torch.tensor(list(itertools.product(*(range(n) for n in space.cardinalities))))


def targets_of(costs: list[torch.Tensor], share: float) -> list[float]:
    """Met together by the architectures around one of them, and by few others."""
    middle = sum(cost / cost.max() for cost in costs)
    near = int(middle.argsort()[int(share * (len(middle) - 1))])
    return [float(cost[near]) for cost in costs]


@pytest.mark.parametrize(
    "kinds",
    [
        *((AdditiveCost,) * 2, (AdditiveCost,) * 3, (AdditiveCost, MaxCost), (MaxCost, MaxCost)),
        *((greatest_and_sum,), (AdditiveCost, greatest_and_sum), (greatest_and_sum, greatest_and_sum, MaxCost)),
    ],
)
@pytest.mark.parametrize("partition", [singletons(SPACE), groups(SPACE), ((0, 3, 6), (1, 2), (4, 5, 7, 8))])
def test_equals_trying_everything(partition: Any, kinds: tuple[Callable[..., AdditiveCost | MaxCost], ...]) -> None:
    for seed, scale in itertools.product(range(3), (0.0, 0.3, 3.0)):
        costs = [Cost(10 * seed + number, kind) for number, kind in enumerate(kinds)]
        every = [cost(EVERY) for cost in costs]
        found = distribution(SPACE, partition, seed, scale)
        for share in (0.0, 0.02, 0.4):
            targets = targets_of(every, share)
            budget = budget_of(list(zip(costs, targets, strict=True)))
            assert budget is not None
            meets = torch.stack([c <= t for c, t in zip(every, targets, strict=True)]).all(dim=0)
            answer = best_within(found, budget.cost, budget.target, num_samples=5)
            best = float(found.log_prob(EVERY).detach()[meets].max())
            assert answer.log_prob == pytest.approx(best, abs=1e-9)
            assert bool(meets[(torch.tensor(SPACE.encode(answer.arch)) == EVERY).all(dim=1)])
            assert answer.how == "exact" or answer.arch == found.mode()


def test_memory_flash_and_flops_of_networks_equal_trying_everything() -> None:
    net = h.small_supernet()
    every = every_of(net.space)
    costs = [kind(net, SHAPE) for kind in (Flops, Params, Ram, Flash)]
    rows = [cost(every).double() for cost in costs]
    for seed, share in itertools.product(range(4), (0.02, 0.2, 0.5)):
        targets = targets_of(rows, share)
        budget = budget_of(list(zip(costs, targets, strict=True)))
        assert budget is not None
        meets = torch.stack([c <= t for c, t in zip(rows, targets, strict=True)]).all(dim=0)
        found = distribution(net.space, None, seed, 2.0)
        answer = best_within(found, budget.cost, budget.target, num_samples=2)
        assert answer.log_prob == pytest.approx(float(found.log_prob(every).detach()[meets].max()), abs=1e-9)


@pytest.mark.parametrize("kind", [MaxCost, greatest_and_sum])
def test_the_greatest_of_tables_alone_is_exact(kind: Callable[..., MaxCost]) -> None:
    cost = Cost(4, kind)
    costs = cost(EVERY)
    assert cost.bounds() == (float(costs.min()), float(costs.max()))
    for sign, wanted in ((1, costs.min()), (-1, costs.max())):
        assert float(cost(torch.tensor([cost.table.extreme(sign)[1]]))) == float(wanted)
    found = distribution(SPACE, None, 1, 1.0)
    for target in costs.unique().tolist():
        answer = best_within(found, cost, target, num_samples=1)
        assert answer.log_prob == pytest.approx(float(found.log_prob(EVERY).detach()[costs <= target].max()), abs=1e-9)


def test_where_too_many_stay_in_the_race_it_says_so() -> None:
    costs = [Cost(1), Cost(2)]
    targets = targets_of([cost(EVERY) for cost in costs], 0.4)
    budget = budget_of(list(zip(costs, targets, strict=True)))
    assert budget is not None
    found = distribution(SPACE, None, 3, 1.0)
    with patch("fpnas.cost.labels.MAX_LABELS", 0), patch("fpnas.cost.labels._STEPS", 1):
        answer = best_within(found, budget.cost, budget.target, num_samples=50)
    assert (answer.how, answer.cost <= 1) == ("sampled", True)


def test_the_excess_is_the_largest() -> None:
    parts = [Budget(Cost(1), 90.0), Budget(Cost(2, MaxCost), 30.0)]
    budget = Budgets(parts)
    excess = torch.stack([part.excess(EVERY) for part in parts]).amax(dim=0)
    torch.testing.assert_close(budget.excess(EVERY), excess, rtol=0, atol=1e-12)
    assert (budget.target, budget.binds, budget.parts) == (1.0, True, tuple(parts))
    assert budget.cost.name == "largest share of sum 1 and greatest 2"
    assert budget.cost.bounds()[1] == pytest.approx(float(budget.cost(EVERY).max()))


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_draws_meet_all_where_few_networks_do(share: float) -> None:
    """35 and 172 of 5,832: fewer than a tilt by costs finds."""
    costs = [Cost(1), Cost(2), Cost(3, MaxCost)]
    targets = targets_of([cost(EVERY) for cost in costs], share)
    budget = budget_of(list(zip(costs, targets, strict=True)))
    for seed in range(4):
        codes = Within().draw(distribution(SPACE, None, seed, 0.5), budget, 64, generator(seed, "draws"))
        for cost, target in zip(costs, targets, strict=True):
            assert bool((cost(codes) <= target).all())


def test_a_walk_draws_what_is_within_in_proportion_to_its_probability() -> None:
    costs = [Cost(1), Cost(2)]
    targets = targets_of([cost(EVERY) for cost in costs], 0.4)
    budget = budget_of(list(zip(costs, targets, strict=True)))
    assert budget is not None
    meets = budget.cost(EVERY) <= 1
    found = distribution(SPACE, None, 1, 0.3)
    wanted = found.log_prob(EVERY).detach().exp()[meets]
    start = EVERY[meets][:1].repeat(40_000, 1)
    codes = walked(found, budget, start, generator(0, "walk"))
    assert bool((budget.cost(codes) <= 1).all())
    strides = torch.tensor([int(np.prod(SPACE.cardinalities[v + 1 :])) for v in range(len(SPACE))])
    counts = torch.bincount((codes * strides).sum(dim=1), minlength=len(EVERY))[meets]
    distance = float((counts / counts.sum() - wanted / wanted.sum()).abs().sum() / 2)
    assert distance < 0.15  # all chains begin at one end of the space; 0.1 of it is noise and that


def test_what_no_network_meets_together_names_the_least_that_would_do() -> None:
    """Each target is met by some network; what one must be raised to while the others stay is exact."""
    costs = [Cost(1), Cost(2), Cost(3, MaxCost)]
    every = [cost(EVERY) for cost in costs]
    targets = [float(cost.min()) for cost in every]
    with pytest.raises(InputError, match="targets that one network can meet together") as caught:
        budget_of(list(zip(costs, targets, strict=True)))
    needs: list[tuple[float, str]] = []
    for number in (0, 1):
        others = [every[other] <= targets[other] for other in range(3) if other != number]
        meets = torch.stack(others).all(dim=0)
        if bool(meets.any()):
            least = float(every[number][meets].min())
            needs.append((least / targets[number], f"raise one, to {least:.3g} sum {number + 1} at least"))
    wanted = min(needs)[1] if needs else "raise one"
    if float(wanted.split()[3] if needs else 0) >= 100:
        wanted = wanted.replace(wanted.split()[3], f"{float(wanted.split()[3]):,.0f}")
    assert str(caught.value).endswith(wanted)
    assert "\n" not in str(caught.value)


def test_of_targets_that_nothing_meets_the_tightest_is_named() -> None:
    net = h.small_supernet()
    flops, ram = Flops(net, SHAPE), Ram(net, SHAPE)
    with pytest.raises(InputError, match=f"a target of at least {ram.bounds()[0]:,.0f} bytes of RAM"):
        budget_of([(flops, 0.9 * flops.bounds()[0]), (ram, 0.5 * ram.bounds()[0])])


@pytest.mark.parametrize("method", ["fpnas-posterior", "random", "evolution", "parsec", "fpnas"])
def test_methods_search_within_all(method: str) -> None:
    net = h.small_supernet()
    costs = [kind(net, SHAPE) for kind in (Flops, Ram, Flash)]
    targets = targets_of([cost(every_of(net.space)).double() for cost in costs], 0.3)
    budget = budget_of(list(zip(costs, targets, strict=True)))
    task = fpnas.SupernetEvaluator(net, h.made_up(), batch_size=8, seed=1)
    search = fpnas.methods.METHODS[method](task, budget, epochs=1, seed=2)
    for _ in range(search.steps_total):
        search.step()
    codes = torch.tensor([net.space.encode(search.answer().arch)])
    for cost, target in zip(costs, targets, strict=True):
        assert float(cost(codes)) <= target
    result = search.files()["result.json"]
    assert (result["ram"], result["flash"]) == (float(costs[1](codes)), float(costs[2](codes)))
    assert [part["target"] for part in result["budgets"]] == targets
    assert [part["cost"] for part in result["budgets"]] == [float(cost(codes)) for cost in costs]
    assert search.settings()["budgets"] == [f"{t:.12g} {c.name}" for c, t in zip(costs, targets, strict=True)]


def test_a_method_that_mixes_takes_sums_and_no_greatest() -> None:
    net = h.small_supernet()
    task = fpnas.SupernetEvaluator(net, h.made_up(), batch_size=8, seed=1)
    flops, params, ram = Flops(net, SHAPE), Params(net, SHAPE), Ram(net, SHAPE)
    term = fpnas.CostTerm(floor=0.05)
    middle = [sum(cost.bounds()) / 2 for cost in (flops, params, ram)]
    both = budget_of([(flops, middle[0]), (params, middle[1])])
    assert fpnas.methods.darts(task, both, epochs=1, cost_term=term).step() is not None
    with pytest.raises(InputError, match="bytes of RAM, which is no sum of tables"):
        fpnas.methods.darts(task, budget_of([(flops, middle[0]), (ram, middle[2])]), epochs=1, cost_term=term)
