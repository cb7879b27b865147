"""Networks that begin alike are run together as far as they do: the same gradients and scores, fewer runs."""

from __future__ import annotations

import copy
import gc
import math
import weakref
from typing import Any

import helpers_run as h
import pytest
import torch
import torch.nn.functional as F
from test_supernet_evaluator import gradients_of, greatest_error, two_pass
from torch import Tensor, nn

import fpnas
from fpnas.elastic import batch_statistics
from fpnas.elastic.init import initialise
from fpnas.evaluators.prefixes import Chain, Walk
from fpnas.spaces.macro import FP_NAS, Row, macro_supernet

ROWS = (Row((1, 2), (4, 8), 1, 1), Row((2,), (8, 12), 2, 2))


def chain_task(**options: Any) -> fpnas.SupernetEvaluator:
    """Stem, three blocks in two groups, head; in double precision, with weights drawn apart."""
    sizes = {"stem": 4, "head": 12, "image_sizes": (8, 32), "num_classes": h.CLASSES, "in_channels": 1}
    net = macro_supernet("chain", ROWS, FP_NAS, **sizes, seed=0)  # pyright: ignore[reportArgumentType]
    initialise(net.module, torch.Generator().manual_seed(3), elastic_only=True)
    with torch.no_grad():
        net.module.classifier.weight.mul_(30)  # pyright: ignore
    return fpnas.SupernetEvaluator(net.double(), double(), batch_size=8, optimizer="sgd", seed=1, **options)


def double() -> Any:
    data = h.made_up()
    normalize = data.normalize
    data = copy.copy(data)
    object.__setattr__(data, "normalize", lambda images: normalize(images).double())
    return data


def some_codes(net: fpnas.Supernet, count: int, like: float) -> Tensor:
    """Architectures whose options are the first one's with probability `like`."""
    draws = torch.Generator().manual_seed(5)
    sizes = net.space.cardinalities
    columns = [torch.randint(size, (count,), generator=draws) for size in sizes]
    codes = torch.stack(columns, dim=1)
    same = torch.rand(codes.shape, generator=draws) < like
    return torch.where(same, codes[:1], codes)


@pytest.mark.parametrize("like", [0.0, 0.7, 0.95])
@pytest.mark.parametrize("temperature", ["mean", "product", 3.0])
def test_gradients_and_scores_are_those_of_each_alone(like: float, temperature: Any) -> None:
    task = chain_task(temperature=temperature, negligible=0.0, lr=1e-12, clip=1e9)
    codes = some_codes(task.supernet, 9, like)
    alone = copy.deepcopy(task.supernet)
    images, labels = task._batch(task._train_batches, 0)
    wanted, _ = two_pass(alone, codes, images, labels, temperature)
    images, labels = task._batch(task._val_batches, 0)
    with batch_statistics(alone), torch.no_grad():
        logits = [alone.select(alone.space.decode(row))(images) for row in codes.tolist()]
    scores = torch.stack([-F.cross_entropy(each, labels, reduction="sum") for each in logits])
    task.train_step(codes, 0.0)
    assert greatest_error(gradients_of(task.supernet), wanted) < 1e-8
    torch.testing.assert_close(task.score(codes), scores, rtol=1e-8, atol=1e-8)


def counted(task: fpnas.SupernetEvaluator) -> dict[str, int]:
    """How often each stage's first module runs from now on."""
    runs: dict[str, int] = {}
    net: Any = task.supernet.module
    named = {"stem": net.stem, **{f"block{n}": block for n, block in enumerate(net.blocks)}, "head": net.head}
    for name, module in named.items():
        runs[name] = 0

        def count(*_: Any, name: str = name) -> None:
            runs[name] += 1

        module.register_forward_pre_hook(count)
    return runs


def test_what_is_shared_runs_once() -> None:
    task = chain_task()
    space = task.supernet.space
    base = {c.name: c.options[-1] for c in space.choices}
    archs = [base, {**base, "group2.kernel": 3}, {**base, "group1.act": "relu"}, {**base, "group2.kernel": 0}]
    skipped = {**base, "group2.kernel": 0, "group2.expansion": 2, "group2.act": "relu", "group2.splits": 1}
    codes = torch.tensor([space.encode(arch) for arch in [*archs, skipped]])
    runs = counted(task)
    task.train_step(codes, 0.0)
    # Two of the first group; behind one of them three of the second: the skipped one, whatever its options, is one.
    assert runs == {"stem": 1, "block0": 2, "block1": 4, "block2": 4, "head": 4}
    task.score(codes)
    assert runs == {"stem": 2, "block0": 4, "block1": 8, "block2": 8, "head": 8}


def test_every_order_of_parting_is_walked() -> None:
    """The tree of any sample visits each architecture once and shares the longest common beginnings within it."""
    task = chain_task()
    chain = Chain(task.supernet)
    for like in (0.0, 0.5, 0.8, 0.95):
        codes = some_codes(task.supernet, 12, like)
        archs = [task.space.decode(row) for row in codes.tolist()]
        visits = chain.visits(archs)
        assert sorted(n for visit in visits for n in visit.numbers) == list(range(12))
        assert visits[0].shared == 0
        keys = [[reads.of(archs[visit.numbers[0]]) for reads in chain._reads] for visit in visits]
        for before, after, visit in zip(keys, keys[1:], visits[1:], strict=False):
            equal = [a == b for a, b in zip(before, after, strict=True)]
            assert visit.shared == equal.index(False)
    assert chain.visits([]) == []


def test_one_network_at_a_time_is_in_memory() -> None:
    """When a network begins, what is alive is what it shares with the one before."""
    task = chain_task(temperature=0.02)
    codes = some_codes(task.supernet, 10, 0.6)
    alive: list[weakref.ref[Tensor]] = []
    most = [0]

    def after(_: nn.Module, __: Any, output: Tensor) -> None:
        alive.append(weakref.ref(output))
        gc.collect()
        most[0] = max(most[0], sum(ref() is not None for ref in alive))

    for stage in task.supernet.stages():
        for module in stage.modules:
            module.register_forward_hook(after)
    gc.collect()
    gc.freeze()  # collections look at what the step makes alone
    task.train_step(codes, 0.0)
    gc.collect()
    assert len(alive) > 30
    assert most[0] <= 7, "stem, three blocks, head, classifier, and a leaf's source"
    assert not any(ref() is not None for ref in alive)


def test_a_module_that_is_no_chain_is_one_stage() -> None:
    net = h.small_supernet()
    (stage,) = net.stages()
    assert stage.run is net
    walk = Walk(Chain(net), [net.arch, net.arch], torch.rand(4, 1, 8, 8), None, torch.no_grad)
    ((numbers, logits),) = list(walk)
    assert numbers == (0, 1)
    assert logits.shape == (4, h.CLASSES)
    assert math.isfinite(float(logits.sum()))
