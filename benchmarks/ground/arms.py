"""The arms that are compared on a pool, at equal processor time: what each spends it on, and what it answers.

The time is that of a search by short trainings of `EPOCHS` looks, and of one training. The other arms that search get
the search's part of it, in steps measured on the machine beforehand; those without a search spend all of it on
trainings. Each draws within the budget where it draws (the paper to the letter doesn't), and answers with its most
probable architecture within the budget, or with the best one that it has seen. What is answered is trained by the
pool's recipe.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import ground
import numpy as np
import torch

import fpnas
from fpnas.evaluators import ProxyEvaluator
from fpnas.search import Search, methods
from fpnas.search.constrained import best_within
from fpnas.space import Arch, SearchSpace

EPOCHS = 4
"""Of the search by whose time all are measured: looks at K networks each."""

DEFAULT = "fpnas, short trainings"

SEARCHES: Mapping[str, Callable[..., Search]] = {
    DEFAULT: methods.fpnas_thompson,
    "fpnas-posterior": methods.fpnas_posterior,
    "fpnas-posterior, distinct networks": partial(methods.fpnas_posterior, prior="distinct"),
    "fpnas, eq. 7 to the letter": methods.fpnas,
    "fpnas, eq. 7, draws within the budget, 1/K taken off": partial(methods.fpnas, cost_term=None, baseline="mean"),
    "PARSEC": methods.parsec,
    "REINFORCE": methods.reinforce,
    "one-shot random": partial(methods.random, frozen=True, num_samples=2),
    "one-shot evolution": partial(methods.evolution, frozen=True, num_samples=2),
    "FBNetV2, rate 0.1": partial(methods.fbnetv2, lr=0.1),
    "DARTS, rate 0.1": partial(methods.darts, lr=0.1),
}
"""By name, as they come, but for the rate of alpha of those that mix: in the few dozen steps that the time allows them,
alpha would hardly move at their own. Nothing is tuned on a pool."""


class Steps(fpnas.SupernetEvaluator):
    """A judge whose epoch has as many steps as are asked for: searches of one epoch that end when their time is up."""

    asked: int = 0

    @property
    def steps_per_epoch(self) -> int:
        return self.asked or super().steps_per_epoch


@dataclass(frozen=True)
class Found:
    """What a search answered and took.

    Args:
        arch: the answer.
        steps, samples: of the search.
        seconds: of processor time.
        entropy: in the end, in nats; of methods that learn no distribution that of the uniform one.
        first_k, last_k: architectures in the first step after the warm-up and in the last step.
    """

    arch: Arch
    steps: int
    samples: int
    seconds: float
    entropy: float
    first_k: int
    last_k: int


def make(pool: ground.Pool, arm: str, seed: int, steps: int) -> Search:
    """A fresh search of an arm on what the pool's networks learn from; of short trainings it makes whole looks."""
    data = ground.images(pool.data, pool.image_size).learnt
    net = ground.fresh_supernet(pool, seed)
    budget = fpnas.Budget(fpnas.Flops(net, data.input_shape), pool.target)
    if arm == DEFAULT:
        proxy = ProxyEvaluator(net, data, seed=seed)
        return SEARCHES[arm](proxy, budget, epochs=max(1, round(steps / proxy.steps_per_look)), seed=seed)
    judge = Steps(net, data, seed=seed)
    judge.asked = steps
    return SEARCHES[arm](judge, budget, epochs=1, seed=seed)


def default_steps(pool: ground.Pool) -> int:
    """Of the search by whose time all are measured."""
    data = ground.images(pool.data, pool.image_size).learnt
    return EPOCHS * ProxyEvaluator(ground.supernet(pool), data).steps_per_look


@ground.torchs_gradients()
def seconds_a_step(pool: ground.Pool, arm: str, tried: int = 12, most: float = 40.0) -> float:
    """Mean processor seconds of a step of an arm: warm-up and later steps are timed apart, and weighed by their share.

    Later steps are those at the first entropy, so a method whose K falls is given too few steps rather than too many.
    """
    torch.set_num_threads(1)
    search = make(pool, arm, seed=0, steps=1000)
    warm = round(search.warmup * 1000)
    parts: list[float] = []
    for at in (0, warm):
        search.steps_done = at
        search.step()  # compiles shapes
        start, count = time.process_time(), 0
        while count < tried and time.process_time() - start < most / 2:
            search.step()
            count += 1
        parts.append((time.process_time() - start) / count)
    return search.warmup * parts[0] + (1 - search.warmup) * parts[1]


@ground.torchs_gradients()
def searched(pool: ground.Pool, arm: str, seed: int, steps: int) -> Found:
    """Runs a search to its end."""
    torch.set_num_threads(1)
    search = make(pool, arm, seed, steps)
    warm = round(search.warmup * search.steps_total)
    sizes: list[int] = []
    start = time.process_time()
    while search.steps_done < search.steps_total:
        sizes.append(search.step().metrics["num_samples"])
    result, answer = search.result(), search.answer()
    seconds = time.process_time() - start
    arch = ground.plain(answer.arch, search.distribution.space)
    return Found(
        arch, len(sizes), result.num_samples_total, seconds, result.entropy, sizes[min(warm, len(sizes) - 1)], sizes[-1]
    )


# ------------------------------------------------------------------------------------------------- without any search


def by_rule(pool: ground.Pool) -> Arch:
    """Fewest skips, then most splits, then widest, within the budget; exact."""
    space = ground.supernet(pool).space
    distribution = fpnas.ArchDistribution(space)
    logits = torch.zeros_like(distribution.logits)
    for row, choice in enumerate(space.choices):
        variable = choice.name.rpartition(".")[2]
        for column, option in enumerate(choice.options):
            if variable == "kernel":
                logits[row, column] = -1e4 * (option == 0)
            elif variable == "splits":
                logits[row, column] = 100.0 * float(option)
            elif variable in ("channels", "expansion"):
                logits[row, column] = float(option) / float(choice.options[-1])
    distribution.set_logits(logits)
    return ground.plain(best_within(distribution, ground.costs(pool)[0], pool.target).arch, space)


def features(archs: Sequence[Mapping[str, Any]], space: SearchSpace) -> np.ndarray:
    """(N, F): blocks that run, and of those that do the splits; widths; each of a group of its own and as a sum."""
    rows: list[list[float]] = []
    for arch in archs:
        runs = {c.group: float(arch.get(f"{c.group}.kernel", 1) != 0) for c in space.choices}
        row = list(runs.values())
        for choice in space.choices:
            variable = choice.name.rpartition(".")[2]
            if variable in ("splits", "expansion"):
                row.append(float(arch[choice.name]) / float(choice.options[-1]) * runs[choice.group])
            elif variable == "channels":
                row.append(float(arch[choice.name]) / float(choice.options[-1]))
        rows.append([sum(runs.values()), *row])
    return np.array(rows)


def by_ridge(pool: ground.Pool, trained: Sequence[ground.Trained], seed: int) -> Arch:
    """The best of many random networks in the band by a ridge on depth, splits and widths of some trained ones."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    space = ground.supernet(pool).space
    candidates = ground.draw(pool, 4000, seed=1000 + seed)
    known = features([row.arch for row in trained], space)
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 11)))
    model.fit(known, [row.val[-1] for row in trained])
    return candidates[int(np.argmax(model.predict(features(candidates, space))))]


# -------------------------------------------------------------------------------- random ones, of trainings in the pool


def best_of_random(rows: Sequence[ground.Trained], count: int, rng: np.random.Generator) -> ground.Trained:
    """The best by the held-back images of `count` random networks trained to the end."""
    chosen = rng.choice(len(rows), min(count, len(rows)), replace=False)
    return max((rows[index] for index in chosen), key=lambda row: row.val[-1])


def halving(
    rows: Sequence[ground.Trained], epochs: float, rng: np.random.Generator, keep: int = 3
) -> tuple[ground.Trained, int]:
    """Successive halving over random networks (Li et al. 2018; ASHA's rungs): a third goes on from each rung.

    All start on the recipe's whole schedule; after 1, then 2, ... epochs (each rung twice the last) those that are best
    by the held-back images go on. The number that begins is the one whose epochs are the nearest to `epochs`.

    Returns:
        The one that is left, and the epochs that were spent.
    """
    total = len(rows[0].val)
    rungs = tuple(rung for rung in (1, 2, 4, 8, 16) if rung < total)
    count, spent = _beginners(len(rows), epochs, rungs, total, keep)
    alive = [rows[index] for index in rng.choice(len(rows), count, replace=False)]
    for rung in rungs:
        alive = sorted(alive, key=lambda row: -row.val[rung - 1])[: max(1, round(len(alive) / keep))]
    return max(alive, key=lambda row: row.val[-1]), spent


@lru_cache
def _beginners(most: int, epochs: float, rungs: tuple[int, ...], total: int, keep: int) -> tuple[int, int]:
    """How many begin, and the epochs that all come to."""
    spent = {count: _epochs_of(count, rungs, total, keep) for count in range(1, most + 1)}
    count = min(spent, key=lambda count: abs(spent[count] - epochs))
    return count, spent[count]


def _epochs_of(count: int, rungs: Sequence[int], total: int, keep: int) -> int:
    spent, at = 0, 0
    for rung in rungs:
        spent += count * (rung - at)
        count, at = max(1, round(count / keep)), rung
    return spent + count * (total - at)
