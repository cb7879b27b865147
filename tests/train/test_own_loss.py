"""A loss of one's own in trainings and in short trainings, and the metric by which these compare networks."""

from __future__ import annotations

import math
from typing import Any

import helpers_run as h
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fpnas
from fpnas.data import ImageData, ImageSet
from fpnas.errors import InputError
from fpnas.evaluators import ProxyEvaluator
from fpnas.evaluators.loss import balanced_weights


def focal(logits: Tensor, labels: Tensor) -> Tensor:
    """Lin et al. 2017, gamma 2: a loss for each image."""
    log_p = logits.log_softmax(1).gather(1, labels[:, None])[:, 0]
    return -((1 - log_p.exp()) ** 2) * log_p


def mean_focal(logits: Tensor, labels: Tensor) -> Tensor:
    return focal(logits, labels).mean()


def training(loss: Any = None, **options: Any) -> fpnas.Training:
    supernet = h.small_supernet()
    network = fpnas.from_scratch(supernet, supernet.arch)
    return fpnas.Training(network, h.made_up(), loss=loss, **{"epochs": 2, "batch_size": 12, **options})


def losses(job: fpnas.Training) -> list[float]:
    return [job.step().metrics["train_loss"] for _ in range(job.steps_total)]


def judge(**options: Any) -> ProxyEvaluator:
    return ProxyEvaluator(h.small_supernet(), h.made_up(), **{"batch_size": 12, "steps": 4, "lr": 0.1, **options})


@pytest.mark.parametrize("form", [F.cross_entropy, nn.CrossEntropyLoss(), nn.CrossEntropyLoss(reduction="none")])
def test_torchs_cross_entropy_as_ones_own_is_the_training_without_smoothing(form: Any) -> None:
    assert losses(training(form)) == pytest.approx(losses(training(label_smoothing=0.0)), rel=1e-6)


def test_a_step_is_that_of_the_loss() -> None:
    job = training(focal, lr=0.1)
    assert losses(job) == pytest.approx(losses(training(mean_focal, lr=0.1)), rel=1e-6)
    fresh = training(focal)
    inputs, labels = fresh._batch()
    fresh.network.train()
    expected = float(focal(fresh.network(inputs), labels).mean().detach())
    assert training(focal).step().metrics["train_loss"] == pytest.approx(expected, rel=1e-6)


def test_settings_name_it_and_say_that_nothing_is_smoothed() -> None:
    settings = training(focal).settings()
    assert (settings["loss"], settings["label_smoothing"]) == ("focal", 0)
    assert training(nn.CrossEntropyLoss()).settings()["loss"] == "CrossEntropyLoss()"
    assert "loss" not in training().settings()
    assert judge(loss=focal).settings()["loss"] == "focal"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mixup": 0.2}, "a loss of your own alone, got mixup too"),
        ({"cutmix": 1.0, "label_smoothing": 0.1}, "got cutmix and label_smoothing too"),
        ({"class_weights": "balanced"}, "got class_weights too"),
    ],
)
def test_what_changes_or_weighs_labels_is_refused_beside_it(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        training(focal, **options)


def test_a_loss_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"or one for each of 12 images, got a tensor of shape \(12, 4\)"):
        training(lambda logits, labels: logits).step()


def by_hand(scores_of: ProxyEvaluator, code: Tensor, metric: str) -> float:
    """From the trained network's logits of the held-back images, one class after another."""
    kept: list[nn.Module] = []
    scores_of._loglik = lambda run: kept.append(run.network) or 0.0  # pyright: ignore
    scores_of.score(code)
    images, labels = next(iter(scores_of._images.values())).at(scores_of._val)
    with torch.no_grad():
        log_p = -F.cross_entropy(kept[0].eval()(images), labels, reduction="none").double()
    if metric == "accuracy":
        return float(log_p.sum())
    classes = [float(log_p[labels == label].mean()) for label in labels.unique()]
    return len(labels) * sum(classes) / len(classes)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy"])
def test_a_score_counts_images_or_classes(metric: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h, "made_up", lambda: unequal())
    code = torch.zeros(1, len(judge().space), dtype=torch.long)
    expected = by_hand(judge(), code, metric)
    found = judge(metric=metric)
    assert found.score(code).item() == pytest.approx(expected, rel=1e-5)
    assert found.settings().get("metric", "accuracy") == metric


def unequal() -> ImageData:
    """Most images are of the first class."""
    images = h.images_of(96, 1)
    kept = torch.tensor([at for at, label in enumerate(images.labels.tolist()) if label == 0 or at % 3 == 0])
    few = ImageSet(images.inputs[kept], images.labels[kept])
    return ImageData.of("unequal", few, h.images_of(16, 2), classes=tuple("abcd"), heldout_from="test")


def test_a_score_is_of_ones_own_loss() -> None:
    code = torch.zeros(1, len(judge().space), dtype=torch.long)
    each, mean = (judge(loss=loss).score(code).item() for loss in (focal, mean_focal))
    assert each == pytest.approx(mean, rel=1e-6)
    assert math.isfinite(each)
    assert each > judge(loss=F.cross_entropy).score(code).item(), "a focal loss is less than the cross entropy"
    same = judge(loss=F.cross_entropy).score(code).item()
    assert same == pytest.approx(judge(label_smoothing=0.0).score(code).item(), rel=1e-5)
    with pytest.raises(InputError, match="a loss for each image, to weigh classes, got one number"):
        judge(loss=mean_focal, metric="balanced_accuracy").score(code)
    with pytest.raises(InputError, match="a known metric of short trainings"):
        judge(metric="macro_f1")


def test_balanced_weights_are_scikit_learns() -> None:
    utils = pytest.importorskip("sklearn.utils.class_weight", reason="needs scikit-learn")
    labels = torch.tensor([0, 0, 0, 2, 2, 3])
    expected = utils.compute_class_weight("balanced", classes=np.array([0, 2, 3]), y=labels.numpy())
    assert balanced_weights(labels, 4)[[0, 2, 3]].tolist() == pytest.approx(expected.tolist())
    assert balanced_weights(labels, 4)[1] == 0


def test_outputs_of_no_class_are_said_and_too_few_are_refused() -> None:
    def of(outputs: int) -> fpnas.Training:
        return fpnas.Training(nn.Sequential(nn.Flatten(), nn.Linear(64, outputs)), h.made_up(), epochs=1)

    with pytest.warns(UserWarning, match="the network has 6 outputs for the 4 classes of 'made-up': it learns not to"):
        job = of(6)
    assert len(job.result().per_class) == 6
    with pytest.raises(InputError, match=r"expected logits of shape \(2, 4\) .*, got \(2, 3\)"):
        of(3)
    assert of(4).network.training
