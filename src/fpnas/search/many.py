"""`Many`: several budgets in one search (ours). A distribution for each, one supernet, and every score serves all.

Each step draws K / T architectures from each of T distributions. The K of them are a sample of the mixture

    q(A) = sum_t (K_t / K) P_t(A|alpha_t),

so eq. 7 of each distribution weighs a sample by P_t(A) / q(A), at most K / K_t, on top of its likelihood. Our update
needs no such weight: a regression on scores is right wherever they were taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fpnas.cost import Budget
from fpnas.distribution import ArchDistribution
from fpnas.errors import InputError
from fpnas.evaluators import Evaluator
from fpnas.search.moves import Scores
from fpnas.search.sampling import Sampling
from fpnas.search.strategy import Moment, Strategy, Told, likelihood
from fpnas.streams import generator


class Many(Strategy):
    """Runs one `Sampling` for each budget on shared evaluations. Its own distribution is that of the last budget.

    Args:
        budgets: with one cost model, targets rising.
        members: a sampling strategy for each.

    Raises:
        InputError: fewer than two budgets, targets that don't rise, or costs estimated from the step's own samples.
    """

    def __init__(self, budgets: Sequence[Budget], members: Sequence[Sampling]) -> None:
        super().__init__(members[-1].distribution.space)
        targets = [budget.target for budget in budgets]
        if len(targets) < 2 or sorted(set(targets)) != targets:
            raise InputError("two or more targets, the least first", f"{targets}", "give each once, in order")
        if any(budget.estimator == "samples" for budget in budgets):
            got = 'estimator="samples", which knows one distribution'
            raise InputError("a cost term that is no matter of the step's samples", got, 'use "many" or "exact"')
        self.budgets, self.members = tuple(budgets), tuple(members)
        self.distribution = members[-1].distribution

    @property
    def targets(self) -> tuple[tuple[Budget, ArchDistribution], ...]:
        """Each budget with its distribution."""
        return tuple((b, member.distribution) for b, member in zip(self.budgets, self.members, strict=True))

    def step(self, evaluator: Evaluator, budget: Budget | None, moment: Moment) -> Told:
        """Architectures from each distribution, weights, scores, and each alpha on all of them."""
        del budget
        entropies: list[float] = []
        drawn: list[Tensor] = []
        for number, (own, member) in enumerate(zip(self.budgets, self.members, strict=True)):
            member.join_if_due(moment)
            entropies.append(float(member.distribution.entropy().detach()))
            size = max(1, round(member.size(entropies[-1], moment) / len(self.members)))
            draws = generator(moment.seed, f"architectures of target {number}", moment.number)
            drawn.append(member.draw(size, own, draws))
        self.distribution = self.members[-1].distribution
        entropy = sum(entropies) / len(entropies)
        codes = torch.cat(drawn)
        learned = evaluator.learn(codes, moment.progress)
        if moment.warming_up:
            return Told(codes, None, learned.loss, entropy, learned.skipped)
        loglik = likelihood(evaluator.score(codes))
        skipped = learned.skipped or not bool(loglik.isfinite().any())
        if not skipped:
            scores = Scores(codes, loglik, evaluator.num_images, settled=moment.settled)
            self._move(scores, [len(part) for part in drawn], moment)
        return Told(codes, loglik / evaluator.num_images, learned.loss, entropy, skipped)

    def _move(self, scores: Scores, sizes: Sequence[int], moment: Moment) -> None:
        with torch.no_grad():
            log_probs = torch.stack([member.distribution.log_prob(scores.codes) for member in self.members])
            shares = torch.tensor(sizes, dtype=torch.float64) / sum(sizes)
            ratios = log_probs - (log_probs + shares.log()[:, None]).logsumexp(dim=0)
        for number, (own, member) in enumerate(zip(self.budgets, self.members, strict=True)):
            weighed = replace(scores, log_ratio=ratios[number])
            costs = generator(moment.seed, f"costs of target {number}", moment.number)
            member.move(member.distribution, weighed, own, costs)

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
