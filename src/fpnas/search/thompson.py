"""`Thompson`: architectures drawn by how probable each is to be the best, under a Gaussian process (ours).

For judges whose scores never age, such as tables. A draw of the process is one opinion of what every architecture may
be worth, and its best architecture within the budget one of those to look at next (Thompson 1933). The best ones of
many such draws are a sample of P(A is the best | scores so far), and at each step alpha becomes the factorised, later
the joint distribution nearest to it: no temperature, and the entropy, hence K, falls as the scores decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fpnas.cost import Budget
from fpnas.distribution import ArchDistribution, groups
from fpnas.errors import InputError
from fpnas.estimators import SampleSize
from fpnas.evaluators import Evaluator
from fpnas.gaussian import GaussianProcess
from fpnas.search.strategy import Moment, Strategy, Told, likelihood
from fpnas.search.within import Within
from fpnas.space import SearchSpace
from fpnas.streams import generator

AT_FIRST = 16
"""Architectures scored before the process is asked."""

RANDOM, NEAR = 200, 400
"""Architectures that a draw of the process chooses from: random ones within the budget, and mutants of the best."""

BEST = 10
"""The best by the process, of which mutants are made."""

OPINIONS = 64
"""Draws of the process that alpha is read off."""

BOLDNESS = 0.25
"""By what the process's deviations are multiplied where K architectures are drawn. With 1, a greater part of a few
hundred looks goes to what is unknown rather than to what is good."""


class Thompson(Strategy):
    """Draws K = sample_size(H) architectures that may be the best, scores them, and reads alpha off their process.

    K is at most OPINIONS, and less where hardly any architecture is left that meets the budget and wasn't scored.

    Args:
        space: the space.
        sample_size: entropy -> K.
        join_at: theta, as a share of the search: there the distribution has one table a group. 1 is never.
    """

    def __init__(self, space: SearchSpace, sample_size: SampleSize, *, join_at: float) -> None:
        super().__init__(space)
        if not 0 <= join_at <= 1:
            raise InputError("join_at as a fraction of the epochs, 0 to 1", f"{join_at:g}", "correct it")
        self.sample_size, self.join_at = sample_size, join_at
        self.process = GaussianProcess(space)
        self._uniform = ArchDistribution(space)
        self._within = Within()
        self._sizes = torch.tensor(space.cardinalities)

    def check(self, evaluator: Evaluator) -> None:
        if not evaluator.stationary:
            got = f"{type(evaluator).__name__}, whose scores age"
            raise InputError("a judge whose scores never age, such as a table", got, 'use update="posterior"')

    def step(self, evaluator: Evaluator, budget: Budget | None, moment: Moment) -> Told:
        """alpha by all scores so far, K of what may be the best, their scores."""
        due = self.join_at < 1 and moment.number >= round(self.join_at * moment.total)
        if due and self.distribution.partition != groups(self.distribution.space):
            self.distribution = self.distribution.joined()
        draws = generator(moment.seed, "architectures", moment.number)
        if len(self.process) < AT_FIRST:
            entropy = float(self.distribution.entropy().detach())
            codes = self._within.draw(self._uniform, budget, self.sample_size(entropy), draws)
        else:
            choice = self._candidates(budget, draws)
            mean, deviations = self.process.sample(choice, OPINIONS, draws)
            self._move(choice[(mean + deviations).argmax(dim=1)])
            entropy = float(self.distribution.entropy().detach())
            codes = self._pick(choice, mean + BOLDNESS * deviations[: self.sample_size(entropy)])
        learned = evaluator.learn(codes, moment.progress)
        if moment.warming_up:
            return Told(codes, None, learned.loss, entropy, learned.skipped)
        loglik = likelihood(evaluator.score(codes)) / evaluator.num_images
        new = ~_among(codes, self.process.codes) & ~_repeated(codes)
        self.process.add(codes[new], loglik[new])
        return Told(codes, loglik, learned.loss, entropy, learned.skipped or not bool(loglik.isfinite().any()))

    def expected(self) -> Mapping[tuple[int, ...], float]:
        """What the process expects of each architecture scored: the best is not the one that noise favoured most."""
        codes = self.process.codes
        values = self.process.mean(codes) if len(self.process) > 1 else self.process.scores
        return dict(zip(map(tuple, codes.tolist()), values.tolist(), strict=True))

    def _move(self, winners: Tensor) -> None:
        """alpha: how often each cell's option is that of the best one, (N, V), with one of a uniform prior."""
        cells, used = self.distribution.cell_codes(winners).T, self.distribution.is_option
        counts = torch.zeros_like(self.distribution.logits.detach())
        counts = counts.scatter_add_(1, cells, torch.ones(cells.shape, dtype=counts.dtype))
        self.distribution.set_logits(torch.where(used, (counts + 1 / used.sum(dim=1, keepdim=True)).log(), 0.0))

    def _pick(self, choice: Tensor, opinions: Tensor) -> Tensor:
        """(K, V), none twice: each opinion's best of those not yet scored; where none is left, of all."""
        unseen = ~_among(choice, self.process.codes)
        choice, opinions = (choice[unseen], opinions[:, unseen]) if bool(unseen.any()) else (choice, opinions)
        opinions = opinions[: len(choice)].clone()
        for number, opinion in enumerate(opinions):
            opinions[number + 1 :, opinion.argmax()] = -torch.inf
        return choice[opinions.argmax(dim=1)]

    def _candidates(self, budget: Budget | None, draws: torch.Generator) -> Tensor:
        """(M, V), none twice: random ones within the budget, the best ones scored, and mutants of these within it."""
        random = self._within.draw(self._uniform, budget, RANDOM, draws)
        scored = self.process.codes
        best = scored[self.process.mean(scored).argsort(descending=True, stable=True)[:BEST]]
        parents = best[torch.randint(len(best), (NEAR,), generator=draws)]
        # Half of them differ in one choice on average, half in three.
        rate = torch.tensor([1.0, 3.0]).repeat(NEAR // 2)[:, None] / scored.shape[1]
        other = (torch.rand(parents.shape, generator=draws) * self._sizes).long()
        near = torch.where(torch.rand(parents.shape, generator=draws) < rate, other, parents)
        near = torch.cat([best, near])
        near = near if budget is None else near[budget.cost(near) <= budget.target]
        return torch.cat([random, near]).unique(dim=0)

    def settings(self) -> dict[str, Any]:
        size = self.sample_size
        return {"lam": size.lam, "at_least": size.at_least, "at_most": size.at_most, "join_at": self.join_at}

    def state_dict(self) -> dict[str, Any]:
        return {
            "partition": self.distribution.partition,
            "logits": self.distribution.logits.detach().clone(),
            "process": self.process.state_dict(),
            "mu": self._within.mu,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.distribution = ArchDistribution(self.distribution.space, state["partition"])
        self.distribution.set_logits(state["logits"])
        self.process.load_state_dict(state["process"])
        self._within.mu = state["mu"]


def _among(codes: Tensor, others: Tensor) -> Tensor:
    """(M,), which of the codes (M, V) are among the others."""
    known = set(map(tuple, others.tolist()))
    return torch.tensor([tuple(row) in known for row in codes.tolist()], dtype=torch.bool)


def _repeated(codes: Tensor) -> Tensor:
    """(K,), which of the codes (K, V) have come before."""
    rows = list(map(tuple, codes.tolist()))
    return torch.tensor([row in rows[:number] for number, row in enumerate(rows)], dtype=torch.bool)
