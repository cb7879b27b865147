"""`AdditiveCost.expected` against the sum over all architectures."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from counting import SHAPE, small_supernet
from torch import Tensor

from fpnas import Choice, Flops, Params, SearchSpace, Supernet
from fpnas.cost import AdditiveCost, CostModel
from fpnas.cost.tables import Factor
from fpnas.elastic import Conv2d

SPACE = SearchSpace([Choice("a", (1, 2, 3)), Choice("b", (1, 2)), Choice("c", (1, 2, 3, 4)), Choice("d", (1,))])
SCOPES = ((0,), (2, 0), (1, 2, 3), (0, 1), (3,))
"""Their choices out of order too: a table's axes are those of its scope."""


def summed(seed: int = 0) -> AdditiveCost:
    rng = np.random.default_rng(seed)
    tables = [rng.uniform(-3, 9, [SPACE.cardinalities[v] for v in scope]) for scope in SCOPES]
    return AdditiveCost(SPACE, [Factor(scope, table) for scope, table in zip(SCOPES, tables, strict=True)], 4.0)


def some_weights(space: SearchSpace, seed: int) -> list[Tensor]:
    draws = torch.Generator().manual_seed(seed)
    logits = [torch.randn(n, generator=draws, dtype=torch.float64) for n in space.cardinalities]
    return [(2 * row).softmax(0).requires_grad_() for row in logits]


def enumerated(cost: CostModel | AdditiveCost, space: SearchSpace, weights: list[Tensor]) -> Tensor:
    """sum over A of cost(A) * prod_v weights[v][a_v]."""
    rows = list(itertools.product(*(range(n) for n in space.cardinalities)))
    probabilities = [math.prod((w[o] for w, o in zip(weights, row, strict=True)), start=1.0) for row in rows]
    return (torch.stack(probabilities) * cost(torch.tensor(rows))).sum()


@pytest.mark.parametrize("seed", range(3))
def test_expected_is_the_sum_over_the_space(seed: int) -> None:
    table, weights = summed(seed), some_weights(SPACE, seed)
    found, wanted = table.expected(weights), enumerated(table, SPACE, weights)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-12)
    for mine, theirs in zip(torch.autograd.grad(found, weights), torch.autograd.grad(wanted, weights), strict=True):
        # What is there whatever is drawn goes with sums of weights that are 1: gradients agree but for a shift of each.
        torch.testing.assert_close(mine - mine.mean(), theirs - theirs.mean(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("model", [Flops, Params])
def test_expected_flops_and_parameters_of_a_supernet(model: type[Flops | Params]) -> None:
    net = small_supernet()
    cost = model(net, SHAPE)
    weights = some_weights(net.space, 5)
    assert cost.table.expected(weights).item() == pytest.approx(enumerated(cost, net.space, weights).item(), rel=1e-12)


@pytest.mark.parametrize("codes", [(0, 0, 0, 0), (2, 1, 3, 0), (1, 0, 2, 0)])
def test_at_one_hot_weights_it_is_the_cost(codes: tuple[int, ...]) -> None:
    table = summed()
    weights = [torch.eye(n)[o] for n, o in zip(SPACE.cardinalities, codes, strict=True)]
    assert table.expected(weights).item() == pytest.approx(table(torch.tensor([codes])).item(), rel=1e-12)


def test_a_product_of_widths_is_counted_at_the_expected_widths() -> None:
    """FBNetV2's count: 1x1 convolution, FLOPs = E[in] * E[out] * places."""
    ins, outs = Choice("ins", (2, 4, 8)), Choice("outs", (3, 5))
    net = Supernet(torch.nn.Sequential(Conv2d(3, ins), Conv2d(ins, outs)))
    weights = some_weights(net.space, 1)
    width = {
        choice.name: sum(w * option for w, option in zip(row.tolist(), choice.options, strict=True))
        for choice, row in zip(net.space.choices, weights, strict=True)
    }
    wanted = (3 * width["ins"] + width["ins"] * width["outs"]) * 6 * 6
    assert Flops(net, (3, 6, 6)).table.expected(weights).item() == pytest.approx(wanted, rel=1e-12)
