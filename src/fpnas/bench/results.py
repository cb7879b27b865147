"""What came of a bench: for each method and number of queries the quartiles of simple regret, and a results file.

A figure is the mean over the rotations of a quantile over the seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np

from fpnas.bench.contest import Contest, Outcome
from fpnas.shipping.card import text


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
        own = [outcome for outcome in outcomes if outcome.task.method == name]
        rotations = sorted({outcome.task.rotation for outcome in own})
        quantiles = np.mean(
            [
                np.quantile([o.regret for o in own if o.task.rotation == rotation], (0.25, 0.5, 0.75), axis=0)
                for rotation in rotations
            ],
            axis=0,
        )
        found[name] = {
            queries: Quartiles(median=float(mid), q25=float(low), q75=float(high))
            for queries, (low, mid, high) in zip(contest.checkpoints, quantiles.T, strict=True)
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
    table = contest.table
    head, body = rows(found)
    seeds = sorted({outcome.task.seed for outcome in outcomes})
    if contest.target is None:
        budget = "no budget"
    else:
        budget = f"at most {contest.target:,.0f} {text(table.cost(contest.cost_column).name)}"
    best = ", ".join(f"{100 * value:.3f} %" for value in contest.best)
    known = "best of all" if table.exhaustive else "best that a local search on the truth found"
    lines = [
        title(contest),
        "",
        *(f"* {name}: {value}" for name, value in facts.items()),
        f"* Table: {text(table.name)}, {table.space.size:.4g} architectures, digest {table.digest}; {budget}",
        *(f"* {text(note)}" for note in table.notes),
        f"* Seeds {seeds[0]} to {seeds[-1]} in each of {len(contest.best)} rotations; {known}, by each truth: {best}",
        "",
        "Simple regret in points of accuracy, median [quartiles] over seeds, mean over rotations:",
        "",
        "| " + " | ".join(head) + " |",
        "| --- |" + " --- |" * (len(head) - 1),
        *("| " + " | ".join(row) + " |" for row in body),
        "",
        f"![Simple regret against queries]({quote(picture_name)})",
        "",
        "How far the searches went, and their settings:",
        "",
        *(_about(contest, name, outcomes) for name in found),
        "",
    ]
    return "\n".join(lines)


def title(contest: Contest) -> str:
    """The first line, by which a results file is known again."""
    return f"{TITLE} {text(contest.table.name)}"


TITLE = "# fpnas bench:"


def _about(contest: Contest, name: str, outcomes: Sequence[Outcome]) -> str:
    own = [outcome for outcome in outcomes if outcome.task.method == name]
    queries, steps = np.median([o.queries for o in own]), np.median([o.steps for o in own])
    settled = sum(outcome.queries < contest.queries for outcome in own)
    search, _ = contest.search(name, 0, 0)
    shown = {k: v for k, v in search.settings().items() if k not in HIDDEN and v is not None}
    settings = ", ".join(f"{key} {text(value)}" for key, value in shown.items())
    return (
        f"* {name}: {queries:.0f} queries in {steps:.0f} steps (medians); {settled} of {len(own)} runs had settled "
        f"before {contest.queries} queries. {settings}"
    )


HIDDEN = {"method", "seed", "rotation", "table", "table_digest", "epochs", "steps_per_epoch"}
"""Settings that stand elsewhere in the file, or differ from run to run."""
