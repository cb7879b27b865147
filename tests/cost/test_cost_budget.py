"""`Budget`: the hinge by hand, what it refuses and what it says then, whether it binds, and its cost term.

The gradient of the cost term, by each estimator, is that of beta * log(E[C(A)] + floor) summed over the space.
"""

from __future__ import annotations

import math

import pytest
import torch
from counting import SHAPE, every_arch, small_supernet
from torch import Tensor

from fpnas import ArchDistribution, Budget, Choice, Flops, InputError, Params, SearchSpace
from fpnas.streams import generator


class Listed:
    """A cost model that someone else wrote: the cost is what the table says."""

    name = "milliseconds"
    space = SearchSpace([Choice("a", (1, 2, 3)), Choice("b", (1, 2))])
    table = torch.tensor([[2.0, 3.0], [4.0, 8.0], [5.0, 10.0]], dtype=torch.float64)

    def __call__(self, codes: Tensor) -> Tensor:
        return self.table[codes[:, 0], codes[:, 1]]

    def bounds(self) -> tuple[float, float]:
        return 2.0, 10.0


EVERY = torch.tensor([[a, b] for a in range(3) for b in range(2)])


def test_excess_by_hand() -> None:
    """C(A) = max(0, cost / target - 1), METHOD 1."""
    assert Budget(Listed(), target=4.0).excess(EVERY).tolist() == [0.0, 0.0, 0.0, 1.0, 0.25, 1.5]
    assert Budget(Listed(), target=10.0).excess(EVERY).tolist() == [0.0] * 6
    assert Budget(Listed(), target=2.0).excess(EVERY).tolist() == [0.0, 0.5, 1.0, 3.0, 1.5, 4.0]


def test_excess_of_a_supernet() -> None:
    net = small_supernet()
    flops = Flops(net, SHAPE)
    costs = {arch: flops.of(arch) for arch in every_arch(net)}
    target = sorted(costs.values())[len(costs) // 2]
    codes = torch.tensor([net.space.encode(arch) for arch in costs])
    expected = torch.tensor([max(0.0, cost / target - 1) for cost in costs.values()], dtype=torch.float64)
    excess = Budget(flops, target).excess(codes)
    assert excess.dtype == torch.float64
    torch.testing.assert_close(excess, expected, rtol=0, atol=1e-12)
    assert 0 < int((excess == 0).sum()) < len(costs)


def test_what_it_keeps() -> None:
    cost = Listed()
    budget = Budget(cost, 4, beta=0.7, floor=0.01)
    assert (budget.cost, budget.target, budget.beta, budget.floor) == (cost, 4.0, 0.7, 0.01)
    assert (Budget(cost, 4).beta, Budget(cost, 4, beta=0, floor=0).floor) == (0.3, 0.0)


@pytest.mark.parametrize("target", [-1.0, 0.0, math.nan, math.inf, -math.inf])
def test_a_target_is_a_number_above_0(target: float) -> None:
    with pytest.raises(InputError, match="expected a target of milliseconds above 0, got"):
        Budget(Listed(), target)


@pytest.mark.parametrize("beta", [-0.1, math.nan, math.inf])
def test_beta_is_0_or_more(beta: float) -> None:
    with pytest.raises(InputError, match="a beta of 0 or more"):
        Budget(Listed(), 4.0, beta=beta)


@pytest.mark.parametrize("floor", [-0.1, math.nan, math.inf])
def test_the_floor_is_0_or_more(floor: float) -> None:
    with pytest.raises(InputError, match="a cost floor of 0 or more"):
        Budget(Listed(), 4.0, floor=floor)


def test_a_target_below_the_smallest_network_names_it() -> None:
    net = small_supernet()
    for model in (Flops(net, SHAPE), Params(net, SHAPE)):
        smallest = min(model.of(arch) for arch in every_arch(net))
        Budget(model, smallest)
        with pytest.raises(InputError) as caught:
            Budget(model, smallest - 1)
        assert f"a target of at least {smallest:,} {model.name}" in str(caught.value)
        assert f"got {smallest - 1:g}, below the smallest network of the space" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_it_binds_where_some_network_exceeds_it() -> None:
    assert Budget(Listed(), 9.99).binds
    assert not Budget(Listed(), 10.0).binds
    assert not Budget(Listed(), 11.0).binds


# ------------------------------------------------------------------------------------------------------- the cost term


def a_distribution() -> ArchDistribution:
    distribution = ArchDistribution(Listed.space)
    with torch.no_grad():
        distribution.logits.normal_(generator=torch.Generator().manual_seed(3))
    return distribution


def exact_gradient(distribution: ArchDistribution, target: float, beta: float, floor: float) -> Tensor:
    """Probabilities from the softmax of each table, excesses from the list, autograd through their sum."""
    a, b = distribution.logits[0, :3].softmax(0), distribution.logits[1, :2].softmax(0)
    excess = (Listed.table / target - 1).clamp(min=0)
    term = beta * ((a[:, None] * b[None, :] * excess).sum() + floor).log()
    return torch.autograd.grad(term, [distribution.logits])[0]


@pytest.mark.parametrize("floor", [0.0, 0.05, 1.0])
def test_the_exact_cost_term(floor: float) -> None:
    distribution = a_distribution()
    budget = Budget(Listed(), 4.0, beta=0.7, floor=floor, estimator="exact")
    for _ in range(2):  # the second time from what the first one kept
        (gradient,) = torch.autograd.grad(budget.loss(distribution, generator(0)), [distribution.logits])
        torch.testing.assert_close(gradient, exact_gradient(distribution, 4.0, 0.7, floor), rtol=0, atol=1e-12)
    assert budget.shares(EVERY).tolist() == [0.0] * 6, "the term must not count twice"


@pytest.mark.parametrize("floor", [0.0, 0.05, 1.0])
def test_the_cost_term_of_many_samples(floor: float) -> None:
    """The mean of 200 steps of 1,024 samples: about 1 % of noise."""
    distribution = a_distribution()
    budget = Budget(Listed(), 4.0, beta=0.7, floor=floor, estimator="many")
    losses = [budget.loss(distribution, generator(0, step)) for step in range(200)]
    (gradient,) = torch.autograd.grad(torch.stack(losses).mean(), [distribution.logits])
    exact = exact_gradient(distribution, 4.0, 0.7, floor)
    assert exact.norm() > 0.05
    assert (gradient - exact).norm() < 0.03 * exact.norm()
    assert budget.shares(EVERY).tolist() == [0.0] * 6


def test_the_papers_estimator_is_the_shares_of_the_steps_own_samples() -> None:
    budget = Budget(Listed(), 4.0, floor=0.05, estimator="samples")
    # Excesses 0, 0, 0, 1, 0.25, 1.5 and six floors: 3.05.
    torch.testing.assert_close(budget.shares(EVERY).tolist(), [0.0, 0.0, 0.0, 1 / 3.05, 0.25 / 3.05, 1.5 / 3.05])
    assert budget.loss(a_distribution(), generator(0)).item() == 0.0


@pytest.mark.parametrize("estimator", ["many", "samples", "exact"])
def test_a_budget_that_does_not_bind_has_no_term(estimator: str) -> None:
    budget = Budget(Listed(), 10.0, floor=0.0, estimator=estimator)  # type: ignore[arg-type]
    assert budget.loss(a_distribution(), generator(0)).item() == 0.0
    assert budget.shares(EVERY).tolist() == [0.0] * 6


@pytest.mark.parametrize("estimator", ["many", "exact"])
def test_without_an_excess_in_reach_the_gradient_is_0_and_no_nan(estimator: str) -> None:
    """The distribution has left what exceeds the target, and there is no floor: the paper's 0/0."""
    distribution = a_distribution()
    with torch.no_grad():
        distribution.logits[0, 1:3] = -1e5
    budget = Budget(Listed(), 4.0, floor=0.0, estimator=estimator)  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(budget.loss(distribution, generator(0)), [distribution.logits])
    assert not gradient.any()


def test_an_estimator_is_refused() -> None:
    with pytest.raises(InputError, match="known estimator, got 'manny'; did you mean 'many'"):
        Budget(Listed(), 4.0, estimator="manny")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="2 samples or more"):
        Budget(Listed(), 4.0, num_samples=1)


def test_exact_is_for_small_spaces() -> None:
    large = Listed()
    large.space = SearchSpace(Choice(f"c{index}", (1, 2, 3)) for index in range(30))
    with pytest.raises(InputError, match="at most 100,000 architectures for 'exact'"):
        Budget(large, 4.0, estimator="exact")
