"""`Search`: the one loop of all sampling methods (METHOD 1). A method is a choice of its arguments; see `methods`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fpnas.cost import Budget
from fpnas.distribution import ArchDistribution, groups
from fpnas.errors import InputError
from fpnas.estimators import (
    SampleSize,
    Temperature,
    architecture_loss,
    divisor,
    importance_weights,
)
from fpnas.evaluators import Evaluator
from fpnas.job import Step
from fpnas.search.constrained import Answer, best_within
from fpnas.space import Arch
from fpnas.streams import generator


@dataclass(frozen=True)
class SearchResult:
    """What a search has found.

    Args:
        arch: the mode, the most probable architecture.
        log_prob: its log-probability in nats.
        entropy: of the distribution, in nats.
        num_samples_total: architectures drawn.
        distribution: the learnt P(A|alpha).
        budget: of the search, or None.
    """

    arch: Arch
    log_prob: float
    entropy: float
    num_samples_total: int
    distribution: ArchDistribution
    budget: Budget | None

    def best_within(self, target: float | None = None) -> Answer:
        """The most probable architecture whose cost meets `target`, the budget's own by default.

        Raises:
            InputError: the search had no budget, so no cost is known; or nothing meets the target.
        """
        if self.budget is None:
            raise InputError("a search with a budget", "one without", "call best_within with a cost model instead")
        return best_within(self.distribution, self.budget.cost, self.budget.target if target is None else target)


class Search:
    """Learns a distribution over architectures beside the weights of its evaluator; a `Job`.

    Args:
        method: its name, for logs.
        evaluator: judges architectures and trains their shared weights.
        budget: the cost side of the loss; None leaves the cost out.
        epochs: length of the search, in epochs of the evaluator.
        seed: of the sampled architectures.
        distribution: to start from.
        sample_size: entropy -> K.
        temperature: of the likelihood that weighs the architectures; see `estimators.divisor`.
        control_variate: see `estimators.architecture_loss`.
        lr: of alpha; Adam with betas (.5, .999).
        join_at: theta, as a fraction of the epochs: there the distribution is joined to one table a group. 1 is never.
        warmup: fraction of the epochs in which only weights are trained, at the start.

    Raises:
        InputError: a number out of range.
    """

    kind = "search"

    def __init__(
        self,
        method: str,
        evaluator: Evaluator,
        budget: Budget | None,
        *,
        epochs: int,
        seed: int,
        distribution: ArchDistribution,
        sample_size: SampleSize,
        temperature: Temperature,
        control_variate: bool,
        lr: float,
        join_at: float,
        warmup: float,
    ) -> None:
        if epochs < 1:
            raise InputError("1 epoch or more", str(epochs), "give --epochs")
        for name, value in (("join_at", join_at), ("warmup", warmup)):
            if not 0 <= value <= 1:
                raise InputError(f"{name} as a fraction of the epochs, 0 to 1", f"{value:g}", "correct it")
        if not (math.isfinite(lr) and lr > 0):
            raise InputError("a learning rate of alpha above 0", f"{lr:g}", "use the default")
        divisor(temperature, 1)
        self.method, self.evaluator, self.budget = method, evaluator, budget
        self.epochs, self.seed = epochs, seed
        self.distribution = distribution
        self.temperature: Temperature = temperature
        self.sample_size, self.control_variate = sample_size, control_variate
        self.lr = lr
        self.join_at, self.warmup = join_at, warmup
        self._optimiser = self._make_optimiser()
        self.steps_done = 0
        self._num_samples_total = 0
        self._epoch_samples: dict[str, list[Any]] = {"codes": [], "score": [], "cost": []}

    @property
    def steps_total(self) -> int:
        return self.epochs * self.evaluator.steps_per_epoch

    @property
    def joined(self) -> bool:
        """Whether the distribution has one table a group."""
        return self.distribution.partition == groups(self.distribution.space)

    def step(self) -> Step:
        """Samples K architectures, trains the weights on them, scores them, and moves alpha (eq. 7)."""
        number = self.steps_done
        if number >= round(self.join_at * self.steps_total) and self.join_at < 1 and not self.joined:
            self.distribution = self.distribution.joined()
            self._optimiser = self._make_optimiser()
        entropy = float(self.distribution.entropy().detach())
        num_samples = self.sample_size(entropy)
        codes = self.distribution.sample(num_samples, generator(self.seed, "architectures", number))
        cost = None if self.budget is None else self.budget.cost(codes)
        learned = self.evaluator.learn(codes, number / self.steps_total)
        warming_up = number < round(self.warmup * self.steps_total)
        score = None if warming_up else self._move_alpha(codes)
        self.steps_done += 1
        self._num_samples_total += num_samples
        self._remember(codes, score, cost)
        metrics = {
            "step": number,
            "epoch": number // self.evaluator.steps_per_epoch,
            "entropy": entropy,
            "num_samples": num_samples,
            "train_loss": learned.loss,
            "val_loss": None if score is None else -float(score.mean()),
            "cost_mean": None if cost is None else float(cost.mean()),
            "joined": self.joined,
        }
        epoch, into_epoch = divmod(self.steps_done, self.evaluator.steps_per_epoch)
        return Step(metrics, {} if into_epoch else {"distribution.jsonl": self._epoch_line(epoch - 1)})

    def _move_alpha(self, codes: Tensor) -> Tensor:
        """One step on alpha; the mean log-likelihood an image of each architecture."""
        loglik = self.evaluator.score(codes)
        num_images, budget = self.evaluator.num_images, self.budget
        zeros = torch.zeros(len(codes), dtype=torch.float64)
        loss = architecture_loss(
            self.distribution.log_prob(codes),
            importance_weights(loglik, divisor(self.temperature, num_images)),
            zeros if budget is None else budget.shares(codes),
            0.0 if budget is None else budget.beta,
            self.control_variate,
        )
        if budget is not None:
            loss = loss + budget.loss(self.distribution, generator(self.seed, "costs", self.steps_done))
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        return loglik / num_images

    def result(self) -> SearchResult:
        """The mode of the distribution as it stands."""
        arch = self.distribution.mode()
        codes = torch.tensor([self.distribution.space.encode(arch)])
        with torch.no_grad():
            log_prob, entropy = float(self.distribution.log_prob(codes)), float(self.distribution.entropy())
        return SearchResult(arch, log_prob, entropy, self._num_samples_total, self.distribution, self.budget)

    def files(self) -> dict[str, Any]:
        """arch.json, the most probable architecture within the budget, its layers.json, and result.json."""
        found = self.result()
        answer = Answer(found.arch, found.log_prob, math.nan, "mode") if self.budget is None else found.best_within()
        facts = {**self.evaluator.describe(answer.arch), "log_prob": answer.log_prob}
        result: dict[str, Any] = {
            "kind": self.kind,
            "method": self.method,
            "steps": self.steps_done,
            "num_samples_total": found.num_samples_total,
            "entropy": found.entropy,
            "log_prob": answer.log_prob,
            "answer": answer.how,
        }
        result |= {name: facts[name] for name in ("flops", "params") if name in facts}
        if self.budget is not None:
            mode = torch.tensor([self.distribution.space.encode(found.arch)])
            result |= {
                "cost_name": self.budget.cost.name,
                "target": self.budget.target,
                "cost": answer.cost,
                "mode_cost": float(self.budget.cost(mode)),
            }
        layers = getattr(self.evaluator, "layers", None)
        more = {} if layers is None else {"layers.json": layers(answer.arch)}
        return {"arch.json": facts, **more, "result.json": result}

    def settings(self) -> dict[str, Any]:
        """What decides the trajectory, the evaluator's settings included."""
        budget = self.budget
        return {
            **self.evaluator.settings(),
            "method": self.method,
            "epochs": self.epochs,
            "seed": self.seed,
            "lam": self.sample_size.lam,
            "at_least": self.sample_size.at_least,
            "at_most": self.sample_size.at_most,
            "temperature": self.temperature,
            "control_variate": self.control_variate,
            "alpha_lr": self.lr,
            "join_at": self.join_at,
            "warmup": self.warmup,
            "cost": None if budget is None else budget.cost.name,
            "target": None if budget is None else budget.target,
            "beta": None if budget is None else budget.beta,
            "cost_floor": None if budget is None else budget.floor,
            "cost_estimator": None if budget is None else budget.estimator,
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "evaluator": self.evaluator.state_dict(),
            "partition": self.distribution.partition,
            "logits": self.distribution.logits.detach().clone(),
            "alpha_optimiser": self._optimiser.state_dict(),
            "steps_done": self.steps_done,
            "num_samples_total": self._num_samples_total,
            "epoch_samples": {name: list(values) for name, values in self._epoch_samples.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.evaluator.load_state_dict(state["evaluator"])
        self.distribution = ArchDistribution(self.distribution.space, state["partition"])
        with torch.no_grad():
            self.distribution.logits.copy_(state["logits"])
        self._optimiser = self._make_optimiser()
        self._optimiser.load_state_dict(state["alpha_optimiser"])
        self.steps_done = state["steps_done"]
        self._num_samples_total = state["num_samples_total"]
        self._epoch_samples = {name: list(values) for name, values in state["epoch_samples"].items()}

    def _make_optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.distribution.parameters(), lr=self.lr, betas=(0.5, 0.999))

    def _remember(self, codes: Tensor, score: Tensor | None, cost: Tensor | None) -> None:
        self._epoch_samples["codes"] += codes.tolist()
        self._epoch_samples["score"] += [None] * len(codes) if score is None else score.tolist()
        self._epoch_samples["cost"] += [None] * len(codes) if cost is None else cost.tolist()

    def _epoch_line(self, epoch: int) -> dict[str, Any]:
        """The logits of each cell, and the epoch's architectures with mean log-likelihood an image and cost."""
        samples, self._epoch_samples = self._epoch_samples, {"codes": [], "score": [], "cost": []}
        distribution = self.distribution
        rows = [row[used].tolist() for row, used in zip(distribution.logits, distribution.is_option, strict=True)]
        return {
            "epoch": epoch,
            "step": self.steps_done - 1,
            "joined": self.joined,
            "choices": {choice.name: list(choice.options) for choice in distribution.space.choices},
            "partition": [list(cell) for cell in distribution.partition],
            "logits": rows,
            "samples": samples,
        }
