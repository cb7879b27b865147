"""Costs over several image sizes: at each size those of that size, and what is exact for one is exact for all."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import helpers_run as h
import pytest
import torch

from fpnas import Arch, ArchDistribution, Budget, Budgets, Flash, Flops, InputError, Latency, LatencyTable, Params, Ram
from fpnas import spaces as known_spaces
from fpnas.cost import SIZE, AtSizes, known_sizes
from fpnas.cost.image_sizes import LatencyAtSizes
from fpnas.cost.latency import distinct_operations, operation_sites
from fpnas.search.constrained import best_within
from fpnas.search.within import Within

SIZES = (16, 24, 32)
KINDS = (Flops, Params, Ram, Flash)


def over_sizes(kind: Callable[..., Any], net: Any, channels: int = 3) -> AtSizes:
    return AtSizes({size: kind(net, (channels, size, size)) for size in SIZES})


@pytest.mark.parametrize("kind", KINDS)
def test_each_size_has_its_own_cost(kind: Callable[..., Any]) -> None:
    net = h.small_supernet()
    cost = over_sizes(kind, net, 1)
    alone = [kind(net, (1, size, size)) for size in SIZES]
    draws = torch.Generator().manual_seed(0)
    codes = torch.stack([torch.randint(n, (200,), generator=draws) for n in net.space.cardinalities], dim=1)
    for number, model in enumerate(alone):
        with_size = torch.cat([torch.full((len(codes), 1), number), codes], dim=1)
        assert cost(with_size).tolist() == model(codes).tolist()
    arch = net.space.decode(codes[0].tolist())
    assert cost.of({SIZE: 24, **arch}) == alone[1].of(arch)
    assert cost.bounds() == (min(m.bounds()[0] for m in alone), max(m.bounds()[1] for m in alone))
    assert cost.name == alone[0].name


def test_milliseconds_at_each_size_and_the_table_that_makes_them_again() -> None:
    net = h.small_supernet(in_channels=3)
    names = {name for s in SIZES for name in distinct_operations(net, operation_sites(net, (3, s, s)))}
    table = LatencyTable({name: random.Random(name).uniform(0.01, 1.0) for name in sorted(names)}, device="made up")
    models = {size: Latency(net, (3, size, size), table) for size in SIZES}
    cost = LatencyAtSizes(models)
    codes = torch.tensor([[number, *[1] * len(net.space)] for number in range(len(SIZES))])
    expected = [float(model(codes[:1, 1:])) for model in models.values()]
    assert cost(codes).tolist() == pytest.approx(expected)
    again = LatencyAtSizes({size: Latency(net, (3, size, size), cost.used) for size in reversed(SIZES)})
    assert again.digest == cost.digest
    assert set(cost.used.operations) == names


def test_the_answer_is_that_of_enumeration() -> None:
    """The most probable architecture and size within two budgets; and the least to which one can be lowered."""
    net = h.small_supernet()
    flops, ram = over_sizes(Flops, net, 1), over_sizes(Ram, net, 1)
    space = flops.space
    every = torch.tensor(list(itertools.product(*(range(n) for n in space.cardinalities))))
    draws = torch.Generator().manual_seed(1)
    for _ in range(6):
        distribution = ArchDistribution(space)
        logits = torch.randn(distribution.logits.shape, generator=draws, dtype=torch.float64)
        distribution.set_logits(torch.where(distribution.is_option, logits, 0.0))
        limits = [float(cost(every).quantile(0.3)) for cost in (flops, ram)]
        budget = Budgets([Budget(flops, limits[0]), Budget(ram, limits[1])])
        found = best_within(distribution, budget.cost, 1.0)
        meets = every[budget.cost(every) <= 1]
        assert found.how in ("exact", "mode")
        assert found.log_prob == pytest.approx(float(distribution.log_prob(meets).max().detach()))


def test_the_answer_is_the_best_of_those_of_each_size() -> None:
    net = known_spaces.tiny()
    cost, draws = over_sizes(Flops, net), torch.Generator().manual_seed(2)
    distribution = ArchDistribution(cost.space)
    logits = torch.randn(distribution.logits.shape, generator=draws, dtype=torch.float64)
    distribution.set_logits(torch.where(distribution.is_option, logits, 0.0))
    target = 1.0e6
    found = best_within(distribution, cost, target)
    bests: list[tuple[float, Arch]] = []
    for number, size in enumerate(SIZES):
        own = ArchDistribution(net.space)
        own.set_logits(distribution.logits.detach()[1:])
        best = best_within(own, Flops(net, (3, size, size)), target)
        of_size = float(
            distribution.logits.detach()[0].masked_fill(~distribution.is_option[0], -torch.inf).log_softmax(0)[number]
        )
        bests.append((best.log_prob + of_size, Arch({SIZE: size, **best.arch})))
    assert found.log_prob == pytest.approx(max(bests, key=lambda each: each[0])[0])
    assert found.arch == max(bests, key=lambda each: each[0])[1]


def test_draws_near_a_budget_meet_it_at_every_size() -> None:
    net = known_spaces.tiny()
    cost = over_sizes(Flops, net)
    budget = Budget(cost, 0.8e6)
    codes = Within().near(ArchDistribution(cost.space), budget, 60, torch.Generator().manual_seed(0), 0.9)
    assert bool((cost(codes) <= 0.8e6).all())
    assert set(codes[:, 0].tolist()) == {0, 1, 2}


@pytest.mark.parametrize("sizes", [(), (48,), (48, 48), (0, 16)])
def test_sizes_are_two_or_more(sizes: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="two different image sizes or more, such as 48, 64 and 96"):
        known_sizes(sizes)


def test_a_target_below_all_sizes_is_refused_with_the_least_of_the_smallest() -> None:
    net = known_spaces.tiny()
    least = f"{Flops(net, (3, 16, 16)).bounds()[0]:,.0f}"
    with pytest.raises(InputError, match=f"a target of at least {least} FLOPs"):
        Budget(over_sizes(Flops, net), 10)
