"""Numbers that go wrong: what isn't finite is skipped and counted, alpha and weights stay finite, and a job that gets
nowhere stops with advice.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import helpers_run as h
import pytest
import torch
from torch import Tensor

import fpnas
from fpnas.errors import DivergedError, InputError
from fpnas.job import PATIENCE
from fpnas.runner import Progress
from fpnas.runner.rehearsal import free_memory
from fpnas.search import CostTerm

BAD = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
SAMPLING = ("fpnas", "fpnas_posterior", "parsec", "reinforce", "random", "evolution")


class Diverging(h.TableEvaluator):
    """A table on which every architecture with kernel 3 or 5 in group b has a score that isn't finite, or all have."""

    def __init__(self, value: float, everything: bool = False) -> None:
        super().__init__(5)
        self.value, self.everything = value, everything

    def score(self, codes: Tensor) -> Tensor:
        scores = super().score(codes)
        return scores.masked_fill((codes[:, 2] > 0) | self.everything, self.value)


def method(name: str, evaluator: Any, budget: fpnas.Budget | None = None, **options: Any) -> fpnas.Search:
    return getattr(fpnas.methods, name)(evaluator, budget, epochs=4, warmup=0.0, **options)


@pytest.mark.parametrize("value", BAD.values(), ids=BAD)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in SAMPLING),
        *(("fpnas", {"lam": 1.0, "baseline": kind}) for kind in ("none", "mean")),
    ],
)
def test_an_architecture_that_diverged_has_no_likelihood(name: str, options: dict[str, Any], value: float) -> None:
    """It is counted, alpha stays finite, and it isn't the answer."""
    job = method(name, Diverging(value), fpnas.Budget(h.TableCost(), 100.0), **options)
    lines = [job.step().metrics for _ in range(job.steps_total)]
    assert bool(job.distribution.logits.isfinite().all())
    counted = sum(line.get("diverged", 0) for line in lines)
    assert counted == job.files()["result.json"]["diverged"] > 0
    assert all(line["val_loss"] is None or math.isfinite(line["val_loss"]) for line in lines)
    if name in ("random", "evolution"):
        assert job.answer().arch["b.kernel"] == 0


@pytest.mark.parametrize("name", ["fpnas", "fpnas_posterior"])
def test_where_all_diverged_alpha_stays_and_the_search_stops(name: str, tmp_path: Path) -> None:
    job = method(name, Diverging(math.nan, everything=True), lam=1.0)
    before = job.distribution.logits.detach().clone()
    job.epochs = 40
    with pytest.raises(DivergedError, match=r"expected a finite loss.*lower learning rate"):
        fpnas.run(job, tmp_path / "run", progress=Progress(), checkpoint_every=3)
    assert job.skips.total == PATIENCE
    assert torch.equal(job.distribution.logits.detach(), before)
    lines = h.json_lines(tmp_path / "run" / "metrics.jsonl")
    assert [line["skipped"] for line in lines] == [True] * (PATIENCE - 1)
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["job"]
    assert state["skips"] == {"total": 18, "in_a_row": 18}
    assert bool(state["strategy"]["logits"].isfinite().all())


def test_a_finite_step_begins_the_count_anew() -> None:
    class Often(Diverging):
        def score(self, codes: Tensor) -> Tensor:
            scores = h.TableEvaluator.score(self, codes)
            return scores * math.nan if len(self.scored) % PATIENCE else scores

    job = method("fpnas", Often(math.nan))
    job.epochs = 12
    for _ in range(job.steps_total):
        job.step()
    assert job.skips.total == 60 - 3
    assert job.skips.in_a_row == 0


def supernet_job(name: str = "fpnas", **options: Any) -> fpnas.Search:
    supernet = h.small_supernet()
    task = fpnas.SupernetEvaluator(supernet, h.made_up(), batch_size=6)
    return getattr(fpnas.methods, name)(task, None, epochs=3, warmup=0.0, **options)


def weights(job: fpnas.Search) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in job.evaluator.supernet.parameters()]


@pytest.mark.parametrize("name", ["fpnas", "darts", "fbnetv2"])
@pytest.mark.parametrize("wrong", ["loss", "gradient"])
def test_weights_stay_where_no_loss_or_no_gradient_is_finite(
    name: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is NaN, or it is finite and its gradient isn't (the root of 0)."""
    job = supernet_job(name)
    job.step()
    before, logits = weights(job), job.distribution.logits.detach().clone()
    entropy = torch.nn.functional.cross_entropy

    def bad(logits: Tensor, labels: Tensor, **options: Any) -> Tensor:
        loss = entropy(logits, labels, **options)
        return loss * math.nan if wrong == "loss" else loss + (0 * loss).sqrt()

    with monkeypatch.context() as patch:
        patch.setattr("fpnas.evaluators.supernet.F.cross_entropy", bad)
        line = job.step().metrics
    assert line["skipped"]
    assert all(torch.equal(one, other) for one, other in zip(weights(job), before, strict=True))
    if name == "darts" or wrong == "loss":
        assert torch.equal(job.distribution.logits.detach(), logits)
    assert "skipped" not in job.step().metrics
    assert not all(torch.equal(one, other) for one, other in zip(weights(job), before, strict=True))
    assert job.files()["result.json"]["skipped_steps"] == 1


def test_one_architecture_that_diverges_leaves_the_others_their_step(monkeypatch: pytest.MonkeyPatch) -> None:
    job = supernet_job(lam=2.0)
    entropy, calls = torch.nn.functional.cross_entropy, [0]

    def bad(logits: Tensor, labels: Tensor, **options: Any) -> Tensor:
        calls[0] += 1
        return entropy(logits, labels, **options) * (math.inf if calls[0] == 1 else 1.0)

    monkeypatch.setattr("fpnas.evaluators.supernet.F.cross_entropy", bad)
    before = weights(job)
    line = job.step().metrics
    assert "skipped" not in line
    assert math.isfinite(line["train_loss"])
    assert not all(torch.equal(one, other) for one, other in zip(weights(job), before, strict=True))


def test_an_exploding_gradient_is_clipped() -> None:
    """SGD's first step is lr * clip at most, in the norm of all weights, however steep the loss."""
    supernet = h.small_supernet()
    with torch.no_grad():
        supernet.module.classifier.weight.mul_(1e4)
    task = fpnas.SupernetEvaluator(
        supernet, h.made_up(), batch_size=6, optimizer="sgd", lr=0.1, clip=0.5, weight_decay=0.0
    )
    before = [parameter.detach().clone() for parameter in supernet.parameters()]
    task.train_step(torch.tensor([[0] * len(task.space)]), 0.0)
    moved = [(p.detach() - b).norm() for p, b in zip(supernet.parameters(), before, strict=True)]
    assert 0 < float(torch.stack(moved).norm()) <= 0.1 * 0.5 * (1 + 0.9) * 1.01


# ------------------------------------------------------------------------------------------------------------ trainings


def training(**options: Any) -> fpnas.Training:
    supernet = h.small_supernet()
    network = fpnas.from_scratch(supernet, supernet.arch)
    return fpnas.Training(network, h.made_up(), **{"epochs": 20, "batch_size": 12, **options})


def test_a_training_skips_what_is_not_finite_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    job = training(ema=0.9)
    job.step()
    before = {name: value.clone() for name, value in job.network.state_dict().items() if "running" not in name}
    loss_of = job._loss  # pyright: ignore[reportPrivateUsage]
    with monkeypatch.context() as patch:
        patch.setattr(job, "_loss", lambda *given: loss_of(*given) * math.nan)
        assert job.step().metrics["skipped"]
    now = job.network.state_dict()
    assert all(torch.equal(now[name], value) for name, value in before.items() if "num_batches" not in name)
    assert "skipped" not in job.step().metrics
    assert all(bool(value.isfinite().all()) for value in job.trained.state_dict().values())


def test_running_statistics_that_were_spoilt_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    job = training()
    normalize = job.data.normalize
    with monkeypatch.context() as patch:
        patch.setattr(type(job.data), "normalize", lambda _, images: normalize(images) * math.nan)
        assert job.step().metrics["skipped"]
    assert all(bool(value.isfinite().all()) for value in job.network.state_dict().values())


def test_a_training_that_diverged_stops_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = training()
    loss_of = job._loss  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(job, "_loss", lambda *given: loss_of(*given) * (1.0 if job.steps_done < 5 else math.inf))
    with pytest.raises(DivergedError, match="lower learning rate"):
        fpnas.run(job, tmp_path / "run", progress=Progress(), checkpoint_every=4)
    again = training()
    again.load_state_dict(torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["job"])
    assert all(bool(value.isfinite().all()) for value in again.network.state_dict().values())
    assert (again.steps_done, again.skips.total) == (24, 19)


# ---------------------------------------------------------------------------------------------- edges that are no error


@pytest.mark.parametrize("target", [15.0, 60.0, 1e9, None])
@pytest.mark.parametrize("name", ["fpnas", "fpnas_posterior"])
def test_a_distribution_that_has_collapsed_goes_on(name: str, target: float | None) -> None:
    """Entropy 0, on the dearest architecture: K is 2, the two are one, everything stays finite, the budget is met."""
    budget = None if target is None else fpnas.Budget(h.TableCost(), target)
    job = method(name, h.TableEvaluator(5), budget, join_at=0.5)
    logits = torch.zeros_like(job.distribution.logits)
    for row, size in zip(logits, h.TABLE_SPACE.cardinalities, strict=True):
        row[size - 1] = 1e5
    job.distribution.set_logits(logits)
    lines = [job.step().metrics for _ in range(job.steps_total)]
    assert (lines[0]["entropy"], lines[0]["num_samples"]) == (0.0, 2)
    assert bool(job.distribution.logits.isfinite().all())
    assert all(math.isfinite(line["entropy"]) and math.isfinite(line["val_loss"]) for line in lines)
    if target is not None:
        assert job.answer().cost <= target


def test_a_target_below_the_smallest_network_is_refused() -> None:
    with pytest.raises(InputError, match="below the smallest network of the space"):
        fpnas.Budget(h.TableCost(), 9.9)


@pytest.mark.parametrize("kind", ["samples", "many", "exact"])
def test_a_target_above_the_largest_network_changes_nothing(kind: Any) -> None:
    """Beyond the record of costs: the same trajectory as without a budget."""
    term = CostTerm(floor=0.05, estimator=kind)
    with_one = method("fpnas", h.TableEvaluator(5), fpnas.Budget(h.TableCost(), 1e9), cost_term=term)
    without = method("fpnas", h.TableEvaluator(5), None, cost_term=term)
    for _ in range(without.steps_total):
        assert with_one.step().metrics | {"cost_mean": None} == without.step().metrics


class NoCost(h.TableCost):
    """Nothing costs anything."""

    def __call__(self, codes: Tensor) -> Tensor:
        return torch.zeros(len(codes), dtype=torch.float64)

    def bounds(self) -> tuple[float, float]:
        return 0.0, 0.0


@pytest.mark.parametrize("kind", ["samples", "many", "exact", None])
def test_costs_that_are_all_zero_are_met_by_all(kind: Any) -> None:
    name, options = ("fpnas_posterior", {}) if kind is None else ("fpnas", {"cost_term": CostTerm(estimator=kind)})
    job = method(name, h.TableEvaluator(5), fpnas.Budget(NoCost(), 1.0), **options)
    without = method(name, h.TableEvaluator(5), None, **options)
    for _ in range(job.steps_total):
        assert job.step().metrics == without.step().metrics | {"cost_mean": 0.0}
    assert job.answer().cost == 0


@pytest.mark.parametrize("size", [0, 1])
def test_a_batch_of_one_is_refused(size: int) -> None:
    with pytest.raises(InputError, match="batch size of 2 or more"):
        fpnas.SupernetEvaluator(h.small_supernet(), h.made_up(), batch_size=size)
    with pytest.raises(InputError, match="batch"):
        training(batch_size=size)


# ------------------------------------------------------------------------------------------------ before the first step


def test_the_rehearsal_leaves_no_trace() -> None:
    one, other = supernet_job(), supernet_job()
    random = torch.get_rng_state()
    assert one.rehearse() > 0
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in one.evaluator.supernet.parameters())
    for _ in range(3):
        assert json.dumps(one.step().metrics) == json.dumps(other.step().metrics)
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


@pytest.mark.parametrize("name", ["fpnas", "darts"])
def test_a_network_without_room_stops_before_there_is_a_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little is free, or the allocator gives up: the same line, and with the batch lowered --out is as new."""
    job = supernet_job(name)
    needed = job.rehearse()
    assert job.rehearse(needed) == needed
    with pytest.raises(InputError, match="lower the batch size"):
        job.rehearse(needed - 1)

    monkeypatch.setattr("fpnas.runner.rehearsal.free_memory", lambda device: 1000)
    with pytest.raises(InputError, match=r"largest network at a batch of 6, got .* MiB needed where 0 MiB are free"):
        fpnas.run(supernet_job(name), tmp_path / "run", progress=Progress())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
    ids=["numpy", "cuda", "cpu"],
)
def test_an_allocator_that_gives_up_is_one_clear_error(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    job = supernet_job()

    def fail(*_: Any, **__: Any) -> Tensor:
        raise error

    monkeypatch.setattr("fpnas.evaluators.supernet.F.cross_entropy", fail)
    with pytest.raises(InputError, match="lower the batch size"):
        job.rehearse()


def test_other_errors_of_a_network_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Tensor:
        raise RuntimeError("a bug")

    job = supernet_job()
    monkeypatch.setattr("fpnas.evaluators.supernet.F.cross_entropy", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        job.rehearse()


def test_what_a_rehearsal_expects_grows_with_the_batch() -> None:
    """Beside the weights' share it is so much for each image."""

    def needed(batch: int) -> int:
        task = fpnas.SupernetEvaluator(h.small_supernet(), h.made_up(), batch_size=batch)
        return task.rehearse()

    four, eight = needed(4), needed(8)
    weights = 3 * sum(p.nbytes for p in h.small_supernet().parameters())
    assert eight - weights == 2 * (four - weights) > 0


def test_the_machine_knows_its_free_memory() -> None:
    free = free_memory()
    assert free is None or free > 2**20
