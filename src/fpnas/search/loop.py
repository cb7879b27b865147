"""`Search`: the one loop of all methods. A method is a strategy; see `methods`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from fpnas.cost import Budget, Measured, memory_in
from fpnas.distribution import ArchDistribution, groups
from fpnas.errors import InputError
from fpnas.evaluators import Evaluator, Gradual, HasLayers, Rehearses
from fpnas.job import Skips, Step
from fpnas.search.constrained import WithinBudget, best_within
from fpnas.search.multi_budget import name_of
from fpnas.search.result import SearchResult
from fpnas.search.strategy import SearchState, Strategy
from fpnas.space import Arch


class Search:
    """Runs a strategy on an evaluator, step after step; a `Job`.

    Args:
        method: its name, for logs.
        evaluator: judges architectures and trains their shared weights.
        budget: what a network may cost; None leaves the cost out.
        strategy: the method.
        epochs: length of the search, in epochs of the evaluator.
        seed: of everything that the strategy draws.
        warmup: fraction of the epochs in which only weights are trained, at the start.

    Raises:
        InputError: a number out of range, or an evaluator that can't do what the method needs.
    """

    kind = "search"

    def __init__(
        self,
        method: str,
        evaluator: Evaluator,
        budget: Budget | None,
        strategy: Strategy,
        *,
        epochs: int,
        seed: int,
        warmup: float,
    ) -> None:
        if isinstance(budget, Sequence):
            raise InputError("one budget", "several", "take methods.fpnas_posterior")
        if epochs < 1:
            raise InputError("1 epoch or more", str(epochs), "give --epochs")
        if not 0 <= warmup <= 1:
            raise InputError("warmup as a fraction of the epochs, 0 to 1", f"{warmup:g}", "correct it")
        if isinstance(evaluator, Gradual) and not strategy.waits:
            got = type(evaluator).__name__
            raise InputError("a judge whose looks are one step", got, "take methods.fpnas_thompson")
        strategy.check(evaluator, budget)
        self.method, self.evaluator, self.budget, self.strategy = method, evaluator, budget, strategy
        self.epochs, self.seed, self.warmup = epochs, seed, warmup
        self.steps_done = 0
        self.skips = Skips()
        self._num_samples_total = 0
        self._diverged = 0
        self.before_scores: Callable[[Tensor], None] | None = None
        """Where methods draw, called with a step's codes, (K, V), before they are scored: to watch, never to change."""
        self._epoch_samples: dict[str, list[Any]] = {"codes": [], "score": [], "cost": []}
        self._seen: dict[tuple[int, ...], tuple[float, int]] = {}
        self._learnt_steps = 0

    @property
    def steps_total(self) -> int:
        return self.epochs * self.evaluator.steps_per_epoch

    @property
    def distribution(self) -> ArchDistribution:
        """P(A|alpha) as it stands."""
        return self.strategy.distribution

    @property
    def joined(self) -> bool:
        """Whether the distribution has one table a group."""
        return self.distribution.partition == groups(self.distribution.space)

    def step(self) -> Step:
        """A step of the strategy, and its record."""
        number = self.steps_done
        warmup = round(self.warmup * self.steps_total)
        state = SearchState(number, self.steps_total, warmup, self.seed, self.before_scores)
        done = self.strategy.step(self.evaluator, self.budget, state)
        self.skips.note(done.skipped, number)
        finite = None if done.score is None else done.score[done.score.isfinite()]
        diverged = 0 if done.score is None or finite is None else len(done.score) - len(finite)
        self._diverged += diverged
        cost = None if self.budget is None else self.budget.cost(done.codes)
        self.steps_done += 1
        if number >= warmup and not done.looking and not done.skipped:
            self._learnt_steps += 1
        if not done.looking:
            self._num_samples_total += len(done.codes)
            self._remember(done.codes, done.score, cost)
        metrics = {
            "step": number,
            "epoch": number // self.evaluator.steps_per_epoch,
            "entropy": done.entropy,
            "num_samples": len(done.codes),
            "train_loss": done.loss,
            "val_loss": None if finite is None or not len(finite) else -float(finite.mean()),
            "cost_mean": None if cost is None else float(cost.mean()),
            "joined": self.joined,
        }
        if done.looking:
            metrics["drawn"] = 0  # the K networks count when the look at them ends
        if diverged or done.skipped:
            metrics |= {"diverged": diverged, "skipped": done.skipped}
        epoch, into_epoch = divmod(self.steps_done, self.evaluator.steps_per_epoch)
        return Step(metrics, {} if into_epoch else {"distribution.jsonl": self._epoch_line(epoch - 1)})

    @property
    def learnt(self) -> bool:
        """Whether any step has had something to learn from, so that the answer isn't arbitrary."""
        return self._learnt_steps > 0

    def rehearse(self, room: int | None = None) -> int:
        """Has the evaluator run its largest network, where it has networks; bytes that a step needs, 0 without.

        Args:
            room: bytes that are free, or None where that isn't known.

        Raises:
            InputError: the largest network doesn't fit into the memory.
        """
        return self.evaluator.rehearse(self.strategy.mixes, room) if isinstance(self.evaluator, Rehearses) else 0

    def answer(self) -> WithinBudget:
        """The architecture to take: the most probable one within the budget, or the best one scored."""
        return self.result().answer

    def front(self) -> list[WithinBudget]:
        """Of a search for several targets, the most probable architecture within each, in the targets' order."""
        return [best_within(own, budget.cost, budget.target) for budget, own in self.strategy.targets]

    def result(self) -> SearchResult:
        """What the search has found so far."""
        seen = self.strategy.expected() or {codes: total / count for codes, (total, count) in self._seen.items()}
        own = deepcopy(self.distribution)
        mode = own.space.decode(max(seen, key=lambda codes: seen[codes])) if seen else own.mode()
        entropy = float(own.entropy().detach())
        return SearchResult(mode, entropy, self._num_samples_total, own, self.budget, seen)

    def files(self) -> dict[str, Any]:
        """arch.json, the most probable architecture within the budget, its layers.json, and result.json.

        Of a search for several targets these are the last one's, and beside them lie an arch-TARGET.json for each, and
        pareto.json, which lists them.
        """
        found = self.result()
        facts = {**self.evaluator.describe(found.arch), "log_prob": found.log_prob}
        result: dict[str, Any] = {
            "kind": self.kind,
            "method": self.method,
            "steps": self.steps_done,
            "num_samples_total": found.num_samples_total,
            "entropy": found.entropy,
            "log_prob": found.log_prob,
            "answer": found.how,
            "learnt": self.learnt,
            "diverged": self._diverged,
            "skipped_steps": self.skips.total,
        }
        result |= {name: facts[name] for name in ("flops", "params") if name in facts}
        if self.budget is not None:
            mode = torch.tensor([self.distribution.space.encode(found.mode)])
            result |= {
                "cost_name": self.budget.cost.name,
                "target": self.budget.target,
                "cost": found.cost,
                "mode_cost": float(self.budget.cost(mode)),
            }
            if len(self.budget.parts) > 1:
                result["budgets"] = self._budgets(found.arch)
        more: dict[str, Any] = {}
        if isinstance(self.evaluator, HasLayers):
            more["layers.json"] = layers = self.evaluator.layers(found.arch)
            result |= memory_in(layers, self.budget)
        return {"arch.json": facts, **more, **self._front_files(), "result.json": result}

    def _budgets(self, arch: Arch) -> list[dict[str, Any]]:
        """Of several budgets each one's name, target and what an architecture costs by it."""
        codes = torch.tensor([self.distribution.space.encode(arch)])
        parts = () if self.budget is None else self.budget.parts
        return [{"cost_name": p.cost.name, "target": p.target, "cost": float(p.cost(codes))} for p in parts]

    def _front_files(self) -> dict[str, Any]:
        budgets = [budget for budget, _ in self.strategy.targets]
        if not budgets:
            return {}
        files: dict[str, Any] = {}
        rows: list[dict[str, Any]] = []
        for budget, answer in zip(budgets, self.front(), strict=True):
            name = f"arch-{name_of(budget.target)}.json"
            files[name] = facts = {**self.evaluator.describe(answer.arch), "log_prob": answer.log_prob}
            row = {"target": budget.target, "arch": name, "cost": answer.cost, "answer": answer.how}
            rows.append(row | {key: facts[key] for key in ("flops", "params", "log_prob") if key in facts})
        return {**files, "pareto.json": {"cost_name": budgets[-1].cost.name, "front": rows}}

    def settings(self) -> dict[str, Any]:
        """What decides the trajectory, the evaluator's settings included."""
        budget = self.budget
        parts = () if budget is None else budget.parts
        measured = [part.cost.digest for part in parts if isinstance(part.cost, Measured)]
        return {
            # A folder's run is one of the same numbers.
            **({"cost_digest": measured[0]} if measured else {}),
            **({"budgets": [f"{part.target:.12g} {part.cost.name}" for part in parts]} if len(parts) > 1 else {}),
            **self.evaluator.settings(),
            "method": self.method,
            "epochs": self.epochs,
            "seed": self.seed,
            "warmup": self.warmup,
            **self.strategy.settings(),
            "cost": budget and budget.cost.name,
            "target": budget and budget.target,
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "evaluator": self.evaluator.state_dict(),
            "strategy": self.strategy.state_dict(),
            "steps_done": self.steps_done,
            "num_samples_total": self._num_samples_total,
            "diverged": self._diverged,
            "skips": self.skips.state_dict(),
            "learnt_steps": self._learnt_steps,
            "epoch_samples": {name: list(values) for name, values in self._epoch_samples.items()},
            "seen": [(list(codes), total, count) for codes, (total, count) in self._seen.items()],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.evaluator.load_state_dict(state["evaluator"])
        self.strategy.load_state_dict(state["strategy"])
        self.steps_done = state["steps_done"]
        self._num_samples_total = state["num_samples_total"]
        self._diverged = state["diverged"]
        self.skips.load_state_dict(state["skips"])
        self._learnt_steps = state.get("learnt_steps", self.steps_done)
        self._epoch_samples = {name: list(values) for name, values in state["epoch_samples"].items()}
        self._seen = {tuple(codes): (total, count) for codes, total, count in state["seen"]}

    def _remember(self, codes: Tensor, score: Tensor | None, cost: Tensor | None) -> None:
        self._epoch_samples["codes"] += codes.tolist()
        self._epoch_samples["score"] += [None] * len(codes) if score is None else score.tolist()
        self._epoch_samples["cost"] += [None] * len(codes) if cost is None else cost.tolist()
        if score is not None and self.strategy.answers_from_seen:
            for row, value in zip(codes.tolist(), score.tolist(), strict=True):
                total, count = self._seen.get(tuple(row), (0.0, 0))
                self._seen[tuple(row)] = total + value, count + 1

    def _epoch_line(self, epoch: int) -> dict[str, Any]:
        """The logits of each cell, and the epoch's architectures with mean log-likelihood an image and cost; of a
        search for several targets the last one's logits, and beside them each one's own."""
        samples, self._epoch_samples = self._epoch_samples, {"codes": [], "score": [], "cost": []}
        targets = self.strategy.targets
        return {
            "epoch": epoch,
            "step": self.steps_done - 1,
            "joined": self.joined,
            "choices": {choice.name: list(choice.options) for choice in self.distribution.space.choices},
            **_alpha(self.distribution),
            "samples": samples,
            **({"targets": [{"target": budget.target, **_alpha(own)} for budget, own in targets]} if targets else {}),
        }


def _alpha(distribution: ArchDistribution) -> dict[str, Any]:
    """The logits of each cell, those that stand for options."""
    rows = [row[used].tolist() for row, used in zip(distribution.logits, distribution.is_option, strict=True)]
    return {"partition": [list(cell) for cell in distribution.partition], "logits": rows}
