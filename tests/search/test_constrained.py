"""The most probable architecture within a budget equals that of trying every architecture."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from fpnas import ArchDistribution, Choice, InputError, SearchSpace
from fpnas.cost import AdditiveCost
from fpnas.cost.elimination import Factor
from fpnas.distribution import groups, singletons
from fpnas.search.constrained import best_within

SPACE = SearchSpace(
    Choice(f"group{g}.{name}", tuple(range(n))) for g in range(3) for name, n in (("a", 3), ("b", 2), ("width", 3))
)
EVERY = torch.tensor(list(itertools.product(*(range(n) for n in SPACE.cardinalities))))


class Cost:
    """A chain of factors, as networks have: each group reads its own choices and the width before it."""

    name, space = "cost", SPACE

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        scopes = ((0, 1, 2), (2, 3, 5), (2, 4), (5, 6, 7, 8), (8,))
        tables = [rng.integers(0, 40, [SPACE.cardinalities[v] for v in scope]).astype(float) for scope in scopes]
        self.table = AdditiveCost(SPACE, [Factor(s, t) for s, t in zip(scopes, tables, strict=True)], constant=5.0)

    def __call__(self, codes: torch.Tensor) -> torch.Tensor:
        return self.table(codes)

    def bounds(self) -> tuple[float, float]:
        return self.table.extreme(1)[0], self.table.extreme(-1)[0]


class BlackBox(Cost):
    """The same numbers, without the table that makes the exact search possible."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._hidden = self.table
        del self.table

    def __call__(self, codes: torch.Tensor) -> torch.Tensor:
        return self._hidden(codes)

    def bounds(self) -> tuple[float, float]:
        return self._hidden.extreme(1)[0], self._hidden.extreme(-1)[0]


def distribution(partition: object, seed: int, scale: float) -> ArchDistribution:
    found = ArchDistribution(SPACE, partition)  # type: ignore[arg-type]
    draws = torch.randn(found.logits.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found.logits.data = draws * scale
    return found


@pytest.mark.parametrize("partition", [singletons(SPACE), groups(SPACE), ((0, 3, 6), (1, 2), (4, 5, 7, 8))])
@pytest.mark.parametrize("scale", [0.0, 0.3, 3.0])
def test_equals_trying_everything(partition: object, scale: float) -> None:
    for seed in range(6):
        cost, found = Cost(seed), distribution(partition, seed, scale)
        costs, log_probs = cost(EVERY), found.log_prob(EVERY).detach()
        for share in (0.0, 0.05, 0.3, 0.9):
            target = float(costs.min() + share * (costs.max() - costs.min()))
            answer = best_within(found, cost, target, num_samples=5)
            best = float(log_probs[costs <= target].max())
            assert answer.log_prob == pytest.approx(best, abs=1e-9)
            assert answer.cost <= target
            assert answer.how == "exact" or answer.arch == found.mode()


def test_an_answer_never_exceeds_its_target_by_one_at_a_billion() -> None:
    """1 of 1,000,000,000 multiply-adds lies within the slack that the sums of the dynamic programme are given."""
    space = SearchSpace([Choice("a", (0, 1)), Choice("b", (0, 1))])
    target = 1_000_000_000.0

    class Billions(Cost):
        def __init__(self) -> None:
            tables = [Factor((0,), np.array([0.0, target / 2])), Factor((1,), np.array([1.0, target / 2 + 1]))]
            self.table, self.space = AdditiveCost(space, tables), space

    found = ArchDistribution(space)
    found.set_logits(torch.tensor([[0.0, 2.0], [0.0, 1.0]], dtype=torch.float64))  # the mode costs one too many
    answer = best_within(found, Billions(), target, num_samples=1, seed=3)
    assert dict(answer.arch) == {"a": 1, "b": 0}
    assert (answer.how, answer.cost) == ("exact", target / 2 + 1)


def test_without_a_table_the_best_sample_is_given_and_said_so() -> None:
    cost, found = BlackBox(1), distribution(groups(SPACE), 1, 1.0)
    costs = cost(EVERY)
    target = float(costs.quantile(0.2))
    answer = best_within(found, cost, target)
    assert answer.how in ("sampled", "mode")
    assert answer.cost <= target
    # 20,000 samples of 5,832 architectures: the best one is all but certainly among them.
    assert answer.log_prob == pytest.approx(float(found.log_prob(EVERY).detach()[costs <= target].max()), abs=1e-9)


def test_without_a_table_a_target_that_no_sample_meets_is_met() -> None:
    """A distribution all but certain of the dearest network, as a search by the posterior can end: its budget isn't in
    the logits."""
    cost = BlackBox(1)
    dearest = EVERY[int(cost(EVERY).argmax())]
    found = distribution(None, 1, 0.5)
    found.logits.data[torch.arange(len(SPACE)), dearest] += 12.0
    costs = cost(EVERY)
    target = float(costs.quantile(0.02))
    assert float(found.log_prob(EVERY).detach()[costs <= target].exp().sum()) < 1e-8
    answer = best_within(found, cost, target)
    assert (answer.how, answer.cost <= target) == ("sampled", True)
    assert answer.log_prob == pytest.approx(float(found.log_prob(EVERY).detach()[costs <= target].max()), abs=1e-9)


@pytest.mark.parametrize("kind", [Cost, BlackBox])
def test_a_target_that_nothing_meets_is_refused(kind: type[Cost]) -> None:
    cost = kind(2)
    with pytest.raises(InputError, match="raise the target"):
        best_within(distribution(groups(SPACE), 2, 1.0), cost, float(cost(EVERY).min()) - 1)
