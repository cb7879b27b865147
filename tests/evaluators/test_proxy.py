"""Short trainings as a judge, against trainings written out here, and what a search makes of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import helpers_run as h
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fpnas
from fpnas.data import EpochOrder, TensorData, stratified_split
from fpnas.elastic import Linear
from fpnas.errors import InputError
from fpnas.evaluators import ProxyEvaluator
from fpnas.streams import generator


def judge(**options: Any) -> ProxyEvaluator:
    """Of the small supernet on made-up images, 12 a step; looks start from fresh weights."""
    settings = {"batch_size": 12, "steps": 6, "warm_steps": 0, "lr": 0.1, **options}
    return ProxyEvaluator(h.small_supernet(), h.made_up(), **settings)


def codes_of(evaluator: ProxyEvaluator, *rows: tuple[int, ...]) -> Tensor:
    sizes = torch.tensor(evaluator.space.cardinalities)
    return torch.stack([torch.tensor(row) % sizes for row in rows])


def some(evaluator: ProxyEvaluator) -> Tensor:
    count = len(evaluator.space)
    return codes_of(evaluator, (0,) * count, (1,) * count, (1, 0) * (count // 2) + (1,) * (count % 2))


def trained(module: nn.Module, networks: Sequence[Callable[[Tensor], Tensor]], first: int, lr: float = 0.1) -> None:
    """One network a step, on the batches from `first` on, with torch alone."""
    data, steps = h.made_up(), len(networks)
    train, _ = stratified_split(data.train.labels, 0.2, 0)
    rule = torch.optim.SGD(module.parameters(), lr, 0.9, weight_decay=1e-4, nesterov=True)
    order = EpochOrder(len(train), 12, 0, "proxy")
    for step, network in enumerate(networks):
        rising, falling = min(1, 10 * (step + 1) / steps), 0.5 + 0.5 * math.cos(math.pi * step / steps)
        rule.param_groups[0]["lr"] = lr * rising * falling
        chosen = train[order.batch(first + step)]
        logits = network(data.normalize(data.train.images[chosen]))
        rule.zero_grad()
        F.cross_entropy(logits, data.train.labels[chosen], label_smoothing=0.05).backward()
        torch.nn.utils.clip_grad_norm_([p for p in module.parameters() if p.grad is not None], 5.0)
        rule.step()


def by_hand(network: nn.Module, first: int, steps: int = 6) -> float:
    """The log-likelihood after a training of the network by itself."""
    data = h.made_up()
    _, val = stratified_split(data.train.labels, 0.2, 0)
    network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    trained(network, [network] * steps, first)
    network.eval()
    with torch.no_grad():
        logits = network(data.normalize(data.train.images[val]))
        return -float(F.cross_entropy(logits, data.train.labels[val], reduction="sum"))


def test_without_a_warm_up_a_score_is_that_of_a_training_from_scratch() -> None:
    evaluator = judge()
    codes = some(evaluator)
    archs = [evaluator.space.decode(code) for code in codes.tolist()]
    expected = [by_hand(fpnas.from_scratch(h.small_supernet(), arch, 0), 0) for arch in archs]
    assert evaluator.score(codes).tolist() == pytest.approx(expected, rel=1e-5)
    assert len(set(expected)) == 3


def test_a_look_starts_from_the_weights_that_were_shared_and_leaves_these_alone() -> None:
    evaluator = judge(steps=5, warm_steps=5)
    codes = some(evaluator)
    archs = [evaluator.space.decode(code) for code in codes.tolist()]
    supernet = h.small_supernet().train()
    turns = [archs[number % 3] for number in range(5)]
    trained(supernet, [lambda x, arch=arch: supernet.select(arch)(x) for arch in turns], 0)
    for number in range(5):
        assert evaluator.train_step(codes[[number % 3]], 0.0).loss is not None
    shared = copy.deepcopy(evaluator.supernet.state_dict())
    expected = [by_hand(supernet.extract(arch), 5, steps=5) for arch in archs]
    assert evaluator.score(codes).tolist() == pytest.approx(expected, rel=1e-4)
    assert all(torch.equal(value, shared[name]) for name, value in evaluator.supernet.state_dict().items())


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
    assert [ProxyEvaluator(tiny, h.made_up(size=size)).image_size for size in (16, 20, 28, 32, 64)] == [
        16,
        16,
        20,
        20,
        40,
    ]
    assert judge().image_size == 8
    evaluator = ProxyEvaluator(tiny, h.made_up(size=32), image_size=24, steps=1)
    assert evaluator.describe(tiny.space.decode([0] * len(tiny.space)))["image_size"] == 32
    assert evaluator.settings()["proxy_size"] == 24


def test_other_data_than_images_are_taken_as_they_are() -> None:
    rows = torch.randn(40, 6, generator=generator(0, "rows"))
    data = TensorData.of("rows", rows, (rows[:, 0] > 0).long())
    width = fpnas.Choice("width", (4, 8))
    net = fpnas.Supernet(torch.nn.Sequential(Linear(6, width), torch.nn.ReLU(), Linear(width, 2)))
    found = ProxyEvaluator(net, data, batch_size=8, steps=5, warm_steps=0, lr=0.1).score(torch.tensor([[0], [1]]))
    assert bool(found.isfinite().all())
    with pytest.raises(InputError, match="images, for an image size"):
        ProxyEvaluator(net, data, image_size=16)


def test_one_that_diverges_has_a_likelihood_of_0() -> None:
    assert judge(lr=1e30, steps=3).score(some(judge())[:1]).tolist() == [-math.inf]


def search(**options: Any) -> fpnas.Search:
    evaluator = judge(steps=4, warm_steps=7)
    budget = fpnas.Budget(fpnas.Flops(evaluator.supernet, (1, 8, 8)), target=6e3)
    return fpnas.methods.fpnas_thompson(evaluator, budget, **{"epochs": 5, "lam": 1.0, **options})


def test_weights_are_shared_first_and_then_a_look_takes_many_steps_and_counts_once() -> None:
    job = search()
    lines = [job.step().metrics for _ in range(job.steps_total)]
    assert len(lines) == 8 + 20, "two looks of four steps for a warm-up of seven"
    assert {(line["num_samples"], line["val_loss"]) for line in lines[:8]} == {(1, None)}
    assert [line["val_loss"] is None for line in lines[8:]] == 5 * [True, True, True, False]
    for start in range(8, 28, 4):
        assert len({line["num_samples"] for line in lines[start : start + 4]}) == 1
    assert job.result().num_samples_total == 8 + sum(line["num_samples"] for line in lines[11::4])
    assert job.settings()["warm_steps"] == 8
    assert job.answer().cost <= 6e3


@pytest.mark.parametrize("at", [3, 8, 14, 16])
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
        ({"warm_steps": -1}, "0 warm-up steps or more"),
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
