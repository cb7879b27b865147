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
from fpnas.data import EpochOrder, ImageData, TensorData, stratified_split
from fpnas.data.augment import flipped, padded_crop
from fpnas.elastic import Conv2d, Linear
from fpnas.errors import InputError
from fpnas.evaluators import ProxyEvaluator
from fpnas.streams import generator


def judge(**options: Any) -> ProxyEvaluator:
    """Of the small supernet on made-up images, 12 a step."""
    return ProxyEvaluator(h.small_supernet(), h.made_up(), **{"batch_size": 12, "steps": 6, "lr": 0.1, **options})


def judge_of(images: ImageData, **options: Any) -> ProxyEvaluator:
    """The same, on other images."""
    return ProxyEvaluator(h.small_supernet(), images, **{"batch_size": 12, "steps": 6, "lr": 0.1, **options})


def codes_of(evaluator: ProxyEvaluator, *rows: tuple[int, ...]) -> Tensor:
    sizes = torch.tensor(evaluator.space.cardinalities)
    return torch.stack([torch.tensor(row) % sizes for row in rows])


def some(evaluator: ProxyEvaluator) -> Tensor:
    count = len(evaluator.space)
    return codes_of(evaluator, (0,) * count, (1,) * count, (1, 0) * (count // 2) + (1,) * (count % 2))


def by_hand(
    evaluator: ProxyEvaluator,
    code: Tensor,
    augment: bool = False,
    steps: int = 6,
    lr: float = 0.1,
    data: ImageData | None = None,
) -> float:
    """The same training with torch alone."""
    data, space = data or h.made_up(), evaluator.supernet.space
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


def test_a_network_is_trained_at_half_of_the_size_that_is_chosen_with_it() -> None:
    images = h.made_up(size=48)
    evaluator = judge_of(images, image_sizes=(48, 32, 40))
    own = some(judge())
    codes = torch.cat([torch.tensor([[0], [1], [2]]), own], dim=1)
    seen = [
        replace(images, train=images.train.resized(size), heldout=images.heldout.resized(size)) for size in (16, 20, 24)
    ]
    expected = [by_hand(evaluator, code, data=data) for code, data in zip(own, seen, strict=True)]
    assert evaluator.score(codes).tolist() == pytest.approx(expected, rel=1e-5)
    assert evaluator.space.choices[0] == fpnas.Choice("input.size", (32, 40, 48))
    assert evaluator.space.choices[1:] == h.small_supernet().space.choices
    arch = evaluator.space.decode(codes[0].tolist())
    facts, alone = evaluator.describe(arch), h.small_supernet().space.decode(own[0].tolist())
    assert (facts["image_size"], facts["choices"]) == (32, dict(alone))
    assert facts["flops"] == fpnas.Flops(h.small_supernet(), (1, 32, 32)).of(alone)
    assert evaluator.network_of(arch) == (alone, 32)
    assert evaluator.layers(arch)["image_size"] == 32
    assert (evaluator.settings()["image_sizes"], evaluator.settings()["image_size"]) == ([32, 40, 48], 48)


def test_one_network_goes_by_one_code_at_each_size_and_each_size_is_as_probable() -> None:
    alone, evaluator = judge(), judge_of(h.made_up(size=24), image_sizes=(16, 24))
    draws = torch.Generator().manual_seed(0)
    codes = torch.stack([torch.randint(n, (50,), generator=draws) for n in alone.space.cardinalities], dim=1)
    sizes = torch.arange(50)[:, None] % 2
    found = evaluator.canonical(torch.cat([sizes, codes], dim=1))
    assert torch.equal(found, torch.cat([sizes, alone.canonical(codes)], dim=1))
    prior = evaluator.distinct_logits()
    assert torch.equal(prior[1:], alone.distinct_logits())
    assert prior[0, 0] == prior[0, 1]


def test_a_look_at_several_sizes_goes_on_where_it_was_left() -> None:
    def fresh() -> ProxyEvaluator:
        return judge_of(h.made_up(size=24), image_sizes=(16, 24), crop="pad", flip=True)

    codes = torch.cat([torch.tensor([[0], [1], [1]]), some(judge())], dim=1)
    whole, begun, on = fresh(), fresh(), fresh()
    for _ in range(3):
        begun.train_step(codes, 0.0)
    on.load_state_dict(begun.state_dict())
    assert torch.equal(on.score(codes), whole.score(codes))
    assert whole.rehearse() > 0


def test_image_sizes_that_do_not_suit_data_or_space_are_refused() -> None:
    with pytest.raises(InputError, match="images of 48 px, the largest size"):
        judge_of(h.made_up(size=24), image_sizes=(16, 48))
    with pytest.raises(InputError, match="image_size or image_sizes"):
        judge_of(h.made_up(size=24), image_sizes=(16, 24), image_size=16)
    tiny = fpnas.spaces.tiny(in_channels=1, num_classes=h.CLASSES)
    with pytest.raises(InputError, match="an image size of 16 to 128 for the space 'tiny', got 8"):
        ProxyEvaluator(tiny, h.made_up(size=24), image_sizes=(8, 24))


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
