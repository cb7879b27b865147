"""What the paper's experiments share: spaces, data, a search, and the training of what it finds.

`--scale small` is made for two cores: `tiny`, whose blocks choose what the paper's do (21.5 nats: K0 = 11 at lambda =
1/2), on CIFAR-10 at 32 px under 3 M multiply-adds, on the ground of benchmarks/ground. Nine tenths of the training
images are searched on, half for the weights, half for alpha; what is found is trained on them from scratch by the
recipe of its pool and judged on the 10,000 test images. Arms and seeds run in turn on as many processes as there are
cores, one thread each; a finished one is kept in --out and not repeated. Seconds are of the process's own processor
time, so that other programs add little to them.

`--scale full` is the paper's protocol: 100 random classes of ImageNet by --classes-seed at 128 px, halves, 180 epochs
in batches of 1,024, which gives the paper's number of steps; then training on all of ImageNet, 360 epochs in batches of
4,096 at a rate of 0.1 for every 256 images (ours). It needs --imagenet, a folder of class folders, and is meant for
torchrun, whose ranks run the arms one after another together; rank 0 alone writes. `--only search` leaves the training
to a later call, which may have other ranks. `full/` has a line for each published table. `--scale rehearsal` goes the
same way with two groups of `tiny` in place of the spaces, at 32 px, an epoch each.

What is made of the outcomes is left to `judging`.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "ground"))

import ground
import results_file
import torch
from command import Plan, plan

import fpnas
from fpnas import parallel
from fpnas.data import ImageData
from fpnas.errors import InputError
from fpnas.runner.folder import read_json
from fpnas.spaces.fbnetv2 import TABLE_1
from fpnas.spaces.macro import FBNETV2, FP_NAS, Micro, Row, macro_supernet
from fpnas.spaces.tiny import ROWS as TINY

__all__ = ["Plan", "plan"]

GROUND = ground.POOLS["cifar10-tiny-3M"]
"""What a small run searches on, and how it trains what it finds."""


WITHIN = (("cost_term", None), ("baseline", "mean"))
"""Eq. 7 with our additions: draws within the budget, as all other arms have them, and 1/K taken off."""


@dataclass(frozen=True)
class Arm:
    """One way to search, compared with others.

    Args:
        name: in the table.
        method: `methods.NAME`.
        options: of it.
        fine: each block chooses for itself.
        micro: options of a block, where they aren't the space's own.
        rows: of the space at `--scale full`.
        image_size: px at `--scale full`.
        target: multiply-adds at `--scale small`, and at `full`.
        published: the paper's row.
    """

    name: str
    method: str = "fpnas"
    options: tuple[tuple[str, Any], ...] = ()
    fine: bool = False
    micro: Micro | None = None
    rows: tuple[Row, ...] = TABLE_1
    image_size: int = 128
    target: tuple[float, float] = (3e6, 58e6)
    published: str = "-"


@dataclass(frozen=True)
class Outcome:
    """What came of an arm with one seed: the found network, what the search took, and its accuracy in per cent."""

    samples: int
    steps: int
    first_k: int
    entropy: float
    search_seconds: float
    train_seconds: float
    flops: int
    params: int
    accuracy: float


# ------------------------------------------------------------------------------------------------------------- one run


def supernet(arm: Arm, scale: str, data: ImageData, seed: int) -> fpnas.Supernet:
    """That of `tiny`'s rows, of the first two of them, or of the paper's table 1."""
    small = scale != "full"
    return macro_supernet(
        f"paper-{scale}",
        {"small": TINY, "rehearsal": TINY[:2]}.get(scale, arm.rows),
        arm.micro or (FP_NAS if small else FBNETV2),
        stem=16,
        head=192 if small else 1984,
        image_sizes=(16, 128) if small else (32, 512),
        num_classes=data.num_classes,
        in_channels=data.in_channels,
        seed=seed,
        fine=arm.fine,
    )


def load(asked: Plan, arm: Arm, searching: bool) -> ImageData:
    """The images that are searched on, or trained on."""
    if asked.scale != "small":
        assert asked.imagenet is not None
        some: dict[str, Any] = {"classes": asked.classes, "classes_seed": asked.classes_seed} if searching else {}
        return fpnas.data.load(asked.imagenet, image_size=asked.image_size or arm.image_size, **some)
    there = ground.images(GROUND.data, GROUND.image_size)
    return there.learnt if searching else there.test


def one(asked: Plan, arm: Arm, seed: int) -> Outcome | None:
    """Searches and trains, on all ranks together; what is finished is read from --out. None where training waits."""
    folder = asked.out / arm.name.replace(" ", "-").replace("/", "of").replace(",", "") / f"seed-{seed}"
    record = folder / "outcome.json"
    source = made_by(asked, arm)
    if (finished := looked_up(record, source)) is not None:
        return Outcome(**finished)
    small = asked.scale == "small"
    if small:
        torch.set_num_threads(1)
    where: dict[str, Any] = {"seed": seed, "device": asked.device, "precision": asked.precision}
    found = looked_up(folder / "found.json", source) or searched(asked, arm, folder, source, where)
    if asked.only == "search":
        return None
    start = time.process_time()
    everything = load(asked, arm, searching=False)
    network = fpnas.from_scratch(supernet(arm, asked.scale, everything, seed), found.pop("choices"), seed)
    job = fpnas.Training(network, everything, recipe=recipe_of(asked), **where)
    trained = fpnas.run(job, folder / "train")
    done = None
    if parallel.rank() == 0:
        done = Outcome(
            **found,
            train_seconds=seconds(asked, time.process_time() - start, folder / "train"),
            flops=job.facts["flops"],
            params=job.facts["params"],
            accuracy=trained.accuracy,
        )
        keep(record, asdict(done), source)
    outcome = parallel.broadcast(done)
    assert outcome is not None
    return outcome


def searched(asked: Plan, arm: Arm, folder: Path, source: str, where: dict[str, Any]) -> dict[str, Any]:
    """Runs the search, and keeps its part of an `Outcome` and the choices that it found."""
    small = asked.scale == "small"
    data = load(asked, arm, searching=True)
    net = supernet(arm, asked.scale, data, where["seed"])
    sizes = {"batch_size": 64 if small else asked.batch_size, "accumulate": asked.accumulate}
    task = fpnas.SupernetEvaluator(net, data, **sizes, **where)
    flops = fpnas.Flops(net, data.input_shape)
    least, most = flops.bounds()
    targets = {"small": arm.target[0], "full": arm.target[1], "rehearsal": least + (most - least) / 4}
    budget = fpnas.Budget(flops, targets[asked.scale])
    options = {"epochs": asked.epochs, "seed": where["seed"], **dict(arm.options)}
    search = fpnas.methods.METHODS[arm.method](task, budget, **options)
    start = time.process_time()
    result = fpnas.run(search, folder / "search")
    found: dict[str, Any] | None = None
    if parallel.rank() == 0:
        found = {
            "samples": result.num_samples_total,
            "steps": search.steps_done,
            "first_k": first_k(folder / "search" / "metrics.jsonl"),
            "entropy": result.entropy,
            "search_seconds": seconds(asked, time.process_time() - start, folder / "search"),
            "choices": dict(search.answer().arch),
        }
        keep(folder / "found.json", found, source)
    found = parallel.broadcast(found)
    assert found is not None
    return found


def recipe_of(asked: Plan) -> fpnas.Recipe:
    """The pool's, or at full scale the linear rule of large batches (Goyal et al., 2017)."""
    if asked.scale == "small":
        return GROUND.recipe
    size = asked.train_batch_size
    sizes = {"batch_size": size, "accumulate": asked.accumulate, "lr": 0.1 * size / 256}
    return fpnas.Recipe(epochs=asked.train_epochs, crop="resized", **sizes)


def looked_up(record: Path, source: str) -> dict[str, Any] | None:
    """What is kept, on all ranks; where there is nothing, a run begins.

    Rank 0 decides for all: it alone writes, and a rank that looks later may find what another doesn't.

    Raises:
        InputError: see `kept`; on all ranks, so that none waits for one that is gone.
    """
    found = parallel.broadcast(_looked_up(record, source) if parallel.rank() == 0 else None)
    if isinstance(found, InputError):
        raise found
    return found


def first_alike(asked: Plan, arm: Arm, arms: Sequence[Arm]) -> Arm:
    """The arm; at a rehearsal the first that differs from it in numbers alone."""
    if asked.scale != "rehearsal":
        return arm

    def kind(some: Arm) -> tuple[object, ...]:
        return some.method, some.fine, some.micro, [name for name, _ in some.options]

    return next(other for other in arms if kind(other) == kind(arm))


def _looked_up(record: Path, source: str) -> dict[str, Any] | InputError | None:
    """What is kept, or what is to be refused; where there is neither, a run begins."""
    try:
        found = kept(record, source)
    except InputError as error:
        return error
    if found is None:
        begin(record, source)
    return found


def made_by(asked: Plan, arm: Arm | str) -> str:
    """A digest of all that a run hangs on: the package, this script, the arm, its length and its recipe."""
    sizes = (asked.image_size, asked.classes, asked.batch_size, asked.accumulate)
    recipe = (GROUND if asked.scale == "small" else (recipe_of(asked), sizes), asked.epochs)
    return results_file.source(beside=[Path(__file__), repr(arm), repr(recipe)])


def kept(record: Path, source: str) -> dict[str, Any] | None:
    """What a finished run left, or None. A run of other code isn't one of these: its folder has to be moved away.

    Args:
        record: its file.
        source: `made_by`.

    Raises:
        InputError: it was made by something else; or its folder holds the beginnings of a run, of who knows what.
    """
    if not record.exists():
        folder, begun = record.parent, record.parent / "source"
        if folder.exists() and any(folder.iterdir()) and not (begun.exists() and begun.read_text() == source):
            raise InputError("runs of this code and these settings", f"others in {folder}", "give a new --out")
        return None
    found = json.loads(record.read_text())
    if found.pop("source", "unknown") != source:
        raise InputError("runs of this code and these settings", f"another in {record}", "give a new --out")
    return found


def begin(record: Path, source: str) -> None:
    """Says in the folder whose run begins there: it is gone on with by the same code and settings alone."""
    record.parent.mkdir(parents=True, exist_ok=True)
    (record.parent / "source").write_text(source)


def keep(record: Path, facts: dict[str, Any], source: str) -> None:
    """Writes it at once: a run that is ended here leaves no half of it."""
    new = record.with_suffix(".new")
    new.write_text(json.dumps({**facts, "source": source}))
    new.replace(record)


def seconds(asked: Plan, processor: float, run: Path) -> float:
    """Of all ranks: `processor` seconds on a CPU, and the wall seconds of the run's steps on a GPU."""
    own = processor if asked.device == "cpu" else float(read_json(run / "result.json")["seconds"])
    return own * parallel.world_size()


def first_k(metrics: Path) -> int:
    """The number of samples of the first step."""
    with metrics.open() as lines:
        return int(json.loads(lines.readline())["num_samples"])


# ------------------------------------------------------------------------------------------------------------ all runs


def run(asked: Plan, arms: Sequence[Arm]) -> dict[str, list[Outcome]]:
    """All arms with all seeds, seeds in the outer loop: what is done first is whole for the first seeds."""
    tasks = [(asked, first_alike(asked, arm, arms), seed) for seed in range(asked.seeds) for arm in arms]
    if asked.scale != "small" or asked.workers == 1:
        outcomes = [one(*task) for task in tasks]
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(asked.workers, mp_context=context) as pool:
            outcomes = list(pool.map(one, *zip(*tasks, strict=True)))
    found: dict[str, list[Outcome]] = {arm.name: [] for arm in arms}
    for number, outcome in enumerate(outcomes):
        if outcome is not None:
            found[arms[number % len(arms)].name].append(outcome)
    return found
