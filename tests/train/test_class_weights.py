"""Class weights: a training's loss and gradient are torch's own `cross_entropy(weight=)`, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import helpers_run as h
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_training import training
from torch import Tensor, nn

import fpnas
from fpnas.data import ImageData, TensorData
from fpnas.errors import InputError
from fpnas.runner import Progress
from fpnas.train.class_weights import weight_tensor
from fpnas.train.distil import distillation_loss

GIVEN = {"a": 0.5, "b": 1, "c": 4.0, "d": 20.0}


def unequal(images: tuple[int, ...] = (30, 9, 6, 1)) -> ImageData:
    """Made-up images, so many of each class."""
    whole = h.images_of(200, 1)
    chosen = torch.cat([(whole.labels == label).nonzero()[:count, 0] for label, count in enumerate(images)])
    train = whole.subset(chosen)
    return ImageData.of("unequal", train, h.images_of(16, 2), classes=tuple("abcd"), heldout_from="test")


def rows(labels: Tensor, classes: int) -> TensorData:
    names = tuple(f"class {number}" for number in range(classes))
    return TensorData.of("rows", torch.ones(len(labels), 2), labels, (torch.ones(1, 2), labels[:1]), classes=names)


@pytest.mark.parametrize("images", [(30, 9, 6, 1), (7, 7, 7, 7), (1, 1, 1, 45)])
def test_balanced_is_scikit_learns(images: tuple[int, ...]) -> None:
    weigh = pytest.importorskip("sklearn.utils.class_weight", reason="needs scikit-learn").compute_class_weight
    data = unequal(images)
    wanted = weigh("balanced", classes=np.arange(4), y=data.train.labels.numpy())
    assert weight_tensor("balanced", data).tolist() == pytest.approx(wanted.tolist())


def test_a_thousand_classes_some_with_one_image_and_an_empty_one() -> None:
    """Each class that has images counts the same altogether; the one without counts nothing."""
    labels = torch.arange(1000).repeat_interleave(1 + torch.arange(1000) % 5)
    labels = labels[labels != 7]
    weights = weight_tensor("balanced", rows(labels, 1000))
    shares = torch.zeros(1000, dtype=torch.float64).scatter_add(0, labels, weights[labels])
    assert float(weights[7]) == 0
    torch.testing.assert_close(shares[torch.arange(1000) != 7], torch.full((999,), len(labels) / 999).double())
    assert float(weights[labels].mean()) == pytest.approx(1)


def test_given_weights_keep_their_ratios_at_a_mean_of_1_over_the_training_images() -> None:
    data = unequal()
    weights = weight_tensor(GIVEN, data)
    assert (weights / weights[1]).tolist() == pytest.approx(list(GIVEN.values()))
    assert float(weights[data.train.labels].mean()) == pytest.approx(1)


class Watched:
    """A training whose batch and logits are noted at each step."""

    def __init__(self, data: ImageData, **options: Any) -> None:
        self.job = training(data, **{"batch_size": 16, **options})
        self.logits = torch.empty(0)
        self.targets = torch.empty(0)
        self.job.network.register_forward_hook(self.note)
        batch = self.job._batch

        def noted() -> tuple[Tensor, Tensor]:
            images, self.targets = batch()
            return images, self.targets

        self.job._batch = noted

    def note(self, network: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if network.training:
            self.logits = output.detach().double()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("mixing", [{}, {"mixup": 0.4}, {"cutmix": 1.0}], ids=["labels", "mixup", "cutmix"])
@pytest.mark.parametrize("given", ["balanced", GIVEN], ids=["balanced", "given"])
def test_the_loss_of_each_step_is_torchs(given: Any, mixing: dict[str, float], smoothing: float) -> None:
    data = unequal()
    watched = Watched(data, class_weights=given, label_smoothing=smoothing, **mixing)
    weights = weight_tensor(given, data)
    plain = []
    for _ in range(3):
        loss = watched.job.step().metrics["train_loss"]
        targets = watched.targets.double() if mixing else watched.targets
        wanted = F.cross_entropy(watched.logits, targets, weights, label_smoothing=smoothing)
        assert loss == pytest.approx(wanted.item(), rel=1e-4)
        plain.append(loss - F.cross_entropy(watched.logits, targets, label_smoothing=smoothing).item())
    assert max(map(abs, plain)) > 1e-3, "weights that change nothing would prove little"


def test_the_mean_of_labels_divides_by_the_sum_of_the_images_weights() -> None:
    """By hand, without torch's function; the scale of the weights is nothing."""
    watched = Watched(unequal(), class_weights=GIVEN, label_smoothing=0.0)
    loss = watched.job.step().metrics["train_loss"]
    labels = watched.targets.tolist()
    shares = [list(GIVEN.values())[label] for label in labels]
    losses = [-float(row.log_softmax(0)[label]) for row, label in zip(watched.logits, labels, strict=True)]
    assert loss == pytest.approx(sum(s * v for s, v in zip(shares, losses, strict=True)) / sum(shares), rel=1e-4)


def test_a_teachers_part_of_the_loss_is_without_weights() -> None:
    seen: list[Tensor] = []

    def teacher(images: Tensor) -> Tensor:
        seen.append(images[:, 0, ::4, ::4].flatten(1)[:, :4])
        return seen[-1]

    data = unequal()
    watched = Watched(data, class_weights="balanced", teacher=teacher, teacher_weight=0.3)
    loss = watched.job.step().metrics["train_loss"]
    weights = weight_tensor("balanced", data)
    labels = F.cross_entropy(watched.logits, watched.targets, weights, label_smoothing=0.05)
    taught = distillation_loss(watched.logits, seen[0].double(), 2.0)
    assert loss == pytest.approx(0.7 * labels.item() + 0.3 * taught.item(), rel=1e-4)


def test_weights_of_equal_classes_change_nothing() -> None:
    data = unequal((8, 8, 8, 8))
    one, other = training(data), training(data, class_weights="balanced")
    for _ in range(3):
        assert one.step().metrics["train_loss"] == pytest.approx(other.step().metrics["train_loss"], rel=1e-5)


def test_a_rare_class_is_recognised_more_often() -> None:
    """Noise on two classes that overlap: without weights the rare one is hardly ever named."""
    found = []
    for weights in (None, "balanced"):
        g = torch.Generator().manual_seed(0)
        labels = (torch.rand(600, generator=g) < 0.08).long()
        inputs = torch.randn(600, 2, generator=g) + labels[:, None]
        data = TensorData.of("rows", inputs, labels, classes=("usual", "rare"))
        net = nn.Linear(2, 2)
        nn.init.zeros_(net.weight)
        nn.init.zeros_(net.bias)
        job = fpnas.Training(net, data, epochs=10, batch_size=64, class_weights=weights)
        for _ in range(job.steps_total):
            job.step()
        found.append(job.result())
    plain, balanced = (each.per_class[1].recall for each in found)
    assert plain is not None
    assert balanced is not None
    assert balanced > plain + 30
    assert found[1].balanced_accuracy > found[0].balanced_accuracy + 10
    assert found[1].accuracy < found[0].accuracy


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("balance", "did you mean 'balanced'"),
        ({"a": 1.0, "b": 1.0}, "a weight for each of 4 classes, got none for 'c', 'd'"),
        ({**GIVEN, "e": 1.0}, "a known class, got 'e'"),
        ({**GIVEN, "a": 0.0}, "class weights from 1e-06 to 1e+06, got 0.0 for 'a'"),
        ({**GIVEN, "a": float("nan")}, "got nan for 'a'"),
        ({**GIVEN, "a": "1"}, "got '1' for 'a'"),
        ({**GIVEN, "a": True}, "got True for 'a'"),
    ],
)
def test_what_makes_no_sense_is_refused(given: Any, words: str) -> None:
    with pytest.raises(InputError, match=words.replace("+", r"\+")):
        training(unequal(), class_weights=given)


def test_weights_without_labels_in_the_loss_are_refused() -> None:
    with pytest.raises(InputError, match="teacher_weight below 1"):
        training(unequal(), class_weights="balanced", teacher=len, teacher_weight=1.0)


def test_a_run_records_its_weights_and_refuses_others(tmp_path: Path) -> None:
    def go(stop: int, **options: Any) -> Any:
        job = training(unequal(), batch_size=16, **options)
        return fpnas.run(job, tmp_path / "run", max_steps=stop, progress=Progress())

    go(2, class_weights=GIVEN)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["settings"]["class_weights"] == GIVEN
    for other in ({}, {"class_weights": "balanced"}, {"class_weights": {**GIVEN, "a": 0.6}}):
        with pytest.raises(InputError, match="class_weights"):
            go(4, **other)
    assert go(4, class_weights=GIVEN).num_images == 16
