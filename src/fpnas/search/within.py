"""Architectures within the budget: drawn from P(A|alpha, cost <= target), by rejection from a tilted proposal (ours).

Where few draws of P(A|alpha) meet the target, rejection alone would find none. Costs are nearly sums over choices, so
Q = P(A|alpha) * exp(-mu * cost) is nearly of the same family: it is drawn from instead, with about the least mu under
which a quarter of the draws meet the target. Such draws lean towards cheap architectures; so those that meet the target
are kept with a probability in proportion to P / Q, and what is left is drawn from P again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fpnas.cost import Budget, additive_table
from fpnas.cost.budget import limits_of
from fpnas.cost.elimination import Factor
from fpnas.cost.labels import Limit, TooManyLabels, cheapest
from fpnas.distribution import ArchDistribution
from fpnas.memory import Memory
from fpnas.streams import generator

DRAWS = 1024
"""Architectures drawn to find K that meet the target; more where K is more than an eighth of them."""

SHARE = 0.25
"""The share of draws that must meet the target."""

_HALF = 0.5

ROUNDS = 8
"""Times that so many are drawn at most where too few are kept: then the likeliest to be kept fill up."""

SWEEPS = 12
"""Times that a walk draws each cell anew."""

_TRIED = 256
_SAMPLES = 4096
_FLATTEST, _STEEPEST = 1e-3, 1e6


class Within:
    """Draws within one budget; holds what the cost's tilt needs for one partition of the choices.

    `mu` is the last tilt, from which the next is looked for: part of a search's state.
    """

    def __init__(self) -> None:
        self.mu = 1.0
        self._slopes: tuple[object, Tensor] | None = None
        self._proposal: ArchDistribution | None = None

    def draw(self, distribution: ArchDistribution, budget: Budget | None, num: int, draws: torch.Generator) -> Tensor:
        """`num` architectures, (num, V); those nearest to the target fill up where too few meet it.

        Where the budget isn't a single sum, for which the proposal is made, these come from a walk (`walked`)."""
        codes = self._drawn(distribution, budget, num, draws)
        if budget is None or additive_table(budget.cost) is not None or bool((budget.excess(codes) <= 0).all()):
            return codes
        return walked(distribution, budget, codes, draws)

    def _drawn(self, distribution: ArchDistribution, budget: Budget | None, num: int, draws: torch.Generator) -> Tensor:
        if budget is None or not budget.binds:
            return distribution.sample(num, draws)
        if _share(distribution, budget, draws) >= SHARE:
            return feasible(distribution.sample(_draws_for(num), draws), budget, num)
        slopes = self._cost_slopes(distribution, budget)
        proposal = self._proposal
        assert proposal is not None
        base = distribution.logits.detach()

        def met(mu: float) -> bool:
            proposal.set_logits(base - mu * slopes)
            return _share(proposal, budget, draws) >= SHARE

        high = self.mu
        while not met(high) and high < _STEEPEST:
            high *= 2
        while high > _FLATTEST and met(high / 2):
            high /= 2
        middle = 0.75 * high
        self.mu = high = middle if met(middle) else high
        proposal.set_logits(base - high * slopes)
        return _thinned(proposal, distribution, budget, num, draws)

    def near(
        self, distribution: ArchDistribution, budget: Budget | None, num: int, draws: torch.Generator, least: float = 0
    ) -> Tensor:
        """`num` architectures within the budget, (num, V), most of them not far below it: what costs more is, as a
        rule, better. Where more than half of P's draws meet the target they are drawn from P(A|alpha) exp(mu cost),
        with about the greatest mu, 1 and its doubles, under which half do; else as by `draw`.

        Args:
            least: of the target, what they cost at least; where too few do, the dearest fill up.
        """
        if budget is None or not budget.binds:
            return distribution.sample(num, draws)
        wanted = num if least == 0 else _draws_for(num)
        if _share(distribution, budget, draws) < _HALF:
            codes = self.draw(distribution, budget, wanted, draws)
        else:
            codes = feasible(self._dear(distribution, budget, draws).sample(_draws_for(num), draws), budget, wanted)
        return codes if least == 0 else dearest(codes, budget, least)[:num]

    def _dear(self, distribution: ArchDistribution, budget: Budget, draws: torch.Generator) -> ArchDistribution:
        """P tilted to where about half of the draws meet the target."""
        slopes = self._cost_slopes(distribution, budget)
        proposal = self._proposal
        assert proposal is not None
        base, mu = distribution.logits.detach(), 1.0
        proposal.set_logits(base + mu * slopes)
        while mu < _STEEPEST and _share(proposal, budget, draws) >= _HALF:
            mu *= 2
            proposal.set_logits(base + mu * slopes)
        proposal.set_logits(base + mu / 2 * slopes)
        return proposal

    def _cost_slopes(self, distribution: ArchDistribution, budget: Budget) -> Tensor:
        """What each option adds to cost / target, by least squares over the space."""
        if self._slopes is None or self._slopes[0] != distribution.partition:
            self._proposal = ArchDistribution(distribution.space, distribution.partition)
            costs = Memory(distribution.space, batch_effect=0.0)
            codes = self._proposal.sample(_SAMPLES, generator(0, "cost slopes"))
            costs.add(self._proposal, codes, budget.cost(codes) / budget.target)
            self._slopes = distribution.partition, costs.logits(self._proposal)
        return self._slopes[1]


def _thinned(
    proposal: ArchDistribution, wanted: ArchDistribution, budget: Budget, num: int, draws: torch.Generator
) -> Tensor:
    """`num` of the proposal's draws within the budget, each kept with probability (P / Q) / (the greatest P / Q).

    The greatest ratio is that of all draws so far; as it grows, each draw is judged again by its own uniform number.
    """
    codes = torch.zeros(0, len(wanted.space), dtype=torch.long)
    ratio, uniform = torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
    for _ in range(ROUNDS):
        more = proposal.sample(_draws_for(num), draws)
        more = more[budget.excess(more) <= 0]
        if not len(more):
            continue
        log_ratio = (wanted.log_prob(more) - proposal.log_prob(more)).detach()
        codes, ratio = torch.cat([codes, more]), torch.cat([ratio, log_ratio])
        log_uniform = torch.rand(len(more), generator=draws, dtype=torch.float64).log()
        uniform = torch.cat([uniform, log_uniform])
        kept = (uniform < ratio - ratio.max()).nonzero()[:, 0]
        if len(kept) >= num:
            return codes[kept[:num]]
    if len(codes) < num:
        return feasible(torch.cat([codes, proposal.sample(_draws_for(num), draws)]), budget, num)
    return codes[(uniform - ratio).argsort(stable=True)[:num].sort().values]


def _draws_for(num: int) -> int:
    """Twice as many as must be drawn, on average, for `num` to meet the target."""
    return max(DRAWS, round(2 * num / SHARE))


def _share(distribution: ArchDistribution, budget: Budget, draws: torch.Generator) -> float:
    return float((budget.excess(distribution.sample(_TRIED, draws)) <= 0).double().mean())


def walked(distribution: ArchDistribution, budget: Budget, codes: Tensor, draws: torch.Generator) -> Tensor:
    """As many architectures within the budget, from a Markov chain each whose limit is P(A|alpha, cost <= target):
    cell after cell is drawn anew, and stays as it was where that would exceed the budget.

    The chains begin with those of `codes` that meet it, or with the most probable architecture that does. Without
    tables, from which that one is known, the codes are left.
    """
    start = codes[budget.excess(codes) <= 0]
    if not len(start):
        limits = limits_of(budget.cost, budget.target)
        known = None if limits is None else most_probable(distribution, limits)
        if known is None:
            return codes
        start = torch.tensor([known])
    found = start[torch.arange(len(codes)) % len(start)].clone()
    for _ in range(SWEEPS):
        fresh = distribution.sample(len(found), draws)
        for cell in distribution.partition:
            other = found.clone()
            other[:, list(cell)] = fresh[:, list(cell)]
            found = torch.where((budget.excess(other) <= 0)[:, None], other, found)
    return found


def most_probable(
    distribution: ArchDistribution, limits: Sequence[Limit], known: tuple[int, ...] | None = None
) -> tuple[int, ...] | None:
    """The codes of the most probable architecture within the limits, exactly; None where nothing meets them, or that
    would take too much memory. `known` is one that does."""
    cells, space = distribution.partition, distribution.space
    rows = zip(cells, distribution.log_table().detach().numpy(), strict=True)
    sizes = [tuple(space.cardinalities[v] for v in cell) for cell in cells]
    prices = [
        Factor(cell, -row[: math.prod(size)].reshape(size)) for (cell, row), size in zip(rows, sizes, strict=True)
    ]
    try:
        return cheapest(space, cells, prices, limits, known)
    except TooManyLabels:
        return None


def feasible(codes: Tensor, budget: Budget | None, wanted: int) -> Tensor:
    """The first `wanted` of `codes` within the budget; where these are too few, the nearest to it fill up."""
    if budget is None or not budget.binds:
        return codes[:wanted]
    excess = budget.excess(codes)
    within = (excess <= 0).nonzero()[:wanted, 0]
    return codes[within if len(within) == wanted else excess.argsort(stable=True)[:wanted].sort().values]


def dearest(codes: Tensor, budget: Budget, least: float) -> Tensor:
    """Those within the budget: in their order what costs at least so much of the target, then the others, dearest
    first; all where none is within it."""
    share = budget.cost(codes).double() / budget.target
    rank = torch.where(share >= least, 2.0, share).masked_fill(budget.excess(codes) > 0, -1.0)
    order = rank.argsort(descending=True, stable=True)
    return codes[order[rank[order] >= 0]] if bool((rank >= 0).any()) else codes
