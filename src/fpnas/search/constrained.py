"""The most probable architecture within a budget.

Where the cost is a sum of tables (FLOPs, parameters, additive latency) the answer is exact: cells are decided one
after another, and of all partial architectures that look alike to the undecided rest only those are kept that no other
beats in both cost and probability. Bounds on what the rest must cost and can gain cut most of these. Where the cost is
a black box, or too many partial architectures stay in the race, the best of many samples is given, and said so: of
P(A|alpha) itself, and of draws that lean towards the target (see `within`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from fpnas.cost import AdditiveCost, Budget, CostModel, additive_table
from fpnas.cost.elimination import aligned
from fpnas.distribution import ArchDistribution
from fpnas.errors import InputError
from fpnas.search.within import Within
from fpnas.space import Arch
from fpnas.streams import generator

MAX_LABELS = 4_000_000
"""Partial architectures in the race at which the exact search gives up."""


How: TypeAlias = Literal["mode", "exact", "sampled", "seen"]


@dataclass(frozen=True)
class WithinBudget:
    """An architecture within the budget.

    Args:
        arch: the architecture.
        log_prob: its log-probability in nats.
        cost: its cost, in the unit of the cost model.
        how: "mode" (which meets the budget), "exact", "sampled" (the best of the samples; better ones may exist), or
            "seen" (the best one scored, of methods that learn no distribution).
    """

    arch: Arch
    log_prob: float
    cost: float
    how: How


def best_within(
    distribution: ArchDistribution, cost: CostModel, target: float, num_samples: int = 20_000, seed: int = 0
) -> WithinBudget:
    """The most probable architecture whose cost is at most `target`.

    Args:
        distribution: P(A|alpha).
        cost: the cost model; exact where it has a `table` of additive factors.
        target: in the model's unit.
        num_samples: where sampling has to do.
        seed: of the samples.

    Raises:
        InputError: no architecture meets the target, or none of the samples does.
    """
    space, table = distribution.space, additive_table(cost)
    mode = torch.tensor([space.encode(distribution.mode())])
    samples = torch.cat([mode, distribution.sample(num_samples, generator(seed, "best within"))])
    samples = samples[cost(samples) <= target]
    how: Literal["mode", "exact", "sampled"] = "sampled"
    best: tuple[int, ...] | None = None
    if len(samples):
        best = tuple(samples[distribution.log_prob(samples).argmax()].tolist())
        how = "mode" if best == tuple(mode[0].tolist()) else how
    if how != "mode" and table is not None:
        least = -np.inf if best is None else float(distribution.log_prob(torch.tensor([best])).detach())
        found = _exact(distribution, table, target, least)
        if found is not None:
            best, how = found, "exact"
    if how == "sampled" and target > 0 and target >= cost.bounds()[0]:
        # Where P(A|alpha) has little within the target, draws that lean towards it know better architectures.
        draws = generator(seed, "best within", "tilted")
        known = [] if best is None else [torch.tensor([best])]
        samples = torch.cat([Within().draw(distribution, Budget(cost, target), num_samples // 8, draws), *known])
        samples = samples[cost(samples) <= target]
        if len(samples):
            best = tuple(samples[distribution.log_prob(samples).argmax()].tolist())
    if best is None:
        got = f"{target:g}, which none of {num_samples:,} samples meets"
        raise InputError(f"a target of {cost.name} that the space can meet", got, "raise the target")
    codes = torch.tensor([best])
    log_prob = float(distribution.log_prob(codes).detach())
    return WithinBudget(space.decode(best), log_prob, float(cost(codes)), how)


def best_seen(
    distribution: ArchDistribution, seen: Mapping[tuple[int, ...], float], cost: CostModel, target: float
) -> WithinBudget:
    """The best scored one of the architectures `seen` (codes -> score) whose cost is at most `target`.

    Raises:
        InputError: none of them meets it.
    """
    codes = torch.tensor(list(seen))
    costs = cost(codes)
    scores = torch.tensor(list(seen.values()), dtype=torch.float64).masked_fill(costs > target, -torch.inf)
    best = int(scores.argmax())
    if not costs[best] <= target:
        got = f"{target:g}, which none of the {len(seen):,} architectures scored meets"
        raise InputError(f"a target of {cost.name} that the search has met", got, "search longer, or raise the target")
    log_prob = float(distribution.log_prob(codes[best : best + 1]).detach())
    return WithinBudget(distribution.space.decode(codes[best].tolist()), log_prob, float(costs[best]), "seen")


def _exact(distribution: ArchDistribution, table: AdditiveCost, target: float, least: float) -> tuple[int, ...] | None:
    """The codes of the answer; None where no architecture meets the target or there are too many labels.

    `least` is the log-probability of a feasible architecture: what can't reach it is dropped.
    """
    plan = _Plan(distribution, table)
    log_table = distribution.log_table().detach().numpy()
    gains = np.concatenate([np.cumsum(log_table.max(axis=1)[::-1])[::-1], [0.0]])
    slack = 1e-9 * max(1.0, abs(target))
    codes = np.zeros((1, len(table.space)), dtype=np.int64)
    costs, log_probs = np.full(1, table.constant), np.zeros(1)
    for number, cell in enumerate(distribution.partition):
        options = np.array(list(np.ndindex(*(table.space.cardinalities[v] for v in cell))))
        useful = np.flatnonzero(log_table[number, : len(options)] + log_probs.max() + gains[number + 1] >= least - 1e-9)
        if len(codes) * len(useful) > MAX_LABELS:
            return None
        codes = np.repeat(codes, len(useful), axis=0)
        codes[:, list(cell)] = np.tile(options[useful], (len(log_probs), 1))
        log_probs = np.repeat(log_probs, len(useful)) + np.tile(log_table[number, useful], len(log_probs))
        costs = np.repeat(costs, len(useful))
        for factor in plan.completed[number]:
            costs = costs + factor.table[tuple(codes[:, v] for v in factor.scope)]
        frontier, rest = plan.frontiers[number], plan.rests[number]
        cheapest = costs + rest[tuple(codes[:, v] for v in frontier)]
        keep = (cheapest <= target + slack) & (log_probs + gains[number + 1] >= least - 1e-9)
        codes, costs, log_probs = codes[keep], costs[keep], log_probs[keep]
        if not len(codes):
            return None
        keep = _undominated(codes[:, list(frontier)], costs, log_probs)
        codes, costs, log_probs = codes[keep], costs[keep], log_probs[keep]
    # Sums in another order may differ by the slack: what counts is the cost as everyone else computes it.
    meets = (table(torch.from_numpy(codes)) <= target).numpy()
    if not meets.any():
        return None
    return tuple(codes[meets][log_probs[meets].argmax()].tolist())


class _Plan:
    """For each cell, in order: factors it completes, choices that later factors still read, the least cost of these."""

    def __init__(self, distribution: ArchDistribution, table: AdditiveCost) -> None:
        cells, space = distribution.partition, table.space
        cell_of = {v: number for number, cell in enumerate(cells) for v in cell}
        last = [max(cell_of[v] for v in factor.scope) for factor in table.factors]
        self.completed = [[f for f, at in zip(table.factors, last, strict=True) if at == n] for n in range(len(cells))]
        self.frontiers: list[tuple[int, ...]] = []
        for number in range(len(cells)):
            open_factors = [f for f, at in zip(table.factors, last, strict=True) if at > number]
            self.frontiers.append(tuple(sorted({v for f in open_factors for v in f.scope if cell_of[v] <= number})))
        # Backwards: the least cost of the rest, for each setting of the frontier.
        self.rests: list[NDArray[np.float64]] = [np.zeros(())] * len(cells)
        for number in range(len(cells) - 1, 0, -1):
            parts: list[tuple[tuple[int, ...], NDArray[Any]]] = [(f.scope, f.table) for f in self.completed[number]]
            parts.append((self.frontiers[number], self.rests[number]))
            before = self.frontiers[number - 1]
            inner = tuple(sorted({v for scope, _ in parts for v in scope} - set(before)))
            scope = (*before, *inner)
            total = sum((aligned(s, t, scope) for s, t in parts), np.zeros([1] * len(scope)))
            total = np.broadcast_to(total, [space.cardinalities[v] for v in scope])
            self.rests[number - 1] = total.min(axis=tuple(range(len(before), len(scope)))) if inner else total


def _undominated(
    states: NDArray[np.int64], costs: NDArray[np.float64], log_probs: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Indices of the labels that no other with the same state beats or equals in both cost and log-probability."""
    _, state = np.unique(states, axis=0, return_inverse=True) if states.shape[1] else (None, np.zeros(len(costs), int))
    order = np.lexsort((costs, -log_probs, state.ravel()))
    state, costs = state.ravel()[order], costs[order]
    keep = np.ones(len(order), dtype=bool)
    # Within a state, by falling probability: a label stays if it is cheaper than all before it.
    starts = np.flatnonzero(np.r_[True, state[1:] != state[:-1]])
    for start, stop in zip(starts, np.r_[starts[1:], len(order)], strict=True):
        cheapest = np.minimum.accumulate(costs[start:stop])
        keep[start + 1 : stop] = costs[start + 1 : stop] < cheapest[:-1]
    return order[keep]
