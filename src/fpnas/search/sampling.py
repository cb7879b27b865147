"""`Sampling`: methods that learn P(A|alpha) from K sampled architectures a step (FP-NAS sections 3.2 to 3.4, PARSEC).

What they do with the scores is an `AlphaUpdate`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fpnas.cost import Budget
from fpnas.distribution import ArchDistribution, groups
from fpnas.errors import InputError
from fpnas.estimators import SampleSize
from fpnas.evaluators import Evaluator
from fpnas.search.alpha_update import AlphaUpdate
from fpnas.search.strategy import DrawingStrategy, Scores, SearchState
from fpnas.search.within import Within
from fpnas.streams import generator

PEERS = 256
"""Architectures, never run, that say how the probability of meeting the target moves with alpha."""


class Sampling(DrawingStrategy):
    """Draws K = sample_size(H) architectures, trains the weights on them, scores them, and moves alpha.

    Args:
        distribution: to start from.
        sample_size: entropy -> K.
        update: what becomes of the scores. Where it has no cost term, architectures are drawn from P(A|alpha, cost <=
            target) (ours, see `within`); the paper draws from P(A|alpha).
        join_at: theta, as a share of the search: there the distribution is joined to one table a group. 1 is never.
        warm_samples: the most architectures of a step in which only weights learn; None is as many as later.
    """

    def __init__(
        self,
        distribution: ArchDistribution,
        sample_size: SampleSize,
        update: AlphaUpdate,
        *,
        join_at: float,
        warm_samples: int | None = None,
    ) -> None:
        super().__init__(distribution.space)
        if not 0 <= join_at <= 1:
            raise InputError("join_at as a fraction of the epochs, 0 to 1", f"{join_at:g}", "correct it")
        self.distribution = distribution
        if warm_samples is not None and warm_samples < 1:
            raise InputError("1 architecture or more for a step of warm-up", str(warm_samples), "use 4, say")
        self.sample_size, self.update, self.join_at = sample_size, update, join_at
        self.warm_samples = warm_samples
        self.within = Within() if update.cost_term is None else None
        update.start(distribution)

    def check(self, evaluator: Evaluator, budget: Budget | None) -> None:
        del evaluator
        if budget is not None and self.update.cost_term is not None:
            self.update.cost_term.check(budget)

    def draw(self, evaluator: Evaluator, budget: Budget | None, state: SearchState) -> tuple[Tensor, float]:
        """K = sample_size(H) of them; at theta the distribution is joined first."""
        del evaluator
        self.join_if_due(state)
        entropy = float(self.distribution.entropy().detach())
        draws = generator(state.seed, "architectures", state.number)
        return self.drawn(self.size(entropy, state), budget, draws), entropy

    def tell(self, scores: Scores, evaluator: Evaluator, budget: Budget | None, state: SearchState) -> None:
        """Alpha moves, where at least one has a likelihood."""
        del evaluator
        if not bool(scores.loglik.isfinite().any()):
            return
        costs = generator(state.seed, "costs", state.number)
        scores = replace(scores, peers=self._peers(budget, costs))
        self.update(self.distribution, scores, budget, costs)

    def size(self, entropy: float, state: SearchState) -> int:
        """K of a step."""
        wanted = self.sample_size(entropy)
        return wanted if self.warm_samples is None or not state.warming_up else min(wanted, self.warm_samples)

    def join_if_due(self, state: SearchState) -> None:
        """At theta the distribution becomes one of a table a group."""
        due = self.join_at < 1 and state.number >= round(self.join_at * state.total)
        if due and self.distribution.partition != groups(self.distribution.space):
            self.distribution = self.distribution.joined()
            self.update.start(self.distribution)

    def drawn(self, num: int, budget: Budget | None, draws: torch.Generator) -> Tensor:
        """`num` architectures, (num, V)."""
        if self.within is None:
            return self.distribution.sample(num, draws)
        return self.within.draw(self.distribution, budget, num, draws)

    def _peers(self, budget: Budget | None, draws: torch.Generator) -> Tensor | None:
        """Architectures from P(A|alpha, cost <= target), where such are drawn and a gradient of alpha is taken."""
        if self.within is None or budget is None or not budget.binds or not self.update.needs_peers:
            return None
        return self.within.draw(self.distribution, budget, PEERS, draws)

    def settings(self) -> dict[str, Any]:
        size = self.sample_size
        return {
            "lam": size.lam,
            "at_least": size.at_least,
            "join_at": self.join_at,
            "within": self.within is not None,
            "warm_samples": self.warm_samples,
            **self.update.settings(),
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "partition": self.distribution.partition,
            "logits": self.distribution.logits.detach().clone(),
            "update": self.update.state_dict(),
            "mu": None if self.within is None else self.within.mu,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.distribution = ArchDistribution(self.distribution.space, state["partition"])
        self.distribution.set_logits(state["logits"])
        self.update.start(self.distribution)
        self.update.load_state_dict(state["update"])
        if self.within is not None:
            self.within.mu = state["mu"]
