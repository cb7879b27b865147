"""A race equals scoring the same chunks: exactly for what runs to the end, within its stated risk for what stops."""

from __future__ import annotations

import math
from typing import Any

import helpers_run as h
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import fpnas
from fpnas.elastic import batch_statistics
from fpnas.errors import InputError
from fpnas.evaluators import Racing
from fpnas.evaluators.racing import race, student


def raced(losses: Tensor, racing: Racing) -> tuple[Tensor, list[tuple[int, int]]]:
    """Scores of (architectures, images) log-likelihoods, and what was looked at."""
    sizes, looks = racing.sizes(losses.shape[1]), []
    parts = losses.split(sizes, dim=1)

    def judge(number: int, chunk: int) -> Tensor:
        looks.append((number, chunk))
        return parts[chunk][number]

    return race(judge, len(losses), sizes, racing), looks


def test_students_quantiles_are_the_printed_ones() -> None:
    printed = {(7, 0.05): 1.895, (15, 0.01): 2.602, (7, 0.001): 4.785, (15, 0.001): 3.733, (47, 0.001): 3.273}
    for (freedom, risk), quantile in printed.items():
        assert student(freedom, risk) == pytest.approx(quantile, rel=4e-3)


@pytest.mark.parametrize("tails", ["normal", "laplace"])
def test_what_matters_is_lost_no_more_often_than_the_risk(tails: str) -> None:
    """800 races of two; the gap is such that the second's weight is about the negligible one: the worst case."""
    g = torch.Generator().manual_seed(0)
    risk, images, lost, stopped = 0.05, 64, 0, 0
    racing = Racing(chunks=4, negligible=1e-3, risk=risk)
    for _ in range(800):
        noise = torch.rand(images, generator=g, dtype=torch.float64)
        if tails == "normal":
            noise = torch.special.ndtri(noise)
        else:
            noise = -(noise - 0.5).sign() * (1 - 2 * (noise - 0.5).abs()).log()
        first = -torch.rand(images, generator=g, dtype=torch.float64) - 2
        losses = torch.stack([first, first + math.log(1e-3) / images + 0.3 * noise])
        found, looks = raced(losses, racing)
        early = len(looks) < 8
        gap = float((losses.sum(1)[1] - losses.sum(1)[0]).abs())
        stopped += early
        lost += early and gap < -math.log(1e-3)
        assert found.max() == pytest.approx(float(losses.sum(1)[found.argmax()]))
    assert stopped > 8, "races that never stop prove nothing"
    assert lost / 800 <= 3 * risk, "three looks a race"


def test_without_what_is_negligible_a_race_is_the_sum_of_its_chunks() -> None:
    g = torch.Generator().manual_seed(1)
    losses = -torch.rand(5, 40, generator=g, dtype=torch.float64) * torch.arange(1, 6)[:, None] * 9
    found, looks = raced(losses, Racing(chunks=4, negligible=0.0))
    assert len(looks) == 20
    torch.testing.assert_close(found, losses.sum(1), rtol=0, atol=1e-9)


def test_the_far_behind_stop_at_once_and_their_weights_are_negligible() -> None:
    g = torch.Generator().manual_seed(2)
    losses = -torch.rand(6, 64, generator=g, dtype=torch.float64) - torch.arange(6)[:, None] * 0.8
    found, looks = raced(losses, Racing(chunks=4))
    assert len(looks) < 14 < 24
    exact = losses.sum(1)
    assert found[0] == pytest.approx(float(exact[0]))
    assert (found.softmax(0) - exact.softmax(0)).abs().max() < 1e-3


def test_networks_that_diverge_stop_without_a_likelihood() -> None:
    losses = -torch.ones(3, 32, dtype=torch.float64)
    losses[1, 3] = math.nan
    found, looks = raced(losses, Racing(chunks=2))
    assert found.tolist() == [-32.0, -math.inf, -32.0]
    assert (1, 1) not in looks


def task_of(**options: Any) -> fpnas.SupernetEvaluator:
    return fpnas.SupernetEvaluator(h.small_supernet(double=True), h.made_up(), batch_size=24, **options)


def codes_of(task: fpnas.SupernetEvaluator, count: int) -> Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.stack([torch.randint(0, n, (count,), generator=g) for n in task.space.cardinalities], dim=1)


def test_a_supernets_race_equals_scoring_the_same_chunks() -> None:
    task = task_of(racing=Racing(chunks=3, temperature=0.05, negligible=1e-2, risk=0.05))
    codes = codes_of(task, 12)
    images, labels = task._batch(task._val, task._val_order, step=0)
    wanted = torch.zeros(len(codes), dtype=torch.float64)
    with torch.no_grad(), batch_statistics(task.supernet):
        for number, row in enumerate(codes.tolist()):
            for part, targets in zip(images.tensor_split(3), labels.tensor_split(3), strict=True):
                logits = task.supernet.select(task.space.decode(row))(part)
                wanted[number] -= F.cross_entropy(logits, targets, reduction="sum")
    ran: list[int] = []
    task.supernet.register_forward_pre_hook(lambda _, inputs: ran.append(len(inputs[0])))
    found = task.score(codes)
    assert set(ran) == {8}
    assert len(ran) < 3 * len(codes.unique(dim=0)), "none stopped"
    q, exact = (found / 0.05).softmax(0), (wanted / 0.05).softmax(0)
    assert (q - exact).abs().max() < 1e-2
    assert found.max() == pytest.approx(float(wanted.max()), rel=1e-12)
    whole = task_of(racing=Racing(chunks=3, negligible=0.0)).score(codes)
    torch.testing.assert_close(whole, wanted, rtol=1e-12, atol=0)
    assert (task_of().score(codes) - wanted).abs().max() > 1e-3, "chunks have statistics of their own"


def test_settings_and_refusals() -> None:
    assert task_of().settings()["racing"] is None
    assert task_of(racing=Racing(chunks=2)).settings()["racing"] == {
        "chunks": 2,
        "temperature": "product",
        "negligible": 1e-3,
        "risk": 1e-3,
    }
    with pytest.raises(InputError, match="at least 32 images for 4 chunks"):
        task_of(racing=Racing())
    for wrong in ({"chunks": 0}, {"negligible": 1.0}, {"risk": 0.0}, {"temperature": 0.0}):
        with pytest.raises(InputError):
            Racing(**wrong)
