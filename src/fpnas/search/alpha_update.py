"""How alpha moves once K architectures have their scores: by eq. 7, by the score function, or by all past scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from fpnas.cost import Budget
from fpnas.distribution import ArchDistribution
from fpnas.errors import InputError, unknown_name
from fpnas.estimators import Temperature, architecture_loss, divisor, importance_weights
from fpnas.job import Stateful
from fpnas.memory import Memory
from fpnas.search.cost_term import CostTerm
from fpnas.search.strategy import Scores


class AlphaUpdate(Stateful, ABC):
    """What becomes of the scores of K architectures.

    `cost_term` is the budget's part in it. Without one, all that are scored must be drawn within the budget.
    `needs_peers`: where all are drawn within the budget it needs others that are too, for the gradient of the truncated
    distribution; see `Scores.log_prob`.
    """

    cost_term: CostTerm | None = None

    @property
    def needs_peers(self) -> bool:
        return False

    @abstractmethod
    def start(self, distribution: ArchDistribution) -> None:
        """Called with the distribution that will be moved, and again when it is joined."""

    @abstractmethod
    def __call__(
        self, distribution: ArchDistribution, scores: Scores, budget: Budget | None, generator: torch.Generator
    ) -> None:
        """Moves alpha; the generator is for costs that are averaged over samples."""


class Gradient(AlphaUpdate):
    """A step of Adam, betas (.5, .999), on a loss and the cost term.

    Args:
        lr: of alpha.
        cost_term: of the loss, or None.

    Raises:
        InputError: a learning rate that isn't above 0.
    """

    def __init__(self, lr: float, cost_term: CostTerm | None) -> None:
        if not 0 < lr < float("inf"):
            raise InputError("a learning rate of alpha above 0", f"{lr:g}", "use the default")
        self.lr, self.cost_term = lr, cost_term
        self._optimizer: torch.optim.Optimizer | None = None

    @property
    def needs_peers(self) -> bool:
        return True

    def start(self, distribution: ArchDistribution) -> None:
        """Adam's state begins anew."""
        self._optimizer = torch.optim.Adam(distribution.parameters(), lr=self.lr, betas=(0.5, 0.999))

    def __call__(
        self, distribution: ArchDistribution, scores: Scores, budget: Budget | None, generator: torch.Generator
    ) -> None:
        """One step."""
        loss = self.loss(distribution, scores, budget)
        if budget is not None and self.cost_term is not None:
            loss = loss + self.cost_term.loss(budget, distribution, generator)
        assert self._optimizer is not None
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()

    @abstractmethod
    def loss(self, distribution: ArchDistribution, scores: Scores, budget: Budget | None) -> Tensor:
        """A surrogate whose gradient is the likelihood's part."""

    def settings(self) -> dict[str, Any]:
        return {"alpha_lr": self.lr, **({} if self.cost_term is None else self.cost_term.settings())}

    def state_dict(self) -> dict[str, Any]:
        assert self._optimizer is not None
        return {"alpha_optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert self._optimizer is not None
        self._optimizer.load_state_dict(state["alpha_optimizer"])


Baseline = Literal["none", "mean"]


class Likelihood(Gradient):
    """Eq. 7: sum_k m_k * grad(-log P(A_k|alpha)), m_k = q_k - beta * share_k.

    Args:
        lr: of alpha.
        temperature: of the likelihood; see `estimators.divisor`.
        baseline: "none" is the paper; "mean" subtracts the mean weight, see `estimators.architecture_loss`.
        cost_term: of the loss, or None.
    """

    def __init__(
        self, lr: float, temperature: Temperature, baseline: Baseline, cost_term: CostTerm | None = None
    ) -> None:
        super().__init__(lr, cost_term)
        divisor(temperature, 1)
        if baseline not in get_args(Baseline):
            raise unknown_name("baseline", baseline, get_args(Baseline))
        self.temperature: Temperature = temperature
        self.baseline: Baseline = baseline

    @property
    def needs_peers(self) -> bool:
        """With the mean taken off, the weights sum to 0 and the normalizer's part falls away."""
        return self.baseline != "mean"

    def loss(self, distribution: ArchDistribution, scores: Scores, budget: Budget | None) -> Tensor:
        weights = importance_weights(scores.loglik, divisor(self.temperature, scores.num_images))
        shares, beta = torch.zeros_like(weights), 0.0
        if budget is not None and self.cost_term is not None:
            shares, beta = self.cost_term.shares(budget, scores.codes), self.cost_term.beta
        return architecture_loss(scores.log_prob(distribution), weights, shares, beta, self.baseline == "mean")

    def settings(self) -> dict[str, Any]:
        return {"temperature": self.temperature, "baseline": self.baseline, **super().settings()}


class ScoreFunction(Gradient):
    """REINFORCE: the gradient of the mean reward, log-likelihood an image, with a moving baseline (Williams 1992).

    Args:
        lr: of alpha.
        decay: of the baseline, a step.
        cost_term: of the loss, or None. By the estimator "samples" beta * C(A_k) is taken off each reward.
    """

    def __init__(self, lr: float, decay: float, cost_term: CostTerm | None = None) -> None:
        super().__init__(lr, cost_term)
        if not 0 <= decay < 1:
            raise InputError("a decay of the baseline from 0 to below 1", f"{decay:g}", "use 0.9, say")
        if cost_term is not None and cost_term.estimator == "samples" and cost_term.floor:
            got = f"{cost_term.floor:g}"
            raise InputError("no cost floor where each reward has its own excess", got, 'use 0, or estimator="many"')
        self.decay = decay
        self._baseline: float | None = None

    def loss(self, distribution: ArchDistribution, scores: Scores, budget: Budget | None) -> Tensor:
        scores = scores.finite()
        reward = scores.loglik / scores.num_images
        term = self.cost_term
        if budget is not None and term is not None and term.estimator == "samples":
            reward = reward - term.beta * budget.excess(scores.codes)
        mean = float(reward.mean())
        before = mean if self._baseline is None else self._baseline
        self._baseline = self.decay * before + (1 - self.decay) * mean
        return -((reward - before).detach() * scores.log_prob(distribution)).mean()

    def settings(self) -> dict[str, Any]:
        return {"baseline_decay": self.decay, **super().settings()}

    def state_dict(self) -> dict[str, Any]:
        return {"baseline": self._baseline, **super().state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._baseline = state["baseline"]
        super().load_state_dict(state)


class Posterior(AlphaUpdate):
    """Ours: alpha's logits are those nearest to the posterior given all past scores; see `memory.Memory`.

    The budget is a prior that leaves out what exceeds it, so it has no term here: what is drawn and what is answered
    lies within it.

    Args:
        memory: of past scores.
        temperature: of the likelihood, at first.
        cooling: what the temperature is multiplied by over the search, evenly on a log scale. Early scores are those of
            young weights: at the last temperature the first few would decide.
        prior: what is believed before any score, of independent choices; by default all codes are equally probable.

    Raises:
        InputError: a number out of range.
    """

    def __init__(
        self,
        memory: Memory,
        temperature: Temperature,
        cooling: float = 1.0,
        prior: ArchDistribution | None = None,
    ) -> None:
        divisor(temperature, 1)
        if not 0 < cooling <= 1:
            raise InputError("a cooling above 0, at most 1", f"{cooling:g}", "1 keeps the temperature")
        self.memory, self.cooling, self.prior = memory, cooling, prior
        self.temperature: Temperature = temperature
        self._prior: Tensor | None = None

    def start(self, distribution: ArchDistribution) -> None:
        """The prior in the cells of `distribution`. The memory stays: joined logits are sums of their parts, as its fit
        is."""
        if self.prior is not None:
            table = self.prior.joined(distribution.partition).log_table().detach()
            self._prior = torch.where(distribution.is_option, table, 0.0)

    def __call__(
        self, distribution: ArchDistribution, scores: Scores, budget: Budget | None, generator: torch.Generator
    ) -> None:
        """Remembers the scores and reads the logits off the memory."""
        del budget, generator
        self.memory.add(distribution, scores.codes, scores.loglik / divisor(self.temperature, scores.num_images))
        logits = self.memory.logits(distribution) / self.cooling**scores.settled
        distribution.set_logits(logits if self._prior is None else logits + self._prior)

    def settings(self) -> dict[str, Any]:
        prior = {} if self.prior is None else {"prior": "distinct"}
        return {"temperature": self.temperature, "cooling": self.cooling, **prior, **self.memory.settings()}

    def state_dict(self) -> dict[str, Any]:
        return {"memory": self.memory.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.memory.load_state_dict(state["memory"])
