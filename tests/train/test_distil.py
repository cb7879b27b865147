"""Distillation: the loss against a loop over images and classes, teachers of all kinds, and a gain from a good one."""

from __future__ import annotations

import math

import helpers_run as h
import pytest
import torch
from test_training import steps, training
from torch import Tensor, nn

import fpnas
from fpnas.errors import InputError
from fpnas.train import AtSize
from fpnas.train.distil import distillation_loss, teacher_digest


def by_hand(logits: list[list[float]], taught: list[list[float]], temperature: float) -> float:
    """T^2 / n * sum over images and classes of p (log p - log q)."""
    total = 0.0
    for ours, theirs in zip(logits, taught, strict=True):
        q, p = ([math.exp(value / temperature) for value in row] for row in (ours, theirs))
        q, p = [value / sum(q) for value in q], [value / sum(p) for value in p]
        total += sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(logits)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_loss_is_the_divergence_by_hand(temperature: float) -> None:
    g = torch.Generator().manual_seed(0)
    logits, taught = torch.randn(2, 7, 5, generator=g).double()
    found = distillation_loss(logits, taught, temperature)
    assert found.item() == pytest.approx(by_hand(logits.tolist(), taught.tolist(), temperature))
    assert distillation_loss(taught, taught, temperature).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_a_steps_loss_weighs_labels_and_teacher(weight: float) -> None:
    data = h.made_up()
    seen: list[Tensor] = []
    answers: list[Tensor] = []

    def teacher(images: Tensor) -> Tensor:
        seen.append(images)
        assert not torch.is_grad_enabled()
        return images[:, :, ::4, ::4].flatten(1)[:, :4] * 3

    job = training(data, teacher=teacher, teacher_weight=weight, teacher_temperature=3.0, label_smoothing=0.0)
    job.network.register_forward_hook(lambda _, inputs, output: answers.append(output.detach().double()))
    loss = job.step().metrics["train_loss"]
    labels = data.train.labels[h.numbers_in(seen[0], data)].tolist()
    log_p = answers[0].log_softmax(dim=1)
    plain = -sum(log_p[number, label].item() for number, label in enumerate(labels)) / len(labels)
    taught = (seen[0][:, :, ::4, ::4].flatten(1)[:, :4] * 3).tolist()
    hand = (1 - weight) * plain + weight * by_hand(answers[0].tolist(), taught, 3.0)
    assert loss == pytest.approx(hand, rel=1e-4)


def test_a_teacher_that_knows_the_classes_teaches_without_labels() -> None:
    """A trained network is the teacher, and the labels are all wrong: the pupil learns what the teacher knows."""
    data = h.made_up(train=96)
    teacher = training(data, epochs=12)
    assert steps(teacher)[-1] > 90
    wrong = fpnas.data.ImageSet(data.train.inputs, (data.train.labels + 1) % h.CLASSES)
    shuffled = fpnas.data.ImageData.of("wrong", wrong, data.heldout, classes=data.classes, heldout_from="test")
    before = {name: value.clone() for name, value in teacher.network.state_dict().items()}
    job = training(shuffled, epochs=12, teacher=teacher.network, teacher_weight=1.0)
    assert steps(job)[-1] > 90
    assert all(torch.equal(before[name], value) for name, value in teacher.network.state_dict().items())
    assert not teacher.network.training


def test_a_teacher_of_another_size_sees_images_of_its_own_and_one_of_other_classes_is_refused() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(24 * 24, 3))
    with pytest.raises(InputError, match=r"logits of shape \(12, 4\), got \(12, 3\)"):
        training(h.made_up(), teacher=AtSize(flat, 24)).step()


def test_settings_tell_teachers_apart() -> None:
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    assert teacher_digest(one) == teacher_digest(one)
    assert teacher_digest(one) != teacher_digest(other)
    assert teacher_digest(AtSize(one, 8)) != teacher_digest(one)
    assert teacher_digest(by_hand) == "by_hand"  # pyright: ignore
    assert training(h.made_up()).settings()["teacher"] is None


def test_fields_of_a_teacher_that_is_not_there_are_warned_about() -> None:
    with pytest.warns(UserWarning, match="without a teacher"):
        training(h.made_up(), teacher_weight=0.9)
