"""What is drawn: each plot as plain JSON for plots.js, with its alt text and, where it helps, its figures as a table.

A plot says what it shows and nothing of how: colours, sizes and fonts are style.css's and plots.js's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fpnas.report.choices import COLUMNS, ChoiceHistory, History, front, thin
from fpnas.report.curves import POINTS, excerpt, rounded, thinned
from fpnas.report.reading import RunRecord, Steps
from fpnas.text import NONE, percent, short

DOTS = 1500
"""Sampled architectures drawn for a run at most; the front is drawn beside them."""

FRONT = 80
"""Points of a run's front at most."""


@dataclass(frozen=True)
class Table:
    """Figures in words: beside a plot for those who don't see it, or by themselves; `marked` rows stand out."""

    columns: list[str]
    rows: list[list[str]]
    marked: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Plot:
    """A figure: what plots.js needs in `spec`, and the words around it."""

    title: str
    alt: str
    spec: dict[str, Any]
    legend: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    note: str = ""
    table: Table | None = None


@dataclass(frozen=True)
class Panel:
    """A curve's field of metrics.jsonl, with the words for it."""

    name: str
    title: str
    unit: str


LOSSES = (
    Panel("train_loss", "Loss on the weights' half", "nats"),
    Panel("val_loss", "Loss on alpha's half", "nats"),
)
PANELS = (
    Panel("entropy", "Entropy of the distribution", "nats"),
    Panel("num_samples", "Architectures sampled a step, K", "K"),
    Panel("cost_mean", "Mean cost of the sampled architectures", "cost"),
)
TRAINING = (Panel("train_loss", "Loss", "nats"), Panel("accuracy", "Accuracy on held-out images", "%"))


def search_curves(runs: Sequence[RunRecord]) -> list[Plot]:
    """Losses, entropy, K and cost over the steps, theta marked; the runs on top of each other."""
    points = max(60, POINTS // max(1, math.isqrt(len(runs))))
    plots: list[Plot] = []
    if len(runs) == 1:
        plots += _curve("Losses", "nats", [(runs[0], panel, number) for number, panel in enumerate(LOSSES)], points)
    else:
        for panel in LOSSES:
            plots += _curve(panel.title, panel.unit, [(run, panel, i) for i, run in enumerate(runs)], points)
    for panel in PANELS:
        unit = panel.unit
        if unit == "cost":
            names = {str(run.settings.get("cost")) for run in runs if run.settings.get("cost")}
            unit = names.pop() if len(names) == 1 else "cost"
        plots += _curve(panel.title, unit, [(run, panel, i) for i, run in enumerate(runs)], points)
    return plots


def training_curves(runs: Sequence[RunRecord], colours: Sequence[int]) -> list[Plot]:
    """Loss and accuracy of the trainings."""
    points = max(60, POINTS // max(1, math.isqrt(len(runs) or 1)))
    return [
        plot
        for panel in TRAINING
        for plot in _curve(panel.title, panel.unit, [(r, panel, c) for r, c in zip(runs, colours, strict=True)], points)
    ]


def _curve(title: str, unit: str, lines: Sequence[tuple[RunRecord, Panel, int]], points: int) -> list[Plot]:
    """One plot with a line for each of these that has two numbers or more; none where none has."""
    lines = [line for line in lines if np.isfinite(line[0].steps[line[1].name]).sum() > 1]
    if not lines:
        return []
    several = len({id(run) for run, _, _ in lines}) > 1
    series: list[dict[str, Any]] = []
    rules: list[dict[str, Any]] = []
    phrases: list[str] = []
    for run, panel, colour in lines:
        label = run.name if several else panel.title
        curve = thinned(run.steps["step"], run.steps[panel.name], points)
        series.append({"name": label, "colour": colour, **curve})
        first, last = (float(f"{curve['y'][end]:.4g}") for end in (0, -1))
        phrases.append(f"{label}: from {short(first)} to {short(last)} in {len(run.steps):,} steps.")
        joined_at = run.steps.joined_at
        if joined_at is not None and (several or not rules):
            rules.append({"axis": "x", "at": joined_at, "label": "θ", "colour": colour if several else None})
            phrases.append(f"Theta is at step {joined_at:,}.")
        for target in run.targets if panel.name == "cost_mean" else []:
            rule = {"axis": "y", "at": target, "label": "target", "colour": None}
            if rule not in rules:
                rules.append(rule)
                phrases.append(f"The target is {short(target)}.")
    legend = [(str(line["name"]), int(line["colour"])) for line in series] if len(series) > 1 else []
    spec = {"kind": "curve", "unit": unit, "series": series, "rules": rules}
    table = None if several else _excerpt(lines[0][0].steps, [panel for _, panel, _ in lines])
    return [Plot(title, " ".join([f"{title} over the steps.", *phrases]), spec, legend, table=table)]


def _excerpt(steps: Steps, panels: Sequence[Panel]) -> Table:
    rows = excerpt(steps, tuple(panel.name for panel in panels))
    names = ["step", *(panel.name for panel in panels)]
    cells = [[NONE if row[name] is None else short(row[name]) for name in names] for row in rows]
    return Table(["step", *(panel.title.lower() for panel in panels)], cells)


def heat_maps(history: History, choices: dict[str, Any], columns: int = COLUMNS) -> list[Plot]:
    """For each group, the probability of each option over the epochs, the option that won marked."""
    plots: list[Plot] = []
    groups: dict[str, list[ChoiceHistory]] = {}
    for choice in history.choices:
        groups.setdefault(choice.group, []).append(choice)
    epochs, picked = thin(history, columns) if groups else ([], [])
    for group, members in groups.items():
        rows: list[dict[str, Any]] = []
        cells: list[list[str]] = []
        for choice in members:
            last = choice.probability[-1]
            found = choices.get(choice.name)
            top = int(last.argmax())
            won = choice.options.index(str(found)) if str(found) in choice.options else top
            for number_, option in enumerate(choice.options):
                p = [round(float(value), 3) for value in choice.probability[picked, number_]]
                rows.append({"variable": choice.variable, "option": option, "won": number_ == won, "p": p})
            cells.append([choice.variable, choice.options[won], percent(100 * float(last[won]), 1)])
        won_words = ", ".join(f"{variable} {option} ({p})" for variable, option, p in cells)
        spec = {"kind": "heat", "epochs": [int(epoch) + 1 if math.isfinite(epoch) else 0 for epoch in epochs]}
        alt = f"Probabilities of the options of {group} over {len(history.epochs)} epochs. Chosen: {won_words}."
        table = Table(["variable", "chosen", "probability at the end"], cells)
        plots.append(Plot(group, alt, {**spec, "rows": rows}, table=table))
    return plots


def scatter(runs: Sequence[RunRecord], histories: Sequence[History]) -> Plot | None:
    """Score against cost of the sampled architectures, their Pareto front and the target; None without samples."""
    series: list[dict[str, Any]] = []
    phrases: list[str] = []
    rows: list[list[str]] = []
    targets: list[float] = []
    for colour, (run, history) in enumerate(zip(runs, histories, strict=True)):
        samples = history.samples
        count = len(samples.cost)
        if not count:
            continue
        best = front(samples.cost, samples.score)
        drawn = np.unique(np.linspace(0, count - 1, max(100, DOTS // len(runs))).astype(np.int64))
        name = run.name
        shown = best if len(best) <= FRONT else [best[i] for i in np.linspace(0, len(best) - 1, FRONT).astype(int)]
        points = [
            (rounded(np.array([samples.cost[i], samples.score[i]])), _words(history, samples.codes.get(i)))
            for i in shown
        ]
        line = {
            "name": name,
            "colour": colour,
            "cost": rounded(samples.cost[drawn], 4),
            "score": rounded(samples.score[drawn], 4),
            "epoch": [int(epoch) + 1 if math.isfinite(epoch) else 0 for epoch in samples.epoch[drawn]],
            "front": [[*place, words] for place, words in points],
            "found": run.costs_found,
        }
        series.append(line)
        cheapest, dearest = best[0], best[-1]
        phrases.append(
            f"{name}: {count:,} scored architectures of {short(samples.cost.min())} to {short(samples.cost.max())}; "
            f"the front has {len(best)}, from {samples.score[cheapest]:.3f} at {short(samples.cost[cheapest])} "
            f"to {samples.score[dearest]:.3f} at {short(samples.cost[dearest])}."
        )
        rows += [[name, short(cost), f"{score:.4f}", words or NONE] for (cost, score), words in points[-8:]]
        targets += [target for target in run.targets if target not in targets]
    if not series:
        return None
    units = {str(run.settings.get("cost") or "cost") for run in runs}
    unit = units.pop() if len(units) == 1 else "cost"
    legend = [(str(line["name"]), int(line["colour"])) for line in series] if len(series) > 1 else []
    spec = {"kind": "scatter", "unit": unit, "series": series, "targets": targets}
    note = (
        "Each dot is an architecture as it was sampled and scored, later epochs stronger. Shared weights score by one "
        "batch, as they are at the moment: higher as they learn, and noisily. "
        "The stepped line is the Pareto front; a solid upright one is a network that was found."
    )
    table = Table(["run", unit, "score", "architecture"], rows)
    return Plot("Score against cost", "Score against cost. " + " ".join(phrases), spec, legend, note, table)


def _words(history: History, codes: tuple[int, ...] | None) -> str:
    """An architecture in a line, its options by group; "" where it isn't known."""
    if codes is None or len(codes) != len(history.choices):
        return ""
    parts: dict[str, list[str]] = {}
    for choice, code in zip(history.choices, codes, strict=True):
        parts.setdefault(choice.group, []).append(choice.options[code] if code < len(choice.options) else "?")
    return "  ".join(f"{group} {'/'.join(options)}" for group, options in parts.items())
