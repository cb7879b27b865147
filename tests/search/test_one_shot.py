"""One-shot random search and evolution: weights that learn, then stay, and one fixed set of images for all."""

from __future__ import annotations

from typing import Any

import helpers_run as h
import pytest
import torch
import torch.nn.functional as F

import fpnas
from fpnas.evaluators import FixedJudge


def task_of(**options: Any) -> fpnas.SupernetEvaluator:
    settings = {"batch_size": 6, "optimizer": "sgd", "lr": 0.05, "seed": 4, "judged_on": 10, **options}
    return fpnas.SupernetEvaluator(h.small_supernet(double=True), h.made_up(), **settings)


@pytest.mark.parametrize("name", ["random", "evolution"])
def test_the_weights_stay_once_frozen(name: str) -> None:
    task = task_of()
    more: dict[str, Any] = {"population": 6, "tournament": 2} if name == "evolution" else {}
    search = fpnas.methods.METHODS[name](task, None, epochs=4, frozen=True, warmup=0.5, num_samples=3, **more)
    before = None
    for number in range(search.steps_total):
        if number == search.steps_total // 2:
            before = {key: value.clone() for key, value in task.supernet.state_dict().items()}
        metrics = search.step().metrics
        assert (metrics["train_loss"] is None) == (number >= search.steps_total // 2)
        assert (metrics["val_loss"] is None) == (number < search.steps_total // 2)
    assert before is not None
    assert all(torch.equal(value, before[key]) for key, value in task.supernet.state_dict().items())
    answer = search.result()
    assert len(answer.seen) > 3
    # Looked at again, each has the score that it had: the images are the same.
    codes = torch.tensor(list(answer.seen))
    again = task.judge(codes) / task.num_judged
    torch.testing.assert_close(again, torch.tensor(list(answer.seen.values()), dtype=torch.float64), rtol=1e-9, atol=0)
    assert answer.seen[task.space.encode(answer.arch)] == max(answer.seen.values())


def test_frozen_weights_have_had_all_of_their_learning_rate() -> None:
    task = task_of()
    asked: list[float] = []
    learn = task.train_step
    task.train_step = lambda codes, progress: asked.append(progress) or learn(codes, progress)  # type: ignore[method-assign]
    search = fpnas.methods.random(task, None, epochs=4, frozen=True, warmup=0.5, num_samples=2)
    for _ in range(search.steps_total):
        search.step()
    half = search.steps_total // 2
    assert asked == [step / half for step in range(half)]


def test_judging_is_the_slow_way_and_on_the_alpha_half_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fpnas.evaluators.supernet.JUDGED_AT_ONCE", 4)
    task = task_of()
    assert isinstance(task, FixedJudge)
    codes = fpnas.ArchDistribution(task.space).sample(7, torch.Generator().manual_seed(0))
    codes[3] = codes[0]
    found = task.judge(codes)
    assert found[3] == found[0]
    numbers = task._judged.tolist()
    assert set(numbers) <= set(task._val.tolist())
    assert len(set(numbers)) == task.num_judged == 10
    chunks = task._judged.tensor_split(2)  # 10 images in chunks of about 4
    task.supernet.train()
    for row, value in zip(codes.tolist(), found.tolist(), strict=True):
        total = 0.0
        for chunk in chunks:
            images, labels = task.data.normalize(task.data.train.inputs[chunk]), task.data.train.labels[chunk]
            with fpnas.elastic.batch_statistics(task.supernet), torch.no_grad():
                logits = task.supernet.select(task.space.decode(row))(images)
            total -= float(F.cross_entropy(logits, labels, reduction="sum"))
        assert value == pytest.approx(total, rel=1e-6)


def test_a_table_cannot_be_frozen() -> None:
    with pytest.raises(fpnas.InputError, match="whose weights can be frozen, got TableEvaluator"):
        fpnas.methods.random(h.TableEvaluator(), None, frozen=True)
