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
from fpnas.evaluators import Evaluator, KnowsNetworks
from fpnas.gaussian import GaussianProcess
from fpnas.search.strategy import DrawingStrategy, Scores, SearchState
from fpnas.search.within import Within
from fpnas.streams import generator

AT_FIRST = 10
"""Architectures scored before the process is asked."""

RANDOM, NEAR = 200, 400
"""Architectures that a draw of the process chooses from: random ones near the budget, and mutants of the best."""

BEST = 10
"""The best by the process, of which mutants are made."""

OPINIONS = 64
"""Draws of the process that alpha is read off."""

BOLDNESS = 0.25
"""By what the process's deviations are multiplied where K architectures are drawn. With 1, a greater part of a few
hundred looks goes to what is unknown rather than to what is good."""


class Thompson(DrawingStrategy):
    """Draws K = sample_size(H) architectures that may be the best, scores them, and reads alpha off their process.

    K is at most OPINIONS, and less where hardly any architecture is left that meets the budget and wasn't scored. Where
    a look takes many steps, all are about the same K. What the judge knows to be one network goes by one code.

    Args:
        prior: what alpha begins with, and random architectures are drawn from.
        sample_size: entropy -> K.
        join_at: theta, as a share of the search: there the distribution has one table a group. 1 is never.
        least: what an architecture that is drawn must cost, as a share of the target, where such are found: for judges
            that don't see what a larger network is worth.
    """

    waits = True

    def __init__(self, prior: ArchDistribution, sample_size: SampleSize, *, join_at: float, least: float = 0.0) -> None:
        super().__init__(prior.space)
        if not 0 <= join_at <= 1:
            raise InputError("join_at as a fraction of the epochs, 0 to 1", f"{join_at:g}", "correct it")
        self.sample_size, self.join_at, self.prior, self.least = sample_size, join_at, prior, least
        self.distribution.set_logits(prior.logits.detach())
        self.process = GaussianProcess(prior.space)
        self._within = Within()
        self._sizes = torch.tensor(prior.space.cardinalities)
        self._codes = torch.zeros(0, len(prior.space), dtype=torch.long)

    def check(self, evaluator: Evaluator, budget: Budget | None) -> None:
        del budget
        if not evaluator.stationary:
            got = f"{type(evaluator).__name__}, whose scores age"
            raise InputError("a judge whose scores never age, such as a table", got, "take methods.fpnas_posterior")

    def draw(self, evaluator: Evaluator, budget: Budget | None, state: SearchState) -> tuple[Tensor, float]:
        """K that may be the best, as the last scores left it: the same as long as a look at them goes on."""
        if not len(self._codes):
            self._codes = self._drawn(evaluator, budget, generator(state.seed, "architectures"))
        return self._codes, float(self.distribution.entropy().detach())

    def tell(self, scores: Scores, evaluator: Evaluator, budget: Budget | None, state: SearchState) -> None:
        """Alpha by all scores so far, and the K to be next."""
        codes = scores.codes
        new = _unseen(codes, self.process.codes)
        self.process.add(codes[new], (scores.loglik / scores.num_images)[new])
        due = self.join_at < 1 and state.number + 1 >= round(self.join_at * state.total)
        if due and self.distribution.partition != groups(self.distribution.space):
            self.distribution = self.distribution.joined()
        self._codes = self._drawn(evaluator, budget, generator(state.seed, "architectures", state.number + 1))

    def _drawn(self, evaluator: Evaluator, budget: Budget | None, draws: torch.Generator) -> Tensor:
        """(K, V), after alpha has followed what is scored so far."""
        if len(self.process) < AT_FIRST:
            num = self.sample_size(float(self.distribution.entropy().detach()))
            return _simplest(evaluator, self._within.near(self.prior, budget, num, draws, self.least))
        choice = self._candidates(evaluator, budget, draws)
        mean, deviations = self.process.sample(choice, OPINIONS, draws)
        self._move(choice[(mean + deviations).argmax(dim=1)])
        num = self.sample_size(float(self.distribution.entropy().detach()))
        return self._pick(choice, mean + BOLDNESS * deviations[:num])

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
        unseen = _unseen(choice, self.process.codes)
        choice, opinions = (choice[unseen], opinions[:, unseen]) if bool(unseen.any()) else (choice, opinions)
        opinions = opinions[: len(choice)].clone()
        for number, opinion in enumerate(opinions):
            opinions[number + 1 :, opinion.argmax()] = -torch.inf
        return choice[opinions.argmax(dim=1)]

    def _candidates(self, evaluator: Evaluator, budget: Budget | None, draws: torch.Generator) -> Tensor:
        """(M, V), none twice: random ones near the budget, the best ones scored, and mutants of these within it."""
        random = self._within.near(self.prior, budget, RANDOM, draws, self.least)
        scored = self.process.codes
        best = scored[self.process.mean(scored).argsort(descending=True, stable=True)[:BEST]]
        parents = best[torch.randint(len(best), (NEAR,), generator=draws)]
        # Half of them differ in one choice on average, half in three.
        rate = torch.tensor([1.0, 3.0]).repeat(NEAR // 2)[:, None] / scored.shape[1]
        other = (torch.rand(parents.shape, generator=draws) * self._sizes).long()
        near = torch.where(torch.rand(parents.shape, generator=draws) < rate, other, parents)
        near = torch.cat([best, near])
        if budget is not None:
            cost = budget.cost(near)
            near = near[(cost <= budget.target) & ((cost >= self.least * budget.target) | (not budget.binds))]
        return _simplest(evaluator, torch.cat([random, near])).unique(dim=0)

    def settings(self) -> dict[str, Any]:
        size = {"lam": self.sample_size.lam, "at_least": self.sample_size.at_least}
        return {**size, "join_at": self.join_at, "least_cost": self.least}

    def state_dict(self) -> dict[str, Any]:
        return {
            "partition": self.distribution.partition,
            "logits": self.distribution.logits.detach().clone(),
            "process": self.process.state_dict(),
            "mu": self._within.mu,
            "codes": self._codes,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.distribution = ArchDistribution(self.distribution.space, state["partition"])
        self.distribution.set_logits(state["logits"])
        self.process.load_state_dict(state["process"])
        self._within.mu, self._codes = state["mu"], state["codes"]


def _simplest(evaluator: Evaluator, codes: Tensor) -> Tensor:
    """The same networks, each by one code, where the evaluator knows which these are."""
    return evaluator.canonical(codes) if isinstance(evaluator, KnowsNetworks) else codes


def _unseen(codes: Tensor, others: Tensor) -> Tensor:
    """(M,), which of the codes (M, V) are neither among the others nor came before."""
    known, unseen = set(map(tuple, others.tolist())), list[bool]()
    for row in map(tuple, codes.tolist()):
        unseen.append(row not in known)
        known.add(row)
    return torch.tensor(unseen, dtype=torch.bool)
