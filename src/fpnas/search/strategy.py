"""`Strategy`: what tells one method from another; its step, and the loop around it, `Search`, are the same for all.

A step draws codes, has them learnt and scored, and hears what became of them: `DrawingStrategy.step`. Methods that mix
have another, `soft.Soft.step`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fpnas.cost import Budget
from fpnas.distribution import ArchDistribution
from fpnas.evaluators import Evaluator, Gradual, Learned
from fpnas.job import Stateful
from fpnas.space import SearchSpace


@dataclass(frozen=True)
class SearchState:
    """Where a search stands: the step's number of how many, in how many only weights learn, the search's seed.

    `before_scores` is called with a step's codes, (K, V), before these are scored; see `Search`.
    """

    number: int
    total: int
    warmup: int
    seed: int
    before_scores: Callable[[Tensor], None] | None = None

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
class StepResult:
    """What a step did, from which the search makes its line of metrics.jsonl.

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


@dataclass(frozen=True)
class Scores:
    """K scored architectures: codes (K, V) and log-likelihoods (K,) in nats, summed over `num_images`.

    A log-likelihood is -inf, a likelihood of 0, where the architecture has diverged. `settled` is the share of alpha's
    part of the search that is done with these. `peers` (M, V) are others, never run, where all were drawn within the
    budget.
    """

    codes: Tensor
    loglik: Tensor
    num_images: int
    settled: float = 1.0
    peers: Tensor | None = None

    def log_prob(self, distribution: ArchDistribution) -> Tensor:
        """(K,), what a gradient of alpha differentiates: log P(A|alpha), or log P(A|alpha, cost <= target).

        The latter is log P(A|alpha) - log Z, Z the probability of the target being met, and the gradient of log Z is
        the mean of that of log P over draws within it, the peers: so this is a surrogate, whose gradient counts.
        """
        own = distribution.log_prob(self.codes)
        return own if self.peers is None else own - distribution.log_prob(self.peers).mean()

    def finite(self) -> Scores:
        """Those that haven't diverged."""
        kept = self.loglik.isfinite()
        return self if bool(kept.all()) else replace(self, codes=self.codes[kept], loglik=self.loglik[kept])


class Strategy(Stateful, ABC):
    """Has architectures trained and scored, and learns from the scores.

    * Its course is a function of seed, settings, state and scores alone: random numbers come from `streams.generator`,
      with the search's seed and the step's number.
    * Its settings replace the evaluator's of the same name.
    * An architecture's score that isn't finite says that it has diverged, maybe all have; see `Scores.finite`.

    docs/own-method.md shows how to write one.

    Attributes:
        distribution: what it has learnt; uniform where it learns none (random search, evolution).
        answers_from_seen: the answer is the best architecture scored, not the distribution's.
        mixes: it runs mixtures of all architectures.
        waits: its looks may take many steps, as those of a `Gradual` judge do: `draw` then gives the same codes until
            the look ends.
    """

    answers_from_seen = False
    mixes = False
    waits = False

    def __init__(self, space: SearchSpace) -> None:
        self.distribution = ArchDistribution(space)

    @abstractmethod
    def step(self, evaluator: Evaluator, budget: Budget | None, state: SearchState) -> StepResult:
        """One step of the search."""

    @property
    def targets(self) -> Sequence[tuple[Budget, ArchDistribution]]:
        """Of a search for several targets, each budget with its distribution, in order; else empty."""
        return ()

    def expected(self) -> Mapping[tuple[int, ...], float]:
        """Of strategies that answer by what they expect of what they scored, codes -> that; else empty."""
        return {}

    def check(self, evaluator: Evaluator, budget: Budget | None) -> None:
        """`InputError` where the evaluator can't do what the method needs, or the budget doesn't suit it."""
        del evaluator, budget


class DrawingStrategy(Strategy):
    """Those that draw K architectures a step: they say what to draw, and what to make of the scores."""

    def step(self, evaluator: Evaluator, budget: Budget | None, state: SearchState) -> StepResult:
        """One step of the search: K architectures are drawn, learnt and scored, and alpha moves."""
        codes, entropy = self.draw(evaluator, budget, state)
        learned = self.train_step(evaluator, codes, state)
        if isinstance(evaluator, Gradual) and (state.number + 1) % evaluator.steps_per_look:
            return StepResult(codes, None, learned.loss, entropy, learned.skipped, looking=True)
        if state.warming_up:
            return StepResult(codes, None, learned.loss, entropy, learned.skipped)
        if state.before_scores is not None:
            state.before_scores(codes)
        loglik, num_images = self.score(evaluator, codes)
        loglik = likelihood(loglik)
        self.tell(Scores(codes, loglik, num_images, state.settled), evaluator, budget, state)
        lost = not bool(loglik.isfinite().any())
        return StepResult(codes, loglik / num_images, learned.loss, entropy, learned.skipped or lost)

    @abstractmethod
    def draw(self, evaluator: Evaluator, budget: Budget | None, state: SearchState) -> tuple[Tensor, float]:
        """The step's architectures, (K, V) on the CPU, and the entropy in nats of what these are drawn from.

        Called in each step, those of the warm-up too.
        """

    def train_step(self, evaluator: Evaluator, codes: Tensor, state: SearchState) -> Learned:
        """Has the weights learn on them."""
        return evaluator.train_step(codes, state.progress)

    def score(self, evaluator: Evaluator, codes: Tensor) -> tuple[Tensor, int]:
        """Their log-likelihoods in nats, (K,), and over how many images these are summed."""
        return evaluator.score(codes), evaluator.num_images

    @abstractmethod
    def tell(self, scores: Scores, evaluator: Evaluator, budget: Budget | None, state: SearchState) -> None:
        """What became of them, -inf where one diverged, maybe all.

        Not called in the warm-up, nor while a look goes on.
        """
