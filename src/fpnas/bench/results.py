"""What came of a bench: for each method and number of queries the quartiles of simple regret, and a results file.

A figure is the mean over the rotations of a quantile over the seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np

from fpnas.bench.contest import Contest, Outcome
from fpnas.text import escaped, percent, table

TITLE = "# fpnas bench:"
"""How the first line begins, by which a results file is known again."""

HIDDEN = {"method", "seed", "rotation", "table", "table_digest", "epochs", "steps_per_epoch"}
"""Settings that stand elsewhere in the file, or differ from run to run."""


@dataclass(frozen=True)
class Quartiles:
    """Simple regret in points of accuracy."""

    median: float
    q25: float
    q75: float


Summary = Mapping[str, Mapping[int, Quartiles]]
"""Method -> number of queries -> quartiles."""


def summary(contest: Contest, outcomes: Sequence[Outcome]) -> Summary:
    """The figures; methods in order of first appearance."""
    found: dict[str, dict[int, Quartiles]] = {}
    for name in dict.fromkeys(outcome.task.method for outcome in outcomes):
        rotations: dict[int, list[tuple[float, ...]]] = {}
        for outcome in outcomes:
            if outcome.task.method == name:
                rotations.setdefault(outcome.task.rotation, []).append(outcome.regret)
        each = [np.quantile(rotations[rotation], (0.25, 0.5, 0.75), axis=0) for rotation in sorted(rotations)]
        found[name] = {
            queries: Quartiles(median=float(mid), q25=float(low), q75=float(high))
            for queries, (low, mid, high) in zip(contest.checkpoints, np.mean(each, axis=0).T, strict=True)
        }
    return found


def rows(found: Summary) -> tuple[list[str], list[list[str]]]:
    """A table of text: median [q25, q75] in points, a row a method."""
    checkpoints = list(next(iter(found.values())))
    body = [
        [name, *(f"{own[q].median:.2f} [{own[q].q25:.2f}, {own[q].q75:.2f}]" for q in checkpoints)]
        for name, own in found.items()
    ]
    return ["method", *(f"{q} queries" for q in checkpoints)], body


def markdown(
    contest: Contest, found: Summary, outcomes: Sequence[Outcome], facts: Mapping[str, str], picture_name: str
) -> str:
    """The results file.

    Args:
        contest: what was run.
        found: its figures.
        outcomes: of all runs.
        facts: command, date, machine and the like, Markdown by what they are called.
        picture_name: the picture's file, beside this one.
    """
    known = contest.table
    seeds = sorted({outcome.task.seed for outcome in outcomes})
    budget = "no budget"
    if contest.target is not None:
        budget = f"at most {contest.target:,.0f} {escaped(known.cost(contest.cost_column).name)}"
    best = ", ".join(percent(100 * value, 3) for value in contest.best)
    judged = "best of all" if known.exhaustive else "best that a local search on the truth found"
    lines = [
        f"{TITLE} {escaped(known.name)}",
        "",
        *(f"* {name}: {value}" for name, value in facts.items()),
        f"* Table: {escaped(known.name)}, {known.space.size:.4g} architectures, digest {known.digest}; {budget}",
        *(f"* {escaped(note)}" for note in known.notes),
        f"* Seeds {seeds[0]} to {seeds[-1]} in each of {len(contest.best)} rotations; {judged}, by each truth: {best}",
        "",
        "Simple regret in points of accuracy, median [quartiles] over seeds, mean over rotations:",
        "",
        *table(*rows(found)),
        "",
        f"![Simple regret against queries]({quote(picture_name)})",
        "",
        "How far the searches went, and their settings:",
        "",
        *(_about(contest, name, outcomes) for name in found),
        "",
    ]
    return "\n".join(lines)


def _about(contest: Contest, name: str, outcomes: Sequence[Outcome]) -> str:
    own = [outcome for outcome in outcomes if outcome.task.method == name]
    queries, steps = np.median([o.queries for o in own]), np.median([o.steps for o in own])
    settled = sum(outcome.queries < contest.queries for outcome in own)
    search, _ = contest.search(name, 0, 0)
    shown = {k: v for k, v in search.settings().items() if k not in HIDDEN and v is not None}
    settings = ", ".join(f"{key} {escaped(value)}" for key, value in shown.items())
    return (
        f"* {name}: {queries:.0f} queries in {steps:.0f} steps (medians); {settled} of {len(own)} runs had settled "
        f"before {contest.queries} queries. {settings}"
    )
