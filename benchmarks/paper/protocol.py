"""What the paper's experiments share: spaces, data, a search, the training of what it finds, and the results file.

`--scale small` is made for two cores: 20,000 Fashion-MNIST images at 16 px are searched on (half for the weights, half
for alpha) in `tiny`, whose blocks choose what the paper's do (21.5 nats: K0 = 11 at lambda = 1/2). What is found is
trained from scratch on all 60,000 images for one epoch and judged on the 10,000 test images. Arms and seeds run in turn
on as many processes as there are cores, one thread each; a finished one is kept in --out and not repeated. Seconds are
of the process's own processor time, so that other programs add little to them.

`--scale full` is the paper's protocol: 100 random classes of ImageNet by --classes-seed at 128 px, halves, 180 epochs;
then training on all of ImageNet. It needs --imagenet (a folder of class folders) and is meant for torchrun, which runs
the arms one after another on all ranks. It has not been run here.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

import fpnas
from fpnas.data import ImageData
from fpnas.spaces.fbnetv2 import TABLE_1
from fpnas.spaces.macro import FBNETV2, FP_NAS, Micro, Row, macro_supernet
from fpnas.spaces.tiny import ROWS as TINY
from fpnas.streams import generator

SEARCHED = 20_000
"""Training images of a small search."""

RECIPE = fpnas.Recipe(epochs=1, crop="none", flip=False, ema=0.0)
"""Of a small training: each image once, so there is nothing to augment against."""


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
    target: tuple[float, float] = (0.8e6, 60e6)
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
    imagenet: Path | None
    classes_seed: int
    workers: int
    results: Path | None


def plan(script: str, about: str | None, epochs: int = 2) -> Plan:
    """Reads the command line.

    Args:
        script: names the folder of finished runs.
        about: what --help says.
        epochs: of a small search.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=("small", "full"), default="small")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help=f"of the search; {epochs} small, 180 full")
    parser.add_argument("--out", type=Path, default=Path("runs/paper") / script)
    parser.add_argument("--imagenet", type=Path, help="a folder of class folders, for --scale full")
    parser.add_argument("--classes-seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--results", type=Path, help="write the results here")
    given = parser.parse_args()
    if given.scale == "full" and given.imagenet is None:
        parser.error("--scale full needs --imagenet FOLDER")
    length = given.epochs or (epochs if given.scale == "small" else 180)
    out = given.out / given.scale
    return Plan(given.scale, given.seeds, length, out, given.imagenet, given.classes_seed, given.workers, given.results)


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


def load(asked: Plan, arm: Arm, searching: bool, seed: int) -> ImageData:
    """The images that are searched on, or trained on."""
    if asked.scale == "full":
        assert asked.imagenet is not None
        some: dict[str, Any] = {"classes": 100, "classes_seed": asked.classes_seed} if searching else {}
        return fpnas.data.load(asked.imagenet, image_size=arm.image_size, **some)
    data = fpnas.data.load("fashion-mnist", image_size=16)
    if not searching:
        return data
    chosen = torch.randperm(len(data.train), generator=generator(seed, "searched"))[:SEARCHED]
    return replace(data, train=data.train.subset(chosen))


def one(asked: Plan, arm: Arm, seed: int) -> Outcome:
    """Searches and trains; what is finished is read from --out."""
    folder = asked.out / arm.name.replace(" ", "-").replace("/", "of").replace(",", "") / f"seed-{seed}"
    record = folder / "outcome.json"
    if record.exists():
        return Outcome(**json.loads(record.read_text()))
    if asked.scale == "small":
        torch.set_num_threads(1)
    data = load(asked, arm, searching=True, seed=seed)
    net = supernet(arm, asked.scale, data, seed)
    task = fpnas.SupernetEvaluator(net, data, seed=seed, batch_size=64 if asked.scale == "small" else 256)
    flops = fpnas.Flops(net, data.input_shape)
    budget = fpnas.Budget(flops, arm.target[asked.scale == "full"])
    search = fpnas.methods.METHODS[arm.method](task, budget, epochs=asked.epochs, seed=seed, **dict(arm.options))
    start = time.process_time()
    result = fpnas.run(search, folder / "search")
    searched = time.process_time()
    arch = search.answer().arch
    everything = load(asked, arm, searching=False, seed=seed)
    network = fpnas.from_scratch(supernet(arm, asked.scale, everything, seed), arch, seed)
    facts = {**task.describe(arch), "num_classes": everything.num_classes}
    recipe = RECIPE if asked.scale == "small" else fpnas.Recipe(epochs=360, crop="resized")
    trained = fpnas.run(fpnas.Training(network, facts, everything, recipe=recipe, seed=seed), folder / "train")
    done = Outcome(
        samples=result.num_samples_total,
        steps=search.steps_done,
        first_k=first_k(folder / "search" / "metrics.jsonl"),
        entropy=result.entropy,
        search_seconds=searched - start,
        train_seconds=time.process_time() - searched,
        flops=facts["flops"],
        params=facts["params"],
        accuracy=trained.accuracy,
    )
    record.write_text(json.dumps(asdict(done)))
    return done


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


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean and standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):,.{digits}f} ± {deviation:,.{digits}f}"


def table(arms: Sequence[Arm], found: dict[str, list[Outcome]], against: str) -> list[str]:
    """A line an arm: the published figures, ours, and samples and seconds over those of the arm `against`."""
    base = found[against]
    head = ["arm", "published", "K at first", "samples", f"of {against}'s", "search, s", f"of {against}'s"]
    head += ["kFLOPs", "test accuracy, %"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for arm in arms:
        rows = found[arm.name]
        cells = [
            arm.name,
            arm.published,
            f"{statistics.fmean(row.first_k for row in rows):.0f}",
            f"{statistics.fmean(row.samples for row in rows):,.0f}",
            ratio([row.samples for row in rows], [row.samples for row in base]),
            f"{statistics.fmean(row.search_seconds for row in rows):,.0f}",
            ratio([row.search_seconds for row in rows], [row.search_seconds for row in base]),
            spread([row.flops / 1e3 for row in rows], 0),
            spread([row.accuracy for row in rows]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The mean over seeds of one over the other."""
    return f"{statistics.fmean(a / b for a, b in zip(ours, theirs, strict=True)):.2f}"


def difference(ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> tuple[float, float]:
    """Points of accuracy that `ours` is ahead by, seed by seed: mean and standard error."""
    gaps = [a.accuracy - b.accuracy for a, b in zip(ours, theirs, strict=True)]
    error = statistics.stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else float("nan")
    return statistics.fmean(gaps), error


def verdict(gap: tuple[float, float]) -> str:
    """A difference in words: noise is within two standard errors."""
    mean, error = gap
    word = "no more than noise" if abs(mean) <= 2 * error else "ahead" if mean > 0 else "behind"
    return f"{mean:+.2f} ± {error:.2f} points ({word})"


def report(asked: Plan, script: str, title: str, lines: Sequence[str]) -> None:
    """Prints the results, and writes them where that was asked for."""
    command = f"python benchmarks/paper/{script}.py --scale {asked.scale} --seeds {asked.seeds} --epochs {asked.epochs}"
    text = [
        f"# {title}",
        "",
        f"* Command: `{command}`; {time.strftime('%Y-%m-%d')}",
        f"* Machine: {platform.machine()}, {os.cpu_count()} cores, one thread a run; "
        f"Python {platform.python_version()}, torch {torch.__version__}",
    ]
    if asked.scale == "small":
        text += [
            f"* Fashion-MNIST at 16 px, {SEARCHED:,} images searched on, {asked.epochs} epochs of "
            f"{SEARCHED // 2 // 64} steps of batch 64, on `tiny`; found networks trained on all 60,000 images for one"
            " epoch",
            f"* Mean ± standard deviation over seeds 0 to {asked.seeds - 1}; seconds are processor seconds",
        ]
    text += ["", *lines, ""]
    print("\n".join(text))
    if asked.results is not None:
        asked.results.parent.mkdir(parents=True, exist_ok=True)
        asked.results.write_text("\n".join(text))
