"""What a search has found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch

from fpnas.cost import Budget
from fpnas.distribution import ArchDistribution
from fpnas.errors import InputError
from fpnas.search.constrained import How, WithinBudget, best_seen, best_within
from fpnas.space import Arch


@dataclass(frozen=True)
class SearchResult:
    """What a search has found.

    Args:
        mode: the most probable architecture, whatever it costs; of methods that answer from what they scored the best
            of it.
        entropy: of the distribution, in nats.
        num_samples_total: architectures drawn.
        distribution: the learnt P(A|alpha); a search that goes on doesn't change it.
        budget: of the search, or None.
        seen: of these methods, the codes of what they scored and its mean log-likelihood an image, seen or expected.
    """

    mode: Arch
    entropy: float
    num_samples_total: int
    distribution: ArchDistribution
    budget: Budget | None
    seen: Mapping[tuple[int, ...], float] = field(default_factory=dict[tuple[int, ...], float])

    @cached_property
    def answer(self) -> WithinBudget:
        """The architecture to take: the mode, or where that exceeds the budget the best one within it.

        Worked out when first asked for: in a large space it takes seconds.

        Raises:
            InputError: nothing meets the budget's target.
        """
        if self.budget is not None:
            return self.best_within()
        codes = torch.tensor([self.distribution.space.encode(self.mode)])
        log_prob = float(self.distribution.log_prob(codes).detach())
        return WithinBudget(self.mode, log_prob, math.nan, "seen" if self.seen else "mode")

    @property
    def arch(self) -> Arch:
        """The answer's architecture, that of arch.json."""
        return self.answer.arch

    @property
    def log_prob(self) -> float:
        """The answer's log-probability in nats."""
        return self.answer.log_prob

    @property
    def cost(self) -> float:
        """The answer's cost; NaN without a budget."""
        return self.answer.cost

    @property
    def how(self) -> How:
        """How the answer was found; see `WithinBudget`."""
        return self.answer.how

    def best_within(self, target: float | None = None) -> WithinBudget:
        """The most probable architecture whose cost meets `target`, the budget's own by default.

        Raises:
            InputError: the search had no budget, so no cost is known; or nothing meets the target.
        """
        if self.budget is None:
            raise InputError("a search with a budget", "one without", "call best_within with a cost model instead")
        target = self.budget.target if target is None else target
        if not self.seen:
            return best_within(self.distribution, self.budget.cost, target)
        return best_seen(self.distribution, self.seen, self.budget.cost, target)
