"""Two ranks by data equal one process that runs the same two parts of each batch in turn; two ranks by architectures
equal one process on the whole batch. To 1e-5, alpha's course among it, and with a restart from a checkpoint on the way;
weights agree between ranks bit for bit.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import helpers_run as h
import pytest
import torch
import torch.nn.functional as F
import two_ranks_search as two
from torch import Tensor

import fpnas
from fpnas import parallel
from fpnas.elastic import batch_statistics
from fpnas.evaluators.base import Learned
from fpnas.evaluators.ranks import own_rows

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("ranks")
    command = [*TORCHRUN, str(Path(__file__).with_name("two_ranks_search.py")), str(place)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return place


class PartsInTurn(fpnas.SupernetEvaluator):
    """One process, slow and plain: every draw on both parts of the batch, weights from the losses, then the sum."""

    def _of_codes(self, codes: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropies summed over the batch, (K,), each part with its own batch statistics."""
        found = []
        for row in codes.tolist():
            network = self.supernet.select(self.space.decode(row))
            parts = zip(images.tensor_split(2), labels.tensor_split(2), strict=True)
            found.append(sum(F.cross_entropy(network(x), y, reduction="sum") for x, y in parts))
        return torch.stack(found)

    def train_step(self, codes: Tensor, progress: float) -> Learned:
        images, labels = self._next_batch(progress)
        self.supernet.train()
        with batch_statistics(self.supernet):
            losses = self._of_codes(codes, images, labels)
        q = (-losses.detach() / self.temperature).softmax(0)
        loss = (q * losses).sum() / len(labels)
        gradients = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        self._weights.step()
        return Learned(float(loss.detach()))

    @torch.no_grad()
    def score(self, codes: Tensor) -> Tensor:
        images, labels = self._batch(self._val_batches, self._steps - 1)
        with batch_statistics(self.supernet):
            return -self._of_codes(codes, images, labels)

    def mixed_train_step(self, weights: Mapping[str, Tensor], progress: float) -> Learned:
        loss = self._mixed({name: weight.detach() for name, weight in weights.items()}, *self._next_batch(progress))
        gradients = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        self._weights.step()
        return Learned(float(loss.detach()))

    def soft_loss(self, weights: Mapping[str, Tensor]) -> Tensor:
        return self._mixed(weights, *self._batch(self._val_batches, max(0, self._steps - 1)))

    def _mixed(self, weights: Mapping[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        """The mean cross-entropy of both parts' images under the mixture."""
        self.supernet.train()
        with batch_statistics(self.supernet):
            network = self.supernet.mix(weights)
            logits = torch.cat([network(x) for x in images.tensor_split(2)])
        return F.cross_entropy(logits, labels)


def outcome(folder: Path) -> tuple[list[Any], list[Any], dict[str, Tensor], Tensor]:
    state = torch.load(folder / "checkpoint.pt", weights_only=True)["job"]
    metrics = h.without_seconds(h.json_lines(folder / "metrics.jsonl"))
    epochs = h.json_lines(folder / "distribution.jsonl")
    return metrics, epochs, state["evaluator"]["supernet"], state["strategy"]["logits"]


def assert_same_course(found: Path, job: fpnas.Search, joins: bool = True) -> None:
    metrics, epochs, weights, logits = outcome(found)
    for line in metrics:
        record = job.step()
        assert line["num_samples"] == record.metrics["num_samples"]
        for name in ("entropy", "train_loss", "val_loss", "cost_mean"):
            wanted = record.metrics[name]
            wanted = None if wanted is None else pytest.approx(wanted, rel=1e-5, abs=1e-9)
            assert line[name] == wanted, (line["step"], name)
        for log in record.logs.values():
            epoch = epochs[log["epoch"]]
            assert epoch["samples"]["codes"] == log["samples"]["codes"]
            for one, other in zip(epoch["logits"], log["logits"], strict=True):
                assert one == pytest.approx(other, rel=1e-5, abs=1e-6)
    assert len(metrics) == job.steps_done == job.steps_total >= 4
    assert job.joined == joins
    torch.testing.assert_close(logits, job.distribution.logits.detach(), rtol=1e-5, atol=1e-6)
    for name, value in job.evaluator.supernet.state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_two_ranks_by_data_equal_one_process_that_runs_both_parts(folder: Path) -> None:
    assert_same_course(folder / "data", two.search("data", PartsInTurn))


def test_two_ranks_by_architectures_equal_one_process(folder: Path) -> None:
    assert_same_course(folder / "architectures", two.search("architectures"))


@pytest.mark.parametrize("method", two.MIXED)
def test_two_ranks_of_a_mixture_equal_one_process_that_runs_both_parts(folder: Path, method: str) -> None:
    assert_same_course(folder / method, two.mixing(method, PartsInTurn), joins=False)
    assert_same_course(folder / method, two.mixing(method, accumulate=2), joins=False)


def test_accumulated_parts_are_those_of_ranks(folder: Path) -> None:
    """One process with two parts, and with the four that two ranks with two each make."""
    assert_same_course(folder / "data", two.search("data", accumulate=2))
    assert_same_course(folder / "data-in-parts", two.search("data", **{**two.PARTS, "accumulate": 4}))
    assert_same_course(folder / "architectures-in-parts", two.search("architectures", **two.PARTS))


def test_bf16_on_ranks_is_that_of_one_process(folder: Path) -> None:
    """The first step's loss and the entropies, as bfloat16 rounds later ones apart."""
    for kind, accumulate in (("data", 2), ("architectures", 1)):
        job = two.search(kind, precision="bf16", accumulate=accumulate)
        metrics = outcome(folder / f"{kind}-bf16")[0]
        assert metrics[0]["train_loss"] == pytest.approx(job.step().metrics["train_loss"], rel=1e-3)
        losses = [line["train_loss"] for line in metrics]
        assert losses != [line["train_loss"] for line in outcome(folder / kind)[0]]
        assert all(math.isfinite(loss) for loss in losses)


def test_parts_have_statistics_of_their_own(folder: Path) -> None:
    """Otherwise the first test would prove little."""
    losses = [[line["train_loss"] for line in outcome(folder / kind)[0]] for kind in two.KINDS]
    assert max(abs(a - b) for a, b in zip(*losses, strict=True)) > 1e-3


def test_the_settings_name_the_ranks_and_what_they_split(folder: Path) -> None:
    for kind in two.KINDS:
        settings = json.loads((folder / kind / "run.json").read_text())["settings"]
        assert (settings["ranks"], settings["split"]) == (2, kind)


def test_the_dearest_are_dealt_first_and_each_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = torch.tensor([1.0, 7.0, 2.0, 4.0, 3.0, 3.0], dtype=torch.float64)
    monkeypatch.setattr(parallel, "world_size", lambda: 3)
    dealt = []
    for number in range(3):
        monkeypatch.setattr(parallel, "rank", lambda number=number: number)
        dealt.append(own_rows(costs))
    assert dealt == [[1], [0, 2, 3], [4, 5]]


def test_one_process_names_no_ranks() -> None:
    task = fpnas.SupernetEvaluator(h.small_supernet(), h.made_up(), batch_size=8, split="architectures")
    assert "ranks" not in task.settings()
