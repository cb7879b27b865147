"""`CostTerm`: by each estimator its gradient is that of beta * log(E[C(A)] + floor) summed over the space; refusals."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from fpnas import ArchDistribution, Budget, Choice, InputError, SearchSpace
from fpnas.cost import AdditiveCost
from fpnas.cost.elimination import Factor
from fpnas.search import CostTerm
from fpnas.streams import generator


class Listed:
    """A cost model that someone else wrote: the cost is what the table says."""

    name = "milliseconds"
    space = SearchSpace([Choice("a", (1, 2, 3)), Choice("b", (1, 2))])
    values = torch.tensor([[2.0, 3.0], [4.0, 8.0], [5.0, 10.0]], dtype=torch.float64)

    def __call__(self, codes: Tensor) -> Tensor:
        return self.values[codes[:, 0], codes[:, 1]]

    def bounds(self) -> tuple[float, float]:
        return 2.0, 10.0


class Summed(Listed):
    """The same as a sum of one table, so that expectations are known."""

    def __init__(self) -> None:
        self.table = AdditiveCost(self.space, [Factor((0, 1), self.values.numpy())])


EVERY = torch.tensor([[a, b] for a in range(3) for b in range(2)])


def a_distribution() -> ArchDistribution:
    distribution = ArchDistribution(Listed.space)
    with torch.no_grad():
        distribution.logits.normal_(generator=torch.Generator().manual_seed(3))
    return distribution


def exact_gradient(distribution: ArchDistribution, target: float, beta: float, floor: float) -> Tensor:
    """Probabilities from the softmax of each table, excesses from the list, autograd through their sum."""
    a, b = distribution.logits[0, :3].softmax(0), distribution.logits[1, :2].softmax(0)
    excess = (Listed.values / target - 1).clamp(min=0)
    term = beta * ((a[:, None] * b[None, :] * excess).sum() + floor).log()
    return torch.autograd.grad(term, [distribution.logits])[0]


@pytest.mark.parametrize("floor", [0.0, 0.05, 1.0])
def test_the_exact_cost_term(floor: float) -> None:
    distribution = a_distribution()
    budget, cost_term = Budget(Listed(), 4.0), CostTerm(beta=0.7, floor=floor, estimator="exact")
    for _ in range(2):  # the second time from what the first one kept
        (gradient,) = torch.autograd.grad(cost_term.loss(budget, distribution, generator(0)), [distribution.logits])
        torch.testing.assert_close(gradient, exact_gradient(distribution, 4.0, 0.7, floor), rtol=0, atol=1e-12)
    assert cost_term.shares(budget, EVERY).tolist() == [0.0] * 6, "the term must not count twice"


@pytest.mark.parametrize("floor", [0.0, 0.05, 1.0])
def test_the_cost_term_of_many_samples(floor: float) -> None:
    """The mean of 200 steps of 1,024 samples: about 1 % of noise."""
    distribution = a_distribution()
    budget, cost_term = Budget(Listed(), 4.0), CostTerm(beta=0.7, floor=floor, estimator="many")
    losses = [cost_term.loss(budget, distribution, generator(0, step)) for step in range(200)]
    (gradient,) = torch.autograd.grad(torch.stack(losses).mean(), [distribution.logits])
    exact = exact_gradient(distribution, 4.0, 0.7, floor)
    assert exact.norm() > 0.05
    assert (gradient - exact).norm() < 0.03 * exact.norm()
    assert cost_term.shares(budget, EVERY).tolist() == [0.0] * 6


def test_the_papers_estimator_is_the_shares_of_the_steps_own_samples() -> None:
    budget, cost_term = Budget(Listed(), 4.0), CostTerm(floor=0.05, estimator="samples")
    # Excesses 0, 0, 0, 1, 0.25, 1.5 and six floors: 3.05.
    torch.testing.assert_close(
        cost_term.shares(budget, EVERY).tolist(), [0.0, 0.0, 0.0, 1 / 3.05, 0.25 / 3.05, 1.5 / 3.05]
    )
    assert cost_term.loss(budget, a_distribution(), generator(0)).item() == 0.0


@pytest.mark.parametrize("estimator", ["many", "samples", "exact"])
def test_a_budget_that_does_not_bind_has_no_term(estimator: str) -> None:
    budget, cost_term = Budget(Listed(), 10.0), CostTerm(estimator=estimator)  # type: ignore[arg-type]
    assert cost_term.loss(budget, a_distribution(), generator(0)).item() == 0.0
    assert cost_term.shares(budget, EVERY).tolist() == [0.0] * 6


@pytest.mark.parametrize("estimator", ["many", "exact"])
def test_without_an_excess_in_reach_the_gradient_is_0_and_no_nan(estimator: str) -> None:
    """The distribution has left what exceeds the target, and there is no floor: the paper's 0/0."""
    distribution = a_distribution()
    with torch.no_grad():
        distribution.logits[0, 1:3] = -1e5
    budget, cost_term = Budget(Listed(), 4.0), CostTerm(estimator=estimator)  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(cost_term.loss(budget, distribution, generator(0)), [distribution.logits])
    assert not gradient.any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        *(({"beta": beta}, "a beta of 0 or more") for beta in (-0.1, math.nan, math.inf)),
        *(({"floor": floor}, "a cost floor of 0 or more") for floor in (-0.1, math.nan, math.inf)),
        ({"estimator": "manny"}, "known estimator, got 'manny'; did you mean 'many'"),
        ({"num_samples": 1}, "2 samples or more"),
    ],
)
def test_what_is_out_of_range_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CostTerm(**wrong)


def test_exact_is_for_small_spaces() -> None:
    large = Listed()
    large.space = SearchSpace(Choice(f"c{index}", (1, 2, 3)) for index in range(30))
    with pytest.raises(InputError, match="at most 100,000 architectures for 'exact'"):
        CostTerm(estimator="exact").check(Budget(large, 4.0))


# --------------------------------------------------------------------------------------------------- under a mixture


@pytest.mark.parametrize("target", [4.0, 9.0])
def test_the_term_of_mixtures_by_its_formula(target: float) -> None:
    """beta * log(max(0, E[cost] / target - 1) + floor), and its gradient by autograd through the plain sum."""
    weights = [torch.tensor([0.2, 0.3, 0.5]).double().requires_grad_(), torch.tensor([0.4, 0.6]).double()]
    weights[1].requires_grad_()
    mean = (weights[0][:, None] * weights[1] * Listed.values).sum()
    assert 4.0 < mean.item() < 9.0
    wanted = 0.7 * torch.log((mean / target - 1).clamp(min=0) + 0.05)
    loss = CostTerm(beta=0.7, floor=0.05).mixed(Budget(Summed(), target), weights)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-12)
    for mine, theirs in zip(torch.autograd.grad(loss, weights), torch.autograd.grad(wanted, weights), strict=True):
        # What is there whatever is drawn goes with sums of weights that are 1: they agree but for a shift of each.
        torch.testing.assert_close(mine - mine.mean(), theirs - theirs.mean(), rtol=1e-10, atol=1e-12)


def test_mixtures_refuse_a_floor_of_0() -> None:
    with pytest.raises(InputError, match="a cost floor above 0 for methods that mix, got 0"):
        CostTerm().check_mixed(Budget(Summed(), 9.0))
