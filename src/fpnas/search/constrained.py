"""The most probable architecture within a budget.

Where the costs are known from tables (FLOPs, parameters, memory, additive latency, and several of them at once) the
answer is exact: see `fpnas.cost.labels`. Where a cost is a black box, or too many partial architectures stay in the
race, the best of many samples is given, and said so: of P(A|alpha) itself, and of draws that lean towards the target
(see `within`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from fpnas.cost import Budget, CostModel
from fpnas.cost.budget import limits_of
from fpnas.distribution import ArchDistribution
from fpnas.errors import InputError
from fpnas.search.within import Within, most_probable
from fpnas.space import Arch
from fpnas.streams import generator

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
        cost: the cost model; exact where it has a `table`, as a sum of such or the greatest of them.
        target: in the model's unit.
        num_samples: where sampling has to do.
        seed: of the samples.

    Raises:
        InputError: no architecture meets the target, or none of the samples does.
    """
    space, limits = distribution.space, limits_of(cost, target)
    mode = torch.tensor([space.encode(distribution.mode())])
    samples = torch.cat([mode, distribution.sample(num_samples, generator(seed, "best within"))])
    samples = samples[cost(samples) <= target]
    how: Literal["mode", "exact", "sampled"] = "sampled"
    best: tuple[int, ...] | None = None
    if len(samples):
        best = tuple(samples[distribution.log_prob(samples).argmax()].tolist())
        how = "mode" if best == tuple(mode[0].tolist()) else how
    if how != "mode" and limits is not None:
        found = most_probable(distribution, limits, best)
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
