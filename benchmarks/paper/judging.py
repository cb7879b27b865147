"""From an experiment's command line to its results: the table, and the paper's claims judged in words.

Every comparison is made seed by seed; what noise could have made is not known (see benchmarks/verdicts.py).
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).parents[1]))

import results_file
import torch
from protocol import GROUND, Arm, Outcome, Plan, plan, run
from verdicts import LEAST, Verdict, interval, verdict

from fpnas import parallel

HOLDS = "the paper's claim holds here"
FAILS = "the paper's claim does not hold here"
UNKNOWN = "whether the paper's claim holds here is not known"

Claim = Literal["no loss", "ahead", "behind"]
"""Of an arm's accuracy; "no loss" also where the paper prints a small lead beside its claim of less time."""

Found = dict[str, list[Outcome]]
"""Of each arm, by its name, the outcomes by seed."""


def perform(
    script: str,
    title: str,
    about: str | None,
    arms: Callable[[str], Sequence[Arm]],
    lines: Callable[[str, Found], Sequence[str]],
) -> None:
    """An experiment from its command line to its results.

    Args:
        script: its name.
        title: of the results.
        about: what --help says.
        arms: those of a scale.
        lines: the results at a scale.
    """
    asked, begun = plan(script, about), time.monotonic()
    with parallel.ranks(asked.device):
        found = run(asked, arms(asked.scale))
        if parallel.rank() == 0 and asked.only is None:
            report(asked, script, title, lines(asked.scale, found), (time.monotonic() - begun) / 60)


# ----------------------------------------------------------------------------------------------------------- the table


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean and standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):,.{digits}f} ± {deviation:,.{digits}f}"


def table(arms: Sequence[Arm], found: Found, against: str) -> list[str]:
    """A line an arm: the published figures, ours, and samples and seconds over those of the arm `against`."""
    base = found[against]
    head = ["arm", "published", "K at first", "samples", f"of {against}'s", "search, s", f"of {against}'s"]
    head += ["kFLOPs", "test accuracy, %"]
    lines: list[list[str]] = []
    for arm in arms:
        rows = found[arm.name]
        lines.append(
            [
                arm.name,
                arm.published,
                f"{statistics.fmean(row.first_k for row in rows):.0f}",
                f"{statistics.fmean(row.samples for row in rows):,.0f}",
                f"{statistics.fmean(_shares(rows, base, 'samples')):.2f}",
                f"{statistics.fmean(row.search_seconds for row in rows):,.0f}",
                f"{statistics.fmean(_shares(rows, base, 'search_seconds')):.2f}",
                spread([row.flops / 1e3 for row in rows], 0),
                spread([row.accuracy for row in rows]),
            ]
        )
    return results_file.table(head, lines)


def _shares(ours: Sequence[Outcome], theirs: Sequence[Outcome], what: str) -> list[float]:
    """One's numbers over the other's, by seed."""
    return [getattr(a, what) / getattr(b, what) for a, b in zip(ours, theirs, strict=True)]


# ---------------------------------------------------------------------------------------------------------- the claims


def difference(ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> Verdict:
    """Points of accuracy that `ours` is ahead by, seed by seed."""
    return verdict([a.accuracy - b.accuracy for a, b in zip(ours, theirs, strict=True)])


def accuracy(ours: Sequence[Outcome], theirs: Sequence[Outcome], claim: Claim, published: str) -> str:
    """The accuracies of two arms, and what becomes of the paper's claim."""
    found = difference(ours, theirs)
    if claim == "no loss":
        holds, fails = found.word in ("ahead", "no worse"), found.word == "behind"
    else:
        holds, fails = found.word == claim, found.word == ("behind" if claim == "ahead" else "ahead")
    return f"accuracy (published: {published}): {found}, {HOLDS if holds else FAILS if fails else UNKNOWN}"


def samples(ours: Sequence[Outcome], theirs: Sequence[Outcome], claim: int) -> str:
    """The samples of two arms against a claim of so many per cent fewer."""
    saved = [100 * (1 - share) for share in _shares(ours, theirs, "samples")]
    mean = statistics.fmean(saved)
    said = f"{abs(mean):.0f} % {'fewer' if mean >= 0 else 'more'}"
    return f"samples (published: {claim} % fewer): {said}, {_reached(saved, claim)}"


def duration(ours: Sequence[Outcome], theirs: Sequence[Outcome], claim: float) -> str:
    """The search times of two arms against a claim of so many times faster."""
    faster = [1 / share for share in _shares(ours, theirs, "search_seconds")]
    said = f"{statistics.fmean(faster):.1f}x"
    return f"time (published: {claim:.1f}x faster): {said}, {_reached(faster, claim)}"


def _reached(values: Sequence[float], claim: float) -> str:
    """Whether the interval of the mean lies above a claim, below it, or around it."""
    _, low, high = interval(values)
    if len(values) < LEAST:
        return UNKNOWN
    return HOLDS if low >= claim else FAILS if high < claim else UNKNOWN


# ---------------------------------------------------------------------------------------------------- the results file


def report(asked: Plan, script: str, title: str, lines: Sequence[str], minutes: float) -> None:
    """Prints the results, and writes them where that was asked for.

    Args:
        asked: the command line.
        script: its name.
        title: of the results.
        lines: the results.
        minutes: that this call took.
    """
    command = f"benchmarks/paper/{script}.py --scale {asked.scale} --seeds {asked.seeds} --epochs {asked.epochs}"
    ranks = parallel.world_size()
    small = asked.scale == "small"
    if not small:
        command += f" --imagenet FOLDER --classes {asked.classes} --classes-seed {asked.classes_seed}"
        command += f" --train-epochs {asked.train_epochs} --batch-size {asked.batch_size}"
        command += f" --train-batch-size {asked.train_batch_size}"
        command += "" if asked.image_size is None else f" --image-size {asked.image_size}"
    if asked.device != "cpu" or not small:
        command += f" --device {asked.device}"
    start = "python" if ranks == 1 else f"torchrun --nproc-per-node {ranks}"
    threads = "one thread a run" if small else f"{ranks} {'process' if ranks == 1 else 'processes'}"
    gpu = f", {torch.cuda.get_device_name()}" if asked.device == "cuda" else ""
    text = [
        f"# {title}",
        "",
        f"* Command: `{start} {command}`; {time.strftime('%Y-%m-%d')}, commit {results_file.commit()}",
        f"* Machine: {platform.machine()}{gpu}, {os.cpu_count()} cores, {threads}; "
        f"Python {platform.python_version()}, torch {torch.__version__}, {asked.precision}",
        f"* Wall time: {minutes:.0f} min in this call; runs that had finished before it were kept",
    ]
    if small:
        text.append(
            f"* CIFAR-10 (JPEG copy) at {GROUND.image_size} px, nine tenths of the training images; {asked.epochs} "
            "epochs of search with batches of 64 on `tiny`; found networks trained on the same images by the recipe of "
            f"the pool {GROUND.name}, {GROUND.recipe.epochs} epochs"
        )
    clock = "processor seconds" if asked.device == "cpu" else "wall seconds times GPUs"
    text.append(f"* Mean ± standard deviation over seeds 0 to {asked.seeds - 1}; seconds are {clock}")
    text += ["", *lines]
    print("\n".join([*text, ""]))
    results_file.write(asked.results, text)
