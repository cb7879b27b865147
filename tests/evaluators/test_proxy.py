"""Short trainings as a judge, against a training written out here, and what a search makes of them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import helpers_run as h
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import fpnas
from fpnas.data import EpochOrder, TensorData, stratified_split
from fpnas.data.augment import flipped, padded_crop
from fpnas.elastic import Conv2d, Linear
from fpnas.errors import InputError
from fpnas.evaluators import ProxyEvaluator
from fpnas.streams import generator


def judge(**options: Any) -> ProxyEvaluator:
    """Of the small supernet on made-up images, 12 a step."""
    return ProxyEvaluator(h.small_supernet(), h.made_up(), **{"batch_size": 12, "steps": 6, "lr": 0.1, **options})


def codes_of(evaluator: ProxyEvaluator, *rows: tuple[int, ...]) -> Tensor:
    sizes = torch.tensor(evaluator.space.cardinalities)
    return torch.stack([torch.tensor(row) % sizes for row in rows])


def some(evaluator: ProxyEvaluator) -> Tensor:
    count = len(evaluator.space)
    return codes_of(evaluator, (0,) * count, (1,) * count, (1, 0) * (count // 2) + (1,) * (count % 2))


def by_hand(evaluator: ProxyEvaluator, code: Tensor, augment: bool = False, steps: int = 6, lr: float = 0.1) -> float:
    """The same training with torch alone."""
    data, space = h.made_up(), evaluator.space
    train, val = stratified_split(data.train.labels, 0.2, 0)
    network = fpnas.from_scratch(h.small_supernet(), space.decode(code.tolist()), 0)
    network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    rule = torch.optim.SGD(network.parameters(), lr, 0.9, weight_decay=1e-4, nesterov=True)
    order = EpochOrder(len(train), 12, 0, "proxy")
    for step in range(steps):
        rule.param_groups[0]["lr"] = (
            lr * min(1, 10 * (step + 1) / steps) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        )
        chosen = train[order.batch(step)]
        images = data.train.inputs[chosen]
        if augment:
            stream = generator(0, "proxy", "augment", step, 0)
            images = flipped(padded_crop(images, stream), stream)
        logits = network(data.normalize(images))
        rule.zero_grad()
        F.cross_entropy(logits, data.train.labels[chosen], label_smoothing=0.05).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        rule.step()
    network.eval()
    with torch.no_grad():
        logits = network(data.normalize(data.train.inputs[val]))
        return -float(F.cross_entropy(logits, data.train.labels[val], reduction="sum"))


def test_a_score_is_that_of_a_training_from_scratch() -> None:
    evaluator = judge()
    codes = some(evaluator)
    expected = [by_hand(evaluator, code) for code in codes]
    assert evaluator.score(codes).tolist() == pytest.approx(expected, rel=1e-5)
    assert len(set(expected)) == 3


def test_crops_and_mirror_images_are_for_training_alone() -> None:
    evaluator = judge(crop="pad", flip=True)
    codes = some(evaluator)
    expected = [by_hand(evaluator, code, augment=True) for code in codes]
    assert evaluator.score(codes).tolist() == pytest.approx(expected, rel=1e-5)
    assert expected != pytest.approx(judge().score(codes).tolist(), rel=1e-3)
    settings = evaluator.settings()
    assert (settings["crop"], settings["flip"]) == ("pad", True)
    assert settings.keys() - judge().settings().keys() == {"crop", "flip"}, "without them a run is the one it was"


def test_an_architecture_has_one_score_whatever_it_is_looked_at_with() -> None:
    codes = some(judge())
    together = judge().score(codes)
    assert torch.equal(judge().score(codes[[1]]), together[[1]])
    evaluator = judge()
    for _ in range(4):  # begun by steps, ended by the score
        evaluator.train_step(codes[[2, 0, 2]], 0.0)
    assert torch.equal(evaluator.score(codes[[2, 0, 2]]), together[[2, 0, 2]])
    assert evaluator.train_step(codes[[0]], 0.0).loss is None, "nothing is left to learn"
    assert torch.equal(evaluator.score(codes), together)


def test_images_are_shrunk_but_not_below_what_the_space_takes() -> None:
    tiny = fpnas.spaces.tiny(in_channels=1, num_classes=h.CLASSES)
    sizes = {size: ProxyEvaluator(tiny, h.made_up(size=size)).image_size for size in (16, 20, 28, 32, 36, 64)}
    assert sizes == {16: 16, 20: 16, 28: 16, 32: 16, 36: 20, 64: 32}
    assert judge().image_size == 8
    evaluator = ProxyEvaluator(tiny, h.made_up(size=32), image_size=24, steps=1)
    assert evaluator.describe(tiny.space.decode([0] * len(tiny.space)))["image_size"] == 32
    assert evaluator.settings()["proxy_size"] == 24


def test_networks_that_do_not_run_on_half_of_the_size_get_whole_images() -> None:
    width = fpnas.Choice("width", (4, 8))
    layers = [Conv2d(1, width, 3, 2, padding=0), torch.nn.ReLU(), Conv2d(width, 8, 9, padding=0)]  # 19 px at least
    net = fpnas.Supernet(
        torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, h.CLASSES))
    )
    before = net.arch
    sizes = {size: ProxyEvaluator(net, h.made_up(size=size), steps=1).image_size for size in (20, 28, 40)}
    assert sizes == {20: 20, 28: 28, 40: 20}
    assert net.arch == before
    with pytest.raises(InputError, match="an image size on which 'custom' runs, got 16; use the default"):
        ProxyEvaluator(net, h.made_up(size=28), image_size=16)


def test_the_rate_is_in_proportion_to_the_batch() -> None:
    rates = {size: judge(batch_size=size, lr=None).settings()["lr"] for size in (16, 64, 128)}
    assert rates == pytest.approx({16: 0.1, 64: 0.4, 128: 0.8})


def test_other_data_than_images_are_taken_as_they_are() -> None:
    rows = torch.randn(40, 6, generator=generator(0, "rows"))
    data = TensorData.of("rows", rows, (rows[:, 0] > 0).long())
    width = fpnas.Choice("width", (4, 8))
    net = fpnas.Supernet(torch.nn.Sequential(Linear(6, width), torch.nn.ReLU(), Linear(width, 2)))
    found = ProxyEvaluator(net, data, batch_size=8, steps=5, lr=0.1).score(torch.tensor([[0], [1]]))
    assert bool(found.isfinite().all())
    with pytest.raises(InputError, match="images, for an image size"):
        ProxyEvaluator(net, data, image_size=16)
    with pytest.raises(InputError, match="images, for crop and flip"):
        ProxyEvaluator(net, data, flip=True)


def test_one_that_diverges_has_a_likelihood_of_0() -> None:
    assert judge(lr=1e30, steps=3).score(some(judge())[:1]).tolist() == [-math.inf]


def test_the_one_image_of_a_class_is_learnt_from() -> None:
    data = h.made_up()
    alone = (data.train.labels == 3).nonzero()[0, 0]
    kept = torch.cat([(data.train.labels != 3).nonzero()[:, 0], alone[None]]).sort().values
    few = replace(data, train=data.train.subset(kept))
    for metric in ("accuracy", "balanced_accuracy"):
        evaluator = ProxyEvaluator(h.small_supernet(), few, batch_size=12, steps=2, lr=0.1, metric=metric)
        assert kept[evaluator._train].tolist().count(int(alone)) == 1
        assert bool(evaluator.score(some(evaluator)).isfinite().all())


def search(**options: Any) -> fpnas.Search:
    evaluator = judge(steps=4)
    budget = fpnas.Budget(fpnas.Flops(evaluator.supernet, (1, 8, 8)), target=6e3)
    return fpnas.methods.fpnas_thompson(evaluator, budget, **{"epochs": 5, "lam": 1.0, **options})


def test_a_look_takes_many_steps_and_counts_once() -> None:
    job = search()
    lines = [job.step().metrics for _ in range(job.steps_total)]
    assert [line["val_loss"] is None for line in lines] == 5 * [True, True, True, False]
    for start in range(0, 20, 4):
        assert len({line["num_samples"] for line in lines[start : start + 4]}) == 1
    assert job.result().num_samples_total == sum(line["num_samples"] for line in lines[3::4])
    assert job.warmup == 0
    assert job.settings()["judge"] == "proxy"
    assert job.answer().cost <= 6e3


@pytest.mark.parametrize("at", [6, 8])
def test_a_resumed_search_equals_an_unbroken_one(at: int) -> None:
    whole, first, second = search(), search(), search()
    lines = [whole.step().metrics for _ in range(whole.steps_total)]
    for _ in range(at):
        first.step()
    second.load_state_dict(h.through_file(first.state_dict()))
    assert [second.step().metrics for _ in range(whole.steps_total - at)] == lines[at:]
    assert second.answer() == whole.answer()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 1}, "a batch size of 2"),
        ({"steps": 0}, "1 step or more"),
        ({"crop": "resized"}, "a known crop of short trainings"),
        ({"lr": 0.0}, "a learning rate above 0"),
        ({"held_back": 1.5}, "a fraction between 0 and 1"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        judge(**options)


def test_methods_whose_looks_are_one_step_are_refused() -> None:
    for method in (fpnas.methods.fpnas, fpnas.methods.fpnas_posterior, fpnas.methods.random, fpnas.methods.parsec):
        with pytest.raises(InputError, match="a judge whose looks are one step, got ProxyEvaluator"):
            method(judge(), None, epochs=1)
