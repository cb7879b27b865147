"""Random search and regularised evolution: what every other method has to beat."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fpnas.cost import Budget
from fpnas.errors import InputError
from fpnas.evaluators import Evaluator, FixedJudge, Learned
from fpnas.search.strategy import DrawingStrategy, Scores, SearchState
from fpnas.search.within import Within, feasible
from fpnas.space import SearchSpace
from fpnas.streams import generator

MUTATIONS = 256
"""Mutations tried to find one within the budget."""


class RandomSearch(DrawingStrategy):
    """Random search: architectures drawn uniformly from those within the budget; the best one scored is the answer.

    Args:
        space: the space.
        num: architectures a step.
        frozen: after the warm-up the weights stay as they are, and each architecture is scored on the same images.
    """

    answers_from_seen = True

    def __init__(self, space: SearchSpace, num: int, frozen: bool = False) -> None:
        super().__init__(space)
        if num < 1:
            raise InputError("1 architecture a step or more", str(num), "use 4, say")
        self.num, self.frozen = num, frozen
        self._within = Within()

    def check(self, evaluator: Evaluator, budget: Budget | None) -> None:
        del budget
        if self.frozen and not isinstance(evaluator, FixedJudge):
            got = type(evaluator).__name__
            raise InputError("a supernet, whose weights can be frozen", got, "leave frozen out")

    def draw(self, evaluator: Evaluator, budget: Budget | None, state: SearchState) -> tuple[Tensor, float]:
        """What `propose` says."""
        del evaluator
        codes = self.propose(budget, generator(state.seed, "architectures", state.number))
        return codes, float(self.distribution.entropy().detach())

    def train_step(self, evaluator: Evaluator, codes: Tensor, state: SearchState) -> Learned:
        """The shared weights; frozen in the warm-up alone."""
        if not self.frozen:
            return evaluator.train_step(codes, state.progress)
        # Weights that are to be frozen get the whole of their learning rate's course before that.
        return evaluator.train_step(codes, state.number / state.warmup) if state.warming_up else Learned(None)

    def score(self, evaluator: Evaluator, codes: Tensor) -> tuple[Tensor, int]:
        """On a validation batch; frozen on the same images each."""
        if not self.frozen:
            return evaluator.score(codes), evaluator.num_images
        assert isinstance(evaluator, FixedJudge)
        return evaluator.judge(codes), evaluator.num_judged

    def tell(self, scores: Scores, evaluator: Evaluator, budget: Budget | None, state: SearchState) -> None:
        """Random search doesn't care what became of them."""

    def propose(self, budget: Budget | None, draws: torch.Generator) -> Tensor:
        """The step's architectures, (num, V)."""
        return self._within.draw(self.distribution, budget, self.num, draws)

    def settings(self) -> dict[str, Any]:
        return {"num": self.num, "frozen": self.frozen}

    def state_dict(self) -> dict[str, Any]:
        return {"mu": self._within.mu}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._within.mu = state["mu"]


class Evolution(RandomSearch):
    """Regularised evolution (Real et al. 2019): mutate the best of a tournament; the oldest of the population dies.

    Args:
        space: the space.
        num: architectures a step, all from the population before it.
        population: its size; filled with random architectures first.
        tournament: how many of the population compete to be the parent.
        frozen: as of `RandomSearch`.
    """

    def __init__(self, space: SearchSpace, num: int, population: int, tournament: int, frozen: bool = False) -> None:
        super().__init__(space, num, frozen)
        if not 1 <= tournament <= population:
            raise InputError("1 <= tournament <= population", f"{tournament}, {population}", "correct them")
        self.population, self.tournament = population, tournament
        self._codes = torch.zeros(0, len(space), dtype=torch.long)
        self._scores = torch.zeros(0, dtype=torch.float64)

    def propose(self, budget: Budget | None, draws: torch.Generator) -> Tensor:
        """Random ones until the population is full, then children."""
        if len(self._codes) < self.population:
            return super().propose(budget, draws)
        return torch.cat([self._child(budget, draws) for _ in range(self.num)])

    def tell(self, scores: Scores, evaluator: Evaluator, budget: Budget | None, state: SearchState) -> None:
        """The youngest live."""
        del evaluator, budget, state
        self._codes = torch.cat([self._codes, scores.codes])[-self.population :]
        self._scores = torch.cat([self._scores, scores.loglik / scores.num_images])[-self.population :]

    def _child(self, budget: Budget | None, draws: torch.Generator) -> Tensor:
        rivals = torch.randperm(len(self._codes), generator=draws)[: self.tournament]
        parent = self._codes[rivals[self._scores[rivals].argmax()]]
        options = torch.tensor(self.distribution.space.cardinalities)
        free = (options > 1).nonzero()[:, 0]
        # Each row changes one choice to another option; the first row within the budget is the child.
        rows = parent.repeat(MUTATIONS, 1)
        where = free[torch.randint(len(free), (len(rows),), generator=draws)]
        shift = (torch.rand(len(rows), generator=draws, dtype=torch.float64) * (options[where] - 1)).long() + 1
        rows[torch.arange(len(rows)), where] = (rows[torch.arange(len(rows)), where] + shift) % options[where]
        return feasible(rows, budget, 1)

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "population": self.population, "tournament": self.tournament}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "codes": self._codes, "scores": self._scores}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._codes, self._scores = state["codes"], state["scores"]
