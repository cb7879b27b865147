"""The ground: pools of trained networks of about one cost, and how each network of a pool is drawn and trained.

A pool is architectures of one space, drawn uniformly among those with 95 to 100 % of a target, each trained from
scratch by one recipe on nine tenths of the training images. `val_1` ... are its accuracies in per cent on the other
tenth after each epoch, `test` that on the test images after the last one. Settings are chosen by `val`; `test` is what
is reported. A search that is judged on a pool is given the same nine tenths, so it has seen neither.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import results_file
from standing import matters

import fpnas
from fpnas.data import ImageData, stratified_split
from fpnas.elastic import weight_gradients
from fpnas.space import Arch
from fpnas.spaces import by_name
from fpnas.streams import generator
from fpnas.train import accuracy

ROOT = Path(__file__).resolve().parents[2]
POOLS_AT = Path(__file__).parent / "pools"
SHARED = Path(os.environ.get("FPNAS_SHARED", ROOT.parent / "shared"))
"""Where `data/cifar10` lies."""

BAND = 0.95
"""The least share of the target that a network of a pool costs."""

HELD_BACK = 0.1
"""The share of the training images that judges, and that neither a search nor a training of the ground sees."""


TRAINS = ("train", "elastic", "spaces", "data", "streams.py")
"""The parts of the package that a training consists of."""


@contextmanager
def torchs_gradients() -> Generator[None]:
    """As pools and kept runs were made: what is added to them is the same bit for bit, and its seconds compare."""
    own, weight_gradients.ELEMENTS = weight_gradients.ELEMENTS, sys.maxsize
    try:
        yield
    finally:
        weight_gradients.ELEMENTS = own


@dataclass(frozen=True)
class Pool:
    """What a pool is of.

    Args:
        name: of its file.
        data: what `fpnas.data.load` takes; a path is one of shared/.
        image_size: in px.
        target: multiply-adds.
        count: networks.
        twice: how many of them, the first ones, are trained with a second seed too.
        recipe: of each training.
        space: by its name.
        distinct: drawn uniformly among distinct networks, not among codes: see `alike`.
    """

    name: str
    data: str
    image_size: int
    target: float
    count: int
    twice: int
    recipe: fpnas.Recipe
    space: str = "tiny"
    distinct: bool = False

    @property
    def path(self) -> Path:
        """The pool's file."""
        return POOLS_AT / f"{self.name}.csv"


CIFAR10 = fpnas.Recipe(epochs=6, lr=0.8, crop="pad", flip=True)
FASHION = fpnas.Recipe(epochs=3, lr=0.8)

POOLS = {
    pool.name: pool
    for pool in (
        Pool("cifar10-tiny-3M", "data/cifar10", 32, 3e6, 96, 16, CIFAR10),
        Pool("cifar10-tiny-3M-distinct", "data/cifar10", 32, 3e6, 32, 0, CIFAR10, distinct=True),
        Pool("cifar10-tiny-8M", "data/cifar10", 32, 8e6, 48, 0, CIFAR10),
        Pool("fashion-mnist-tiny-2.5M", "fashion-mnist", 28, 2.5e6, 48, 0, FASHION),
    )
}


@dataclass(frozen=True)
class Trained:
    """A network of a pool, trained.

    Args:
        arch: the architecture.
        flops: multiply-adds.
        params: parameters.
        seed: of weights, order and draws.
        val: accuracy in per cent on the held-back images after each epoch.
        test: on the test images after the last.
        seconds: of processor time that the training took, the judging after each epoch included; None on a GPU.
    """

    arch: Arch
    flops: int
    params: int
    seed: int
    val: tuple[float, ...]
    test: float
    seconds: float | None


# ---------------------------------------------------------------------------------------------------- data and networks


@dataclass(frozen=True, eq=False)
class Images:
    """What the ground learns from and judges by.

    Args:
        learnt: nine tenths of the training images; held out are the other tenth.
        test: the same to learn from; held out are the test images.
        whole: all training images; held out are the test images.
    """

    learnt: ImageData
    test: ImageData
    whole: ImageData


@lru_cache(maxsize=2)
def images(data: str, image_size: int) -> Images:
    """From what the data set has; the cut is the same for everyone."""
    whole = fpnas.data.load(SHARED / data if "/" in data else data, image_size=image_size)
    assert isinstance(whole, ImageData)
    kept, held = stratified_split(whole.train.labels, HELD_BACK, seed=0)
    train = whole.train.subset(kept)
    test = replace(whole, train=train)
    return Images(replace(test, heldout=whole.train.subset(held), heldout_from="val"), test, whole)


def fresh_supernet(pool: Pool, seed: int = 0) -> fpnas.Supernet:
    """A supernet of the pool's space for its data, to be trained."""
    data = images(pool.data, pool.image_size).learnt
    return by_name(pool.space)(
        num_classes=data.num_classes, in_channels=data.in_channels, image_size=pool.image_size, seed=seed
    )


@lru_cache(maxsize=4)
def supernet(pool: Pool) -> fpnas.Supernet:
    """The same, kept: for its space, its costs and what is extracted from it."""
    return fresh_supernet(pool)


@lru_cache(maxsize=4)
def costs(pool: Pool) -> tuple[fpnas.Flops, fpnas.Params]:
    """FLOPs and parameters of the pool's space."""
    shape = images(pool.data, pool.image_size).learnt.input_shape
    return fpnas.Flops(supernet(pool), shape), fpnas.Params(supernet(pool), shape)


def draw(pool: Pool, count: int | None = None, seed: int = 0) -> list[Arch]:
    """`count` different networks (the pool's by default), uniformly among the codes with 95 to 100 % of its target.

    A longer draw begins with the shorter one of the same seed. Two that differ only where a bypassed block doesn't
    care are one network and drawn once.
    """
    space, flops = supernet(pool).space, costs(pool)[0]
    stream = generator(seed, "pool", pool.space, f"{pool.target:g}", *(["distinct"] if pool.distinct else []))
    found: dict[Arch, None] = {}
    wanted = pool.count if count is None else count
    while len(found) < wanted:
        codes = torch.stack([torch.randint(n, (65_536,), generator=stream) for n in space.cardinalities], dim=1)
        cost = flops(codes)
        codes = codes[(cost <= pool.target) & (cost >= BAND * pool.target)]
        if pool.distinct:
            codes = codes[torch.rand(len(codes), generator=stream) < 1 / alike(space, codes)]
        for row in codes.tolist():
            found.setdefault(plain(space.decode(row), space), None)
    return list(found)[:wanted]


def alike(space: fpnas.SearchSpace, codes: torch.Tensor) -> torch.Tensor:
    """(K,), by how many codes each network goes: a group that is bypassed has choices without effect."""
    count = torch.ones(len(codes), dtype=torch.float64)
    for v, choice in enumerate(space.choices):
        if choice.name.endswith(".kernel"):
            idle = [c for c in space.choices if c.group == choice.group and not matters({choice.name: 0}, c.name)]
            count[codes[:, v] == choice.index(0)] *= math.prod(len(c.options) for c in idle)
    return count


def plain(arch: Mapping[str, Any], space: fpnas.SearchSpace) -> Arch:
    """The same network with the first option wherever a block is bypassed and the option has no effect."""
    options = dict(arch)
    for choice in space.choices:
        if not matters(arch, choice.name):
            options[choice.name] = choice.options[0]
    return Arch(options)


@torchs_gradients()
def train(pool: Pool, arch: Arch, seed: int, recipe: fpnas.Recipe | None = None, device: str = "cpu") -> Trained:
    """Trains a network from scratch by the pool's recipe, or another, on one thread, or on a GPU in full float32."""
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False
    data, codes = images(pool.data, pool.image_size), torch.tensor([supernet(pool).space.encode(arch)])
    flops, params = (round(float(cost(codes))) for cost in costs(pool))
    network = fpnas.from_scratch(supernet(pool), arch, seed)
    start = time.process_time()
    training = fpnas.Training(network, data.learnt, recipe=recipe or pool.recipe, seed=seed, device=device)
    val: list[float] = []
    while training.steps_done < training.steps_total:
        accurate = training.step().metrics["accuracy"]
        val += [] if accurate is None else [accurate]
    seconds = time.process_time() - start if device == "cpu" else None
    test = accuracy(training.trained, data.test, device=device).accuracy
    return Trained(arch, flops, params, seed, tuple(val), test, seconds)


def trained(pool: Pool, arch: Arch, seed: int, recipe: fpnas.Recipe | None = None, device: str = "cpu") -> Trained:
    """What `train` gives; looked up in runs/ground where this code has trained it on this machine before."""
    recipe = recipe or pool.recipe
    facts = (pool.data, pool.image_size, pool.space, sorted(arch.items()), seed, sorted(recipe.settings().items()))
    facts = facts if device == "cpu" else (*facts, device)
    name = hashlib.sha256(repr((facts, results_file.source(*TRAINS))).encode()).hexdigest()[:20]
    at = ROOT / "runs" / "ground" / f"{name}.csv"
    if not at.exists():
        save(at, [], [train(pool, arch, seed, recipe, device)])
    return read(at)[1][0]


# ------------------------------------------------------------------------------------------------------------- the file


def facts(pool: Pool) -> list[str]:
    """The comment lines that a pool's file begins with: what it is, and the recipe. Those of the machines follow."""
    fields = {k: v for k, v in pool.recipe.settings().items() if v not in (0, "none", False)}
    teacher = ("teacher_weight", "teacher_temperature", "crop_area")
    said = ", ".join(f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
                     for key, value in fields.items() if key not in teacher)  # fmt: skip
    drawn = ", each distinct network as probable as another" if pool.distinct else ""
    return [
        f"# {pool.name}: `{pool.space}` at {pool.image_size} px on {Path(pool.data).name}, {BAND:.0%} to 100 % of "
        f"{pool.target:g} multiply-adds{drawn}; val: a tenth of the training images, held back; % after each epoch",
        f"# recipe: {said}",
    ]


def machine(device: str = "cpu") -> str:
    """The comment line of the machine that rows of a pool were made on: those without seconds on a GPU."""
    if device == "cpu":
        here = f"{platform.machine()}, one thread a training"
    else:
        here = f"{torch.cuda.get_device_name()}, float32, several trainings at once (rows without seconds)"
    return (
        f"# machine: {here}; Python {platform.python_version()}, torch {torch.__version__}; commit "
        f"{results_file.commit()}, training code "
        f"{results_file.source(*TRAINS)}; made by benchmarks/ground/make_pools.py"
    )


def made_on(line: str) -> tuple[str, str, str]:
    """Of a machine's comment line: the device, torch's version and the digest of the code that trained."""
    found = re.match(r"# machine: ([^;]+);.*torch ([^;]+);.*training code ([0-9a-f]+)", line)
    return ("", "", "") if found is None else (found[1], found[2], found[3])


def mean_seconds(rows: Iterable[Trained]) -> float | None:
    """Of processor time a training; None where none was timed."""
    timed = [row.seconds for row in rows if row.seconds is not None]
    return statistics.fmean(timed) if timed else None


def read(path: Path) -> tuple[list[str], list[Trained]]:
    """Comment lines and rows of a pool's file."""
    lines = path.read_text().splitlines()
    comments = [line for line in lines if line.startswith("#")]
    found: list[Trained] = []
    for row in csv.DictReader(line for line in lines if not line.startswith("#")):
        epochs = sorted((name for name in row if name.startswith("val_")), key=lambda name: int(name[4:]))
        val = tuple(float(row.pop(name)) for name in epochs)
        test, timed = float(row.pop("test")), row.pop("seconds")
        seconds = float(timed) if timed else None
        flops, params, seed = (int(row.pop(name)) for name in ("flops", "params", "seed"))
        arch = Arch({name: int(text) if text.isdigit() else text for name, text in row.items()})
        found.append(Trained(arch, flops, params, seed, val, test, seconds))
    return comments, found


def written(comments: Sequence[str], rows: Iterable[Trained]) -> str:
    """The text of a pool's file."""
    rows = list(rows)
    text = io.StringIO()
    text.writelines(f"{line}\n" for line in comments)
    out = csv.writer(text, lineterminator="\n")
    epochs = [f"val_{number + 1}" for number in range(len(rows[0].val))]
    out.writerow([*rows[0].arch, "flops", "params", "seed", *epochs, "test", "seconds"])
    for row in rows:
        numbers = [f"{value:.2f}" for value in (*row.val, row.test)]
        timed = "" if row.seconds is None else f"{row.seconds:.1f}"
        out.writerow([*row.arch.values(), row.flops, row.params, row.seed, *numbers, timed])
    return text.getvalue()


def save(path: Path, comments: Sequence[str], rows: Iterable[Trained]) -> None:
    """Writes it at once: a call that is ended here leaves the file of before."""
    new = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    new.write_text(written(comments, rows))
    new.replace(path)
