"""What a search has found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fpnas.cost import Budget
from fpnas.distribution import ArchDistribution
from fpnas.errors import InputError
from fpnas.search.constrained import How, WithinBudget, best_seen, best_within
from fpnas.space import Arch


@dataclass(frozen=True)
class SearchResult:
    """What a search has found.

    Args:
        arch: the architecture to take, that of arch.json: the most probable one within the budget; of methods that
            answer from what they scored the best of it.
        log_prob: its log-probability in nats.
        cost: its cost; NaN without a budget.
        how: it was found; see `WithinBudget`.
        mode: the same, whatever it costs.
        entropy: of the distribution, in nats.
        num_samples_total: architectures drawn.
        distribution: the learnt P(A|alpha).
        budget: of the search, or None.
        seen: of these methods, the codes of what they scored and its mean log-likelihood an image, seen or expected.
    """

    arch: Arch
    log_prob: float
    cost: float
    how: How
    mode: Arch
    entropy: float
    num_samples_total: int
    distribution: ArchDistribution
    budget: Budget | None
    seen: Mapping[tuple[int, ...], float] = field(default_factory=dict[tuple[int, ...], float])

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
