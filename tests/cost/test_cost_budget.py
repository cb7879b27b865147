"""`Budget`: the hinge by hand, what it refuses and what it says then, and whether it binds."""

from __future__ import annotations

import math

import pytest
import torch
from counting import SHAPE, every_arch, small_supernet
from torch import Tensor

from fpnas import Budget, Choice, Flops, InputError, Params, SearchSpace
from fpnas.cost import additive_table


class Listed:
    """A cost model that someone else wrote: the cost is what the table says."""

    name = "milliseconds"
    space = SearchSpace([Choice("a", (1, 2, 3)), Choice("b", (1, 2))])
    table = torch.tensor([[2.0, 3.0], [4.0, 8.0], [5.0, 10.0]], dtype=torch.float64)

    def __call__(self, codes: Tensor) -> Tensor:
        return self.table[codes[:, 0], codes[:, 1]]

    def bounds(self) -> tuple[float, float]:
        return 2.0, 10.0


def test_a_table_of_another_kind_is_no_sum_of_tables() -> None:
    assert additive_table(Listed()) is None
    assert additive_table(Flops(small_supernet(), SHAPE)) is not None


EVERY = torch.tensor([[a, b] for a in range(3) for b in range(2)])


def test_excess_by_hand() -> None:
    """C(A) = max(0, cost / target - 1)."""
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


@pytest.mark.parametrize("target", [-1.0, 0.0, math.nan, math.inf, -math.inf])
def test_a_target_is_a_number_above_0(target: float) -> None:
    with pytest.raises(InputError, match="expected a target of milliseconds above 0, got"):
        Budget(Listed(), target)


def test_a_target_below_the_smallest_network_names_it() -> None:
    net = small_supernet()
    for model in (Flops(net, SHAPE), Params(net, SHAPE)):
        smallest = min(model.of(arch) for arch in every_arch(net))
        Budget(model, smallest)
        with pytest.raises(InputError) as caught:
            Budget(model, smallest - 1)
        assert f"a target of at least {smallest:,} {model.name}" in str(caught.value)
        assert f"got {smallest - 1:,}, below the smallest network of the space" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("target", "binds"), [(9.99, True), (10.0, False), (11, False)])
def test_it_binds_where_some_network_exceeds_it(target: float, binds: bool) -> None:
    cost = Listed()
    budget = Budget(cost, target)
    assert (budget.cost, budget.target, budget.binds) == (cost, float(target), binds)
