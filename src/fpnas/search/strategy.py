"""`Strategy`: what tells one method from another; the loop around it, `Search`, is the same for all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fpnas.cost import Budget
from fpnas.distribution import ArchDistribution
from fpnas.evaluators import Evaluator
from fpnas.space import SearchSpace


@dataclass(frozen=True)
class Moment:
    """Where a search stands: the step's number of how many, in how many only weights learn, the search's seed."""

    number: int
    total: int
    warmup: int
    seed: int

    @property
    def warming_up(self) -> bool:
        """Whether only weights learn yet."""
        return self.number < self.warmup

    @property
    def progress(self) -> float:
        """The share of the search that is done, in [0, 1)."""
        return self.number / self.total

    @property
    def annealed(self) -> float:
        """The share of alpha's part of the search that is done before this step, in [0, 1)."""
        return max(0, self.number - self.warmup) / max(1, self.total - self.warmup)

    @property
    def settled(self) -> float:
        """The share of alpha's part of the search that will be done after this step, in (0, 1]."""
        return max(0, self.number + 1 - self.warmup) / max(1, self.total - self.warmup)


@dataclass(frozen=True)
class Told:
    """What a step did.

    Args:
        codes: the K architectures, (K, V).
        score: mean log-likelihood an image of each, -inf where it has diverged; None while warming up, or where none
            was scored by itself.
        loss: of the weights, in nats an image; None where none were learnt.
        entropy: of the distribution that they were drawn from, in nats.
        skipped: weights or distribution were left as they were, since nothing finite came of the architectures.
        looking: they will be drawn no more: a look at them goes on in the next step, and they count when it ends.
    """

    codes: Tensor
    score: Tensor | None
    loss: float | None
    entropy: float
    skipped: bool = False
    looking: bool = False


def likelihood(loglik: Tensor) -> Tensor:
    """Scores with -inf, a likelihood of 0, for what isn't finite: an architecture that diverged explains nothing."""
    return loglik.masked_fill(~loglik.isfinite(), -torch.inf)


class Strategy(ABC):
    """Draws architectures, has them learn and scored, and draws its conclusions.

    `distribution` is what the strategy has learnt. Where it learns none (random search, evolution) that stays uniform,
    and `answers_from_seen` says that the answer is the best architecture scored. `mixes` says that it runs mixtures of
    all architectures, `waits` that its looks may take many steps, as those of a `Gradual` judge do.
    """

    answers_from_seen = False
    mixes = False
    waits = False

    def __init__(self, space: SearchSpace) -> None:
        self.distribution = ArchDistribution(space)

    @abstractmethod
    def step(self, evaluator: Evaluator, budget: Budget | None, moment: Moment) -> Told:
        """One step of the search."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What decides its course, plain JSON."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """What changes while it runs, loadable with `weights_only=True`."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""

    def expected(self) -> Mapping[tuple[int, ...], float]:
        """Of strategies that answer by what they expect of what they scored, codes -> that; else empty."""
        return {}

    def check(self, evaluator: Evaluator) -> None:
        """`InputError` where `evaluator` can't do what the method needs."""
        del evaluator
