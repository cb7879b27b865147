"""`AdditiveCost` against brute force over all architectures, and against the published costs of NAS-Bench-Macro."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from counting import some_weights, weighted
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fpnas import Choice, Flops, Params, SearchSpace, Supernet, spaces
from fpnas.cost import AdditiveCost
from fpnas.cost.elimination import Factor
from fpnas.elastic import Conv2d


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[int], list[tuple[tuple[int, ...], int]]]:
    """Cardinalities, and scopes with a seed for each factor's numbers."""
    cardinalities = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    scope = st.lists(st.sampled_from(range(len(cardinalities))), unique=True, min_size=1, max_size=3).map(tuple)
    return cardinalities, draw(st.lists(st.tuples(scope, st.integers(0, 1000)), max_size=6))


@settings(max_examples=60)
@given(tables(), st.integers(-5, 5))
def test_additive_costs_and_their_extremes_by_brute_force(
    drawn: tuple[list[int], list[tuple[tuple[int, ...], int]]], constant: int
) -> None:
    """Any scopes: overlapping, nested, in any order of their choices, and choices that no factor reads."""
    cardinalities, scopes = drawn
    space = SearchSpace(Choice(f"c{i}", tuple(range(n))) for i, n in enumerate(cardinalities))
    factors = [
        Factor(s, np.random.default_rng(seed).integers(-9, 9, [cardinalities[v] for v in s]).astype(float))
        for s, seed in scopes
    ]
    originals = copy.deepcopy(factors)
    cost = AdditiveCost(space, factors, float(constant))
    every = torch.tensor(list(itertools.product(*(range(n) for n in cardinalities))))
    expected = [
        constant + sum(f.table[tuple(codes[v] for v in f.scope)] for f in originals) for codes in every.tolist()
    ]
    assert cost(every).tolist() == expected
    for sign, best in ((1, min(expected)), (-1, max(expected))):
        value, codes = cost.extreme(sign)
        assert value == best == expected[every.tolist().index(list(codes))]
        with patch("fpnas.cost.elimination.MAX_TABLE", 0):  # as where tables would be too large
            value, codes = cost.extreme(sign)
        assert value == best == expected[every.tolist().index(list(codes))]
    assert all(np.array_equal(a.table, b.table) for a, b in zip(factors, originals, strict=True))
    weights = some_weights(space, seed=constant + 5)
    found, wanted = cost.expected(weights), weighted(cost, every, weights)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-12, abs=1e-12)
    if found.requires_grad:
        grads = torch.autograd.grad(found, weights, allow_unused=True, materialize_grads=True)
        for mine, theirs in zip(grads, torch.autograd.grad(wanted, weights), strict=True):
            # What is there whatever is drawn goes with sums of weights that are 1: gradients agree but for a shift.
            torch.testing.assert_close(mine - mine.mean(), theirs - theirs.mean(), rtol=0, atol=1e-10)
    one_hot = [torch.eye(n)[code] for n, code in zip(cardinalities, every[-1].tolist(), strict=True)]
    assert cost.expected(one_hot).item() == pytest.approx(expected[-1], rel=1e-12)


def test_a_product_of_widths_is_counted_at_the_expected_widths() -> None:
    """FBNetV2's count: 1x1 convolution, FLOPs = E[in] * E[out] * places."""
    ins, outs = Choice("ins", (2, 4, 8)), Choice("outs", (3, 5))
    net = Supernet(nn.Sequential(Conv2d(3, ins, bias=False), Conv2d(ins, outs, bias=False)))
    weights = some_weights(net.space, 1)
    width = {
        choice.name: sum(w * option for w, option in zip(row.tolist(), choice.options, strict=True))
        for choice, row in zip(net.space.choices, weights, strict=True)
    }
    wanted = (3 * width["ins"] + width["ins"] * width["outs"]) * 6 * 6
    assert Flops(net, (3, 6, 6)).table.expected(weights).item() == pytest.approx(wanted, rel=1e-12)


TABLE = Path(__file__).parents[3] / "shared" / "data" / "nas-bench-macro_cifar10.npz"


@pytest.mark.skipif(not TABLE.exists(), reason=f"{TABLE} is not here")
def test_the_published_costs_of_nasbench_macro() -> None:
    archive = np.load(TABLE)
    codes = torch.from_numpy(archive["arch"].astype(np.int64))
    with torch.device("meta"):
        net = spaces.nasbench_macro()
    assert len(codes) == net.space.size == 6561
    assert np.array_equal(Flops(net, (3, 32, 32))(codes).numpy(), archive["flops"])
    assert np.array_equal(Params(net, (3, 32, 32))(codes).numpy(), archive["params"])
