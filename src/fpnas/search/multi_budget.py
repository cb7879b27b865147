"""`MultiBudget`: several budgets in one search (ours). A distribution for each, one supernet; every score serves all.

Each step draws K / T architectures from each of T distributions, and each alpha follows all K scores. That takes an
update that is a regression on scores, right wherever they were taken: `alpha_update.Posterior`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fpnas.cost import Budget
from fpnas.distribution import ArchDistribution
from fpnas.errors import InputError
from fpnas.evaluators import Evaluator
from fpnas.search.sampling import Sampling
from fpnas.search.strategy import DrawingStrategy, Scores, SearchState
from fpnas.streams import generator


class MultiBudget(DrawingStrategy):
    """Runs one `Sampling` for each budget on shared evaluations. Its own distribution is that of the last budget.

    Args:
        budgets: with one cost model, targets rising.
        members: a sampling strategy for each.

    Raises:
        InputError: fewer than two budgets, or targets that don't rise.
    """

    def __init__(self, budgets: Sequence[Budget], members: Sequence[Sampling]) -> None:
        super().__init__(members[-1].distribution.space)
        targets = [budget.target for budget in budgets]
        if len(targets) < 2 or sorted(set(targets)) != targets:
            raise InputError("two or more targets, the least first", f"{targets}", "give each once, in order")
        self.budgets, self.members = tuple(budgets), tuple(members)
        self.distribution = members[-1].distribution

    @property
    def targets(self) -> Sequence[tuple[Budget, ArchDistribution]]:
        """Each budget with its distribution."""
        return tuple((b, member.distribution) for b, member in zip(self.budgets, self.members, strict=True))

    def draw(self, evaluator: Evaluator, budget: Budget | None, state: SearchState) -> tuple[Tensor, float]:
        """Some from each distribution; the mean of their entropies."""
        del evaluator, budget
        entropies: list[float] = []
        drawn: list[Tensor] = []
        for number, (own, member) in enumerate(zip(self.budgets, self.members, strict=True)):
            member.join_if_due(state)
            entropies.append(float(member.distribution.entropy().detach()))
            size = max(1, round(member.size(entropies[-1], state) / len(self.members)))
            draws = generator(state.seed, f"architectures of target {number}", state.number)
            drawn.append(member.drawn(size, own, draws))
        self.distribution = self.members[-1].distribution
        return torch.cat(drawn), sum(entropies) / len(entropies)

    def tell(self, scores: Scores, evaluator: Evaluator, budget: Budget | None, state: SearchState) -> None:
        """Each alpha moves on all of them."""
        del budget
        for own, member in zip(self.budgets, self.members, strict=True):
            member.tell(scores, evaluator, own, state)

    def settings(self) -> dict[str, Any]:
        """Those of the members, which are alike, and the targets."""
        return {**self.members[-1].settings(), "targets": [budget.target for budget in self.budgets]}

    def state_dict(self) -> dict[str, Any]:
        return {"members": [member.state_dict() for member in self.members]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for member, own in zip(self.members, state["members"], strict=True):
            member.load_state_dict(own)
        self.distribution = self.members[-1].distribution


def name_of(target: float) -> str:
    """A target in a file's name: 20M, 0.8M is 800k."""
    for suffix, unit in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if target >= unit:
            return f"{target / unit:g}{suffix}"
    return f"{target:g}"
