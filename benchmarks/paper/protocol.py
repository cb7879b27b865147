"""What the paper's experiments share: spaces, data, a search, and the training of what it finds.

`--scale small` is made for two cores: `tiny`, whose blocks choose what the paper's do (21.5 nats: K0 = 11 at lambda =
1/2), on CIFAR-10 at 32 px under 3 M multiply-adds, on the ground of benchmarks/ground. Nine tenths of the training
images are searched on, half for the weights, half for alpha; what is found is trained on them from scratch by the
recipe of its pool and judged on the 10,000 test images. Arms and seeds run in turn on as many processes as there are
cores, one thread each; a finished one is kept in --out and not repeated. Seconds are of the process's own processor
time, so that other programs add little to them.

`--scale full` is the paper's protocol: 100 random classes of ImageNet by --classes-seed at 128 px, halves, 180 epochs;
then training on all of ImageNet. It needs --imagenet, a folder of class folders, and is meant for torchrun, whose ranks
run the arms one after another together; rank 0 alone writes. It has been run on a toy folder only. Batches of 256 are
ours: the paper's 10.7 thousand steps would make them about 1,000 images.

What is made of the outcomes is left to `judging`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
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
import torch.distributed as dist

import fpnas
from fpnas import parallel
from fpnas.cli.options import set_up
from fpnas.data import ImageData
from fpnas.errors import InputError
from fpnas.runner.folder import read_json
from fpnas.spaces.fbnetv2 import TABLE_1
from fpnas.spaces.macro import FBNETV2, FP_NAS, Micro, Row, macro_supernet
from fpnas.spaces.tiny import ROWS as TINY

GROUND = ground.POOLS["cifar10-tiny-3M"]
"""What a small run searches on, and how it trains what it finds."""


WITHIN = (("cost_term", None), ("baseline", "mean"))
"""Eq. 7 with our additions: draws within the budget, as all other arms have them, and 1/K taken off."""

MIXING = ("darts", "fbnetv2")
"""Methods that ranks can't share."""

ONLY_FULL = ("imagenet", "classes", "classes_seed", "image_size", "train_epochs")
"""Options that a small run has no use for."""


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


@dataclass(frozen=True)
class Plan:
    """The command line of an experiment."""

    scale: str
    seeds: int
    epochs: int
    out: Path
    workers: int = 1
    results: Path | None = None
    device: str = "cpu"
    precision: str = "fp32"
    imagenet: Path | None = None
    classes: int = 100
    classes_seed: int = 0
    image_size: int | None = None
    train_epochs: int = 360


def plan(script: str, about: str | None, epochs: int = 4) -> Plan:
    """Reads the command line.

    Args:
        script: names the folder of finished runs.
        about: what --help says.
        epochs: of a small search.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=("small", "full"), default="small")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, help=f"of the search; {epochs} small, 180 full")
    kept = "finished runs are kept here by name: take another folder with other settings"
    parser.add_argument("--out", type=Path, default=Path("runs/paper") / script, help=kept)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes of a small run")
    parser.add_argument("--results", type=Path, help="write the results here")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="cpu small, auto full; bf16 on a GPU")
    full = parser.add_argument_group("with --scale full")
    full.add_argument("--imagenet", type=Path, help="a folder of class folders")
    full.add_argument("--classes", type=int, help="of the search; 100")
    full.add_argument("--classes-seed", type=int, help="decides which; 0")
    full.add_argument("--image-size", type=int, help="px, in place of the arms' own")
    full.add_argument("--train-epochs", type=int, help="of the training; 360")
    given = parser.parse_args()
    small = given.scale == "small"
    options = {name: getattr(given, name) for name in ONLY_FULL if getattr(given, name) is not None}
    if small and options:
        parser.error(f"--{min(options).replace('_', '-')} needs --scale full")
    if small and dist.is_torchelastic_launched():
        parser.error("--scale small is for one process: start it without torchrun")
    if not small and given.imagenet is None:
        parser.error("--scale full needs --imagenet FOLDER")
    try:
        device, precision = set_up(None, given.device or ("cpu" if small else "auto"))
    except InputError as error:
        parser.error(str(error))
    # Runs of another device are other runs.
    out = given.out / (given.scale if device == "cpu" else f"{given.scale}-{device}")
    length = given.epochs or (epochs if small else 180)
    return Plan(given.scale, given.seeds, length, out, given.workers, given.results, device, precision, **options)


# ------------------------------------------------------------------------------------------------------------- one run


def supernet(arm: Arm, scale: str, data: ImageData, seed: int) -> fpnas.Supernet:
    """That of `tiny`'s rows, or of the paper's table 1."""
    small = scale == "small"
    return macro_supernet(
        f"paper-{scale}",
        TINY if small else arm.rows,
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
    if asked.scale == "full":
        assert asked.imagenet is not None
        some: dict[str, Any] = {"classes": asked.classes, "classes_seed": asked.classes_seed} if searching else {}
        return fpnas.data.load(asked.imagenet, image_size=asked.image_size or arm.image_size, **some)
    there = ground.images(GROUND.data, GROUND.image_size)
    return there.learnt if searching else there.test


def one(asked: Plan, arm: Arm, seed: int) -> Outcome:
    """Searches and trains, on all ranks together; what is finished is read from --out."""
    folder = asked.out / arm.name.replace(" ", "-").replace("/", "of").replace(",", "") / f"seed-{seed}"
    record = folder / "outcome.json"
    # Rank 0 decides for all: it alone writes, and a rank that looks later may find what another doesn't.
    source = made_by(asked, arm)
    finished = parallel.broadcast(_looked_up(record, source) if parallel.rank() == 0 else None)
    if isinstance(finished, InputError):  # on all ranks: none waits for one that is gone
        raise finished
    if finished is not None:
        return Outcome(**finished)
    if parallel.world_size() > 1 and arm.method in MIXING:  # said before ImageNet is read
        got = f"{parallel.world_size()} ranks"
        raise InputError(f"one process for {arm.method}, which mixes", got, "start this script without torchrun")
    small = asked.scale == "small"
    if small:
        torch.set_num_threads(1)
    where: dict[str, Any] = {"seed": seed, "device": asked.device, "precision": asked.precision}
    data = load(asked, arm, searching=True)
    net = supernet(arm, asked.scale, data, seed)
    task = fpnas.SupernetEvaluator(net, data, batch_size=64 if small else 256, **where)
    flops = fpnas.Flops(net, data.input_shape)
    budget = fpnas.Budget(flops, arm.target[not small])
    search = fpnas.methods.METHODS[arm.method](task, budget, epochs=asked.epochs, seed=seed, **dict(arm.options))
    start = time.process_time()
    result = fpnas.run(search, folder / "search")
    searched = time.process_time()
    arch = search.answer().arch
    everything = load(asked, arm, searching=False)
    network = fpnas.from_scratch(supernet(arm, asked.scale, everything, seed), arch, seed)
    facts = {**task.describe(arch), "num_classes": everything.num_classes}
    recipe = GROUND.recipe if small else fpnas.Recipe(epochs=asked.train_epochs, crop="resized")
    trained = fpnas.run(fpnas.Training(network, everything, recipe=recipe, **where), folder / "train")
    done = None
    if parallel.rank() == 0:
        done = Outcome(
            samples=result.num_samples_total,
            steps=search.steps_done,
            first_k=first_k(folder / "search" / "metrics.jsonl"),
            entropy=result.entropy,
            search_seconds=seconds(asked, searched - start, folder / "search"),
            train_seconds=seconds(asked, time.process_time() - searched, folder / "train"),
            flops=facts["flops"],
            params=facts["params"],
            accuracy=trained.accuracy,
        )
        keep(record, asdict(done), source)
    outcome = parallel.broadcast(done)
    assert outcome is not None
    return outcome


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
    recipe = (GROUND if asked.scale == "small" else asked.train_epochs, asked.epochs)
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
    tasks = [(asked, arm, seed) for seed in range(asked.seeds) for arm in arms]
    if asked.scale == "full" or asked.workers == 1:
        outcomes = [one(*task) for task in tasks]
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(asked.workers, mp_context=context) as pool:
            outcomes = list(pool.map(one, *zip(*tasks, strict=True)))
    found: dict[str, list[Outcome]] = {arm.name: [] for arm in arms}
    for (_, arm, _), outcome in zip(tasks, outcomes, strict=True):
        found[arm.name].append(outcome)
    return found
