"""Two ranks under torchrun equal one process that runs both parts of each batch one after the other.

Equal bit for bit are weights, averaged weights and, of the batch norms, running statistics, which are those of rank 0's
parts; losses are equal to rounding. Each part has its own batch statistics and draws, as in any data-parallel training.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import helpers_run as h
import pytest
import torch
import torch.nn.functional as F
import two_ranks
from safetensors.torch import load_file
from torch import Tensor

import fpnas
from fpnas import parallel
from fpnas.cli import main
from fpnas.streams import as_global, generator
from fpnas.train.class_weights import weight_tensor
from fpnas.train.distil import distillation_loss

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")

pytestmark = pytest.mark.timeout(300)


def torchrun(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*TORCHRUN, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("ranks")
    done = torchrun(Path(__file__).with_name("two_ranks.py"), place)
    assert done.returncode == 0, done.stderr
    return place


def as_rank(patch: pytest.MonkeyPatch, number: int) -> None:
    """Lets this process take the part, and the draws, of one of two ranks."""
    share: Callable[[Tensor], Tensor] = lambda values: values.tensor_split(2)[number]  # noqa: E731
    patch.setattr(parallel, "share", share)
    patch.setattr(parallel, "rank", lambda: number)


def both_parts_by_hand(patch: pytest.MonkeyPatch) -> tuple[list[float], dict[str, Tensor], dict[str, Tensor]]:
    """Losses, weights and averaged weights of a training whose steps add up the gradients of both parts."""
    job = two_ranks.training()
    losses = []
    for number in range(job.steps_total):
        for group in job._optimizer.param_groups:
            group["lr"] = job.recipe.rate(number, job.steps_total)
        whole = len(job._order.batch(number))
        gradients, loss_of_all, statistics = [], 0.0, {}
        before = {name: value.clone() for name, value in job.network.named_buffers()}
        for part in (0, 1):
            as_rank(patch, part)
            for name, value in job.network.named_buffers():
                value.copy_(before[name])
            images, targets = job._batch()
            job._running.train()
            with as_global(generator(job.seed, "train", "network", number, part)):
                logits = job._running(images)
            loss = job._loss(logits, images, targets) * len(images) / whole
            gradients.append(torch.autograd.grad(loss, list(job.network.parameters())))
            loss_of_all += loss.item()
            if part == 0:
                statistics = {name: value.clone() for name, value in job.network.named_buffers()}
        for name, value in job.network.named_buffers():
            value.copy_(statistics[name])
        for p, one, other in zip(job.network.parameters(), *gradients, strict=True):
            p.grad = one + other
        job._optimizer.step()
        job._average.update_parameters(job.network)
        job.steps_done += 1
        losses.append(loss_of_all)
    patch.undo()
    return losses, job.network.state_dict(), job.trained.state_dict()


def test_two_ranks_equal_one_process_that_runs_both_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses, network, trained = both_parts_by_hand(monkeypatch)
    lines = h.json_lines(folder / "unbroken" / "metrics.jsonl")
    assert [line["train_loss"] for line in lines] == pytest.approx(losses, rel=1e-5)
    state = torch.load(folder / "unbroken" / "checkpoint.pt", weights_only=True)["job"]
    weights = load_file(folder / "unbroken" / "model.safetensors")
    assert set(state["network"]) == set(network) == set(weights)
    for name in network:
        assert torch.equal(state["network"][name], network[name]), name
        assert torch.equal(weights[name], trained[name]), name
    assert not all(torch.equal(network[name], trained[name]) for name in network)


@pytest.mark.parametrize("name", ["weighted", "weighted-mixed"])
def test_class_weights_of_two_ranks_are_those_of_the_whole_batch(folder: Path, name: str) -> None:
    """The first step's gradient, by torch's own loss of the whole batch's logits, each part with its own statistics."""
    job = two_ranks.weighted() if name == "weighted" else two_ranks.training(class_weights=two_ranks.WEIGHTS)
    weights = weight_tensor(two_ranks.WEIGHTS, job.data).float()
    parts = []
    with pytest.MonkeyPatch.context() as patch:
        for part in (0, 1):
            as_rank(patch, part)
            images, targets = job._batch()
            job._running.train()
            with as_global(generator(job.seed, "train", "network", 0, part)):
                parts.append((job._running(images), images, targets))
    logits, images, targets = (torch.cat(values) for values in zip(*parts, strict=True))
    loss = F.cross_entropy(logits, targets, weights, label_smoothing=0.05)
    if job.teacher is not None:
        loss = torch.lerp(loss, distillation_loss(logits, job.teacher(images), 2.0), 0.25)
    first = h.json_lines(folder / name / "metrics.jsonl")[0]["train_loss"]
    assert first == pytest.approx(loss.item(), rel=1e-5)
    for group in job._optimizer.param_groups:
        group["lr"] = job.recipe.rate(0, job.steps_total)
    for p, g in zip(job.network.parameters(), torch.autograd.grad(loss, list(job.network.parameters())), strict=True):
        p.grad = g
    job._optimizer.step()
    stopped = torch.load(folder / f"{name}-first" / "checkpoint.pt", weights_only=True)["job"]["network"]
    for parameter, value in job.network.named_parameters():
        torch.testing.assert_close(stopped[parameter], value.detach(), rtol=1e-4, atol=1e-6)


def course(folder: Path) -> tuple[list[float], dict[str, Tensor]]:
    """Losses, and the weights and statistics at the end."""
    state = torch.load(folder / "checkpoint.pt", weights_only=True)["job"]
    return [line["train_loss"] for line in h.json_lines(folder / "metrics.jsonl")], state["network"]


def assert_same_course(folder: Path, job: fpnas.Training, statistics: bool = False) -> None:
    """Losses and weights; running statistics, which are those of rank 0's images, where they should agree."""
    losses, network = course(folder)
    assert losses == pytest.approx([job.step().metrics["train_loss"] for _ in range(job.steps_total)], rel=1e-4)
    for name, value in job.network.state_dict().items():
        if statistics or ("running" not in name and "num_batches" not in name):
            torch.testing.assert_close(network[name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_parts_that_are_accumulated_are_those_of_ranks(folder: Path) -> None:
    """Two ranks with two parts each, with class weights, and one process with four."""
    assert_same_course(folder / "in-parts", two_ranks.plain(accumulate=4, class_weights=two_ranks.WEIGHTS))
    losses, _ = course(folder / "in-parts")
    whole = two_ranks.plain(class_weights=two_ranks.WEIGHTS)
    assert abs(losses[0] - whole.step().metrics["train_loss"]) > 1e-3, "batch norms see the parts"


@pytest.mark.parametrize("accumulate", [1, 3])
def test_accumulated_gradients_are_those_of_the_parts_losses(accumulate: int) -> None:
    """By torch's own loss of the whole batch's logits, each part with its own statistics."""
    job, slow = two_ranks.plain(accumulate=accumulate), two_ranks.plain()
    images, targets = slow._batch()
    slow.network.train()
    logits = torch.cat([slow.network(part) for part in images.tensor_split(accumulate)])
    F.cross_entropy(logits, targets, label_smoothing=slow.recipe.label_smoothing).backward()
    for group in slow._optimizer.param_groups:
        group["lr"] = slow.recipe.rate(0, slow.steps_total)
    slow._optimizer.step()
    job.step()
    for (name, value), wanted in zip(job.network.named_parameters(), slow.network.parameters(), strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-4, atol=1e-6, msg=name)


def test_synchronised_batch_norms_are_those_of_the_whole_batch(folder: Path) -> None:
    assert_same_course(folder / "synchronised", two_ranks.plain(), statistics=True)
    weights = load_file(folder / "synchronised" / "model.safetensors")
    assert set(weights) == set(two_ranks.plain().network.state_dict()), "named as without"


def test_bf16_on_ranks_is_near_that_of_one_process(folder: Path) -> None:
    losses, _ = course(folder / "bf16")
    job = two_ranks.plain(precision="bf16", accumulate=2)
    assert losses[0] == pytest.approx(job.step().metrics["train_loss"], rel=1e-3)
    assert losses[0] != two_ranks.plain(accumulate=2).step().metrics["train_loss"]


def test_one_process_says_that_it_has_nothing_to_synchronise() -> None:
    with pytest.warns(UserWarning, match="sync_batch_norm has no effect on one process"):
        job = two_ranks.plain(sync_batch_norm=True)
    assert job.settings()["sync_batch_norm"] is True


def test_two_ranks_differ_from_one(folder: Path) -> None:
    """Otherwise the test above would prove little: batch norms of halves aren't those of the whole."""
    job = two_ranks.training()
    losses = [job.step().metrics["train_loss"] for _ in range(job.steps_total)]
    found = [line["train_loss"] for line in h.json_lines(folder / "unbroken" / "metrics.jsonl")]
    assert len(found) == len(losses)
    assert max(abs(one - other) for one, other in zip(found, losses, strict=True)) > 1e-3


def test_a_stopped_training_of_two_ranks_goes_on_bit_for_bit(folder: Path) -> None:
    assert h.outcome(folder / "stopped") == h.outcome(folder / "unbroken")
    settings = json.loads((folder / "unbroken" / "run.json").read_text())["settings"]
    assert settings["ranks"] == 2


def test_without_torchrun_each_word_is_the_identity() -> None:
    with parallel.ranks():
        assert (parallel.world_size(), parallel.rank()) == (1, 0)
    value = torch.arange(4.0)
    assert parallel.mean(value) is value
    assert parallel.share(value) is value
    assert parallel.broadcast(value) is value
    assert [parallel.anywhere(flag) for flag in (False, True)] == [False, True]


@pytest.mark.soak
def test_the_command_line_under_torchrun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line on stdout, files written once, and another number of ranks is another run."""
    choices = {f"group{n}.{k}": v for n in range(1, 5) for k, v in {"kernel": 3, "act": "relu", "splits": 0}.items()}
    choices |= {f"group{n}.expansion": 2 for n in range(1, 5)}
    choices |= {f"group{n}.channels": c for n, c in enumerate((16, 24, 40, 64), start=1)}
    (tmp_path / "arch.json").write_text(json.dumps({"space": "tiny", "choices": choices}))
    line = f"train {tmp_path}/arch.json --data digits --image-size 16 --max-steps 3 --threads 1 --out {tmp_path}/out"
    arguments = [*line.split(), "--batch-size", "32"]
    done = torchrun("-m", "fpnas", *arguments)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert len(h.json_lines(tmp_path / "out" / "metrics.jsonl")) == 3
    assert main(arguments) == 2
    assert "ranks 1 where the run in" in capsys.readouterr().err


@pytest.mark.parametrize(("rank", "said"), [(None, True), ("0", True), ("1", False)])
def test_of_torchruns_ranks_the_first_alone_warns(
    rank: str | None, said: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also before they have met: images are read, and warned of, by each."""
    if rank is not None:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
        monkeypatch.setenv("RANK", rank)
    with warnings.catch_warnings(), monkeypatch.context() as patch:
        warnings.simplefilter("always")
        patch.setattr(warnings, "showwarning", warnings.showwarning)
        patch.setattr("fpnas.spaces.SPACES", {"tiny": h.small_tiny})
        main(["spaces", "--json"])
        warnings.warn("2 of 5 held-out images are nearly equal", stacklevel=1)
    assert ("warning: 2 of 5 held-out images" in capsys.readouterr().err) == said
