"""`Soft`: methods that run a mixture of all architectures, and learn alpha by its gradient (DARTS, FBNetV2)."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from fpnas import parallel
from fpnas.cost import Budget
from fpnas.errors import InputError
from fpnas.evaluators import Evaluator, SoftEvaluator
from fpnas.search.cost_term import CostTerm
from fpnas.search.strategy import SearchState, StepResult, Strategy, likelihood
from fpnas.space import SearchSpace
from fpnas.streams import generator


class Relax(Protocol):
    """Log-probabilities of a choice's options to the weights of a mixture."""

    def __call__(self, log_prob: Tensor, progress: float, draws: torch.Generator) -> Tensor:
        """The weights, differentiable."""
        ...


def softmax_weights(log_prob: Tensor, progress: float, draws: torch.Generator) -> Tensor:
    """DARTS: the probabilities themselves."""
    del progress, draws
    return log_prob.exp()


class Gumbel:
    """FBNetV2: Gumbel-softmax, the temperature falling from `first` to `last`, evenly on a log scale."""

    def __init__(self, first: float, last: float) -> None:
        if not (0 < last <= first):
            raise InputError("temperatures above 0 that fall", f"{first:g}, {last:g}", "use the default")
        self.first, self.last = first, last

    def __call__(self, log_prob: Tensor, progress: float, draws: torch.Generator) -> Tensor:
        """A draw; nearly one-hot when cold."""
        uniform = torch.rand(log_prob.shape, generator=draws, dtype=log_prob.dtype).clamp_min(1e-20)
        temperature = self.first * (self.last / self.first) ** progress
        return ((log_prob - (-uniform.log()).log()) / temperature).softmax(dim=0)


class Soft(Strategy):
    """Trains the weights on a mixture of all candidates, and alpha by the validation loss of such a mixture.

    Args:
        space: the space; its choices are independent.
        lr, weight_decay: of alpha; Adam, betas (.5, .999).
        relax: log-probabilities to weights.
        alpha_every: steps of the weights for each of alpha, which then comes first.
        cost_term: added to alpha's loss, at the cost expected under the mixture. As long as alpha is nearly uniform and
            dearer than the target, it pushes every choice alike to its cheapest option.
    """

    mixes = True

    def __init__(
        self,
        space: SearchSpace,
        *,
        lr: float,
        weight_decay: float,
        relax: Relax,
        alpha_every: int,
        cost_term: CostTerm | None,
    ) -> None:
        super().__init__(space)
        if not (0 < lr < float("inf") and 0 <= weight_decay < float("inf")):
            raise InputError("a rate above 0 and a decay from 0", f"{lr:g}, {weight_decay:g}", "use the default")
        self.lr, self.weight_decay, self.relax, self.alpha_every = lr, weight_decay, relax, alpha_every
        self.cost_term = cost_term
        self._optimizer = torch.optim.Adam(
            self.distribution.parameters(), lr=lr, betas=(0.5, 0.999), weight_decay=weight_decay
        )

    def check(self, evaluator: Evaluator, budget: Budget | None) -> None:
        if not isinstance(evaluator, SoftEvaluator):
            got = type(evaluator).__name__
            raise InputError("a supernet, whose networks can be mixed", got, "take a method that samples")
        if parallel.world_size() > 1 and getattr(evaluator, "split", "data") != "data":
            raise InputError("ranks that split data, for a method that mixes", "architectures", "leave --parallel out")
        if self.cost_term is not None and budget is not None:
            self.cost_term.check_mixed(budget)

    def step(self, evaluator: Evaluator, budget: Budget | None, state: SearchState) -> StepResult:
        """Alpha on a validation batch where it is due, then the weights on a training batch."""
        assert isinstance(evaluator, SoftEvaluator)
        entropy = float(self.distribution.entropy().detach())
        loss: Tensor | None = None
        skipped = False
        if not state.warming_up and state.number % self.alpha_every == 0:
            weights = self._weights(state, "alpha")
            loss = evaluator.soft_loss(weights)
            total = loss.double()
            if self.cost_term is not None and budget is not None and budget.binds:
                total = total + self.cost_term.mixed(budget, list(weights.values()))
            self._optimizer.zero_grad()
            total.backward()
            gradient = self.distribution.logits.grad
            skipped = gradient is not None and not bool(gradient.isfinite().all())
            if not skipped:
                self._optimizer.step()
        learned = evaluator.mixed_train_step(self._weights(state, "weights"), state.progress)
        mode = torch.tensor([self.distribution.space.encode(self.distribution.mode())])
        score = None if loss is None else likelihood(-loss.detach().double().cpu().reshape(1))
        return StepResult(mode, score, learned.loss, entropy, learned.skipped or skipped)

    def _weights(self, state: SearchState, purpose: str) -> dict[str, Tensor]:
        """The mixture's: choice -> weights of its options."""
        draws = generator(state.seed, "mixtures", purpose, state.number)
        rows = zip(self.distribution.space.choices, self.distribution.log_table(), strict=True)
        return {c.name: self.relax(row[: len(c.options)], state.annealed, draws) for c, row in rows}

    def settings(self) -> dict[str, Any]:
        relax = self.relax
        temperatures = [relax.first, relax.last] if isinstance(relax, Gumbel) else None
        return {
            "alpha_lr": self.lr,
            "alpha_weight_decay": self.weight_decay,
            "alpha_every": self.alpha_every,
            "temperatures": temperatures,
            **({} if self.cost_term is None else self.cost_term.settings()),
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "logits": self.distribution.logits.detach().clone(),
            "alpha_optimizer": self._optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.distribution.set_logits(state["logits"])
        self._optimizer.load_state_dict(state["alpha_optimizer"])
