"""What the page says in words and figures: of each run its key figures, its network and how it was made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fpnas.report.choices import History
from fpnas.report.classes import ClassesView, Evaluation, classes_view, read_evaluation, read_span, span_words
from fpnas.report.curves import Savings, savings
from fpnas.report.cuts import Cuts, read_cuts
from fpnas.report.network import Block, read_blocks
from fpnas.report.plots import Plot, Table, heat_maps
from fpnas.report.reading import RunRecord, mapping, number, sequence
from fpnas.report.text import plain
from fpnas.text import NONE, counted, duration, percent, short


@dataclass(frozen=True)
class Figure:
    """A key figure: what, how much, and what it stands beside."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class RunView:
    """What the page says of one run beside what its files hold; `colour` is the number of its curves' colour."""

    record: RunRecord
    name: str
    colour: int
    lead: str
    figures: list[Figure]
    saved: Savings | None
    classes: ClassesView | None
    answers: Table | None
    beside: Table | None
    blocks: tuple[Block, ...]
    cuts: Cuts | None
    choices: dict[str, str]
    heat_maps: list[Plot]
    facts: dict[str, str]
    problems: list[str]


def view(run: RunRecord, history: History, colour: int, problems: list[str], columns: int) -> RunView:
    """The view of one run; `columns` of its heat maps at most."""
    saved = savings(run.steps) if run.is_search else None
    choices = mapping(run.arch.get("choices"))
    trained = run.training if run.is_search else run
    evaluation = None if trained is None else read_evaluation(trained.evaluation)
    return RunView(
        record=run,
        name=run.name,
        colour=colour,
        lead=_lead(run),
        figures=_figures(run, saved, evaluation),
        saved=saved,
        classes=None if evaluation is None else classes_view(evaluation),
        answers=_answers(run) if run.answers else None,
        beside=_beside(run) if len(run.beside) > 1 else None,
        blocks=read_blocks(run.layers, choices),
        cuts=read_cuts(run.layers, choices),
        choices={name: plain(option) for name, option in choices.items()},
        heat_maps=heat_maps(history, choices, columns),
        facts=_facts(run),
        problems=problems,
    )


def _lead(run: RunRecord) -> str:
    """What it was, in a sentence."""
    settings = run.settings
    space, data = plain(settings.get("space") or "?"), plain(settings.get("data") or "?")
    epochs = number(settings.get("epochs"))
    length = counted(round(epochs), "epoch") if math.isfinite(epochs) else ""
    parts = [f"{'Search' if run.is_search else 'Training'} in the space {space} on {data}", length]
    chosen = run.arch.get("image_size") if "image_sizes" in settings else None
    size = number(settings.get("image_size") if chosen is None else chosen)
    parts.append(f"{size:.0f} px" if math.isfinite(size) else "")
    parts.append(f"seed {plain(settings['seed'])}" if "seed" in settings else "")
    return ", ".join(part for part in parts if part) + "." if settings else ""


_COSTS = {"flops": "FLOPs", "params": "parameters", "ram": "bytes of RAM", "flash": "bytes of flash"}
"""What a network costs, by its name in result.json and in words."""


def _figures(run: RunRecord, saved: Savings | None, evaluation: Evaluation | None) -> list[Figure]:
    result, steps = run.result, run.steps
    targets, cost_name = run.targets, str(run.settings.get("cost") or "")
    figures: list[Figure] = []
    asked = {cost_name: targets[-1]} if targets else {}
    for part in map(mapping, sequence(result.get("budgets"))):
        asked[str(part.get("cost_name"))] = number(part.get("target"))
    for name, label in _COSTS.items():
        value = number(result.get(name, run.arch.get(name)))
        limits = [target for cost, target in asked.items() if cost.startswith(label)]
        note = {"flops": "multiply-adds", "params": ""}.get(name, plain(result.get("memory_precision")))
        if math.isfinite(value):
            figures.append(Figure(label, short(value), f"target {short(limits[0])}" if limits else note))
    trained = run.training.result if run.training is not None else {} if run.is_search else result
    if math.isfinite(accuracy := number(trained.get("accuracy"))):
        images = number(trained.get("num_images"))
        figures.append(Figure("accuracy", percent(accuracy), f"of {short(images)} held-out images"))
    if evaluation is not None and evaluation.differs_when_balanced:
        figures.append(Figure("balanced accuracy", percent(evaluation.balanced), "each class counts the same"))
    if saved is not None:
        some = saved.samples < saved.samples_fixed
        fewer = f"{percent(100 * saved.samples_saved, 1)} fewer than at" if some else "as at"
        note = f"{fewer} K = {saved.k0} throughout"
        figures.append(Figure("samples", f"{saved.samples:,}", note))
    seconds = number(result.get("seconds"))
    if not math.isfinite(seconds) and len(steps):
        seconds = float(steps["seconds"][steps["seconds"] >= 0].sum())
    if math.isfinite(seconds):
        figures.append(Figure("time", duration(seconds), counted(len(steps), "step")))
    if steps.has("entropy"):
        known = steps["entropy"][~(steps["entropy"] != steps["entropy"])]
        # The last line's is that of the last draws; alpha has moved once more since.
        last = number(result.get("entropy")) if len(targets) < 2 else math.nan
        last = last if math.isfinite(last) else known[-1]
        figures.append(Figure("entropy at the end", f"{last:.2f} nats", f"from {known[0]:.2f}"))
    return figures


def _answers(run: RunRecord) -> Table:
    """For each target what was found, and how accurate it is where it was trained in the run's folder."""
    unit = str(run.settings.get("cost") or "cost")
    apart = [] if unit in ("FLOPs", "parameters") else [unit]
    rows: list[list[str]] = []
    for answer in run.answers:
        trained = [each.result for each in run.trainings if mapping(each.arch.get("choices")) == answer.choices]
        accuracy = max((number(result.get("accuracy")) for result in trained), default=math.nan)
        figures = [answer.target, *([answer.cost] if apart else []), answer.flops, answer.params]
        told = percent(accuracy)
        rows.append([*map(short, figures), told, answer.file])
    return Table([f"target, {unit}", *apart, "FLOPs", "parameters", "accuracy", "file"], rows)


def _beside(run: RunRecord) -> Table:
    """The network found and those that `fpnas find --compare` trained beside it, a row each."""
    rows: list[list[str]] = []
    for row in run.beside:
        accuracy, balanced, flops, params, ms = (
            number(row.get(name)) for name in ("accuracy", "balanced_accuracy", "flops", "params", "ms")
        )
        spans = (span_words(read_span(row.get(f"{name}_interval"))) for name in ("accuracy", "balanced_accuracy"))
        shares = [cell for pair in zip(map(percent, (accuracy, balanced)), spans, strict=True) for cell in pair]
        rows.append([plain(row.get("name")), *shares, short(flops), short(params), short(ms)])
    head = ["network", "accuracy", "95 % interval", "balanced", "95 % interval", "FLOPs", "parameters", "ms an image"]
    return Table(head, rows, frozenset({0}))


def _facts(run: RunRecord) -> dict[str, str]:
    """Versions, seed and hardware."""
    versions, hardware = (mapping(run.run.get(name)) for name in ("versions", "hardware"))
    facts = {"seed": run.settings["seed"]} if "seed" in run.settings else {}
    facts |= {f"{name} version": value for name, value in versions.items()}
    facts |= {name: value for name, value in hardware.items() if value is not None}
    told = {name: plain(value) for name, value in facts.items()}
    peak = number(run.result.get("peak_memory_mb"))
    return told | ({"peak memory": f"{peak:,.0f} MiB"} if math.isfinite(peak) else {})


def comparison(views: Sequence[RunView], runs: Sequence[RunRecord]) -> Table:
    """The runs side by side, a row each."""
    labels = list(dict.fromkeys(figure.label for run in views for figure in run.figures))
    settings = [name for name in ("space", "data", "method", "seed", "target") if _differs(name, runs)]
    rows: list[list[str]] = []
    for run, record in zip(views, runs, strict=True):
        values: dict[str, Any] = {figure.label: figure.value for figure in run.figures}
        own = [plain(record.settings.get(name)) for name in settings]
        saved = [NONE if run.saved is None else percent(100 * run.saved.samples_saved, 1)]
        rows.append([run.name, *own, *(values.get(label, NONE) for label in labels), *saved])
    return Table(["run", *settings, *labels, "samples saved"], rows)


WHOLE = "whole"
"""The folder in which a search trains the network that it begins with; see `runner.tuned`."""


def network_name(run: RunRecord, training: RunRecord) -> str:
    """What a trained network is called: "found" where the search found it, and for which targets; else its folder."""
    choices = mapping(training.arch.get("choices"))
    targets = [short(answer.target) for answer in run.answers if choices and answer.choices == choices]
    if targets:
        return f"found within {', '.join(targets)}"
    if training.name == WHOLE:
        epochs = number(training.settings.get("epochs"))
        return "the whole one" if math.isnan(epochs) else f"the whole one, after {counted(int(epochs), 'epoch')}"
    return "found" if run.has_found(training) else training.name


def trained_table(runs: Sequence[RunRecord]) -> Table:
    """The trained networks in the folders of searches that have several, the most accurate of each search first."""
    rows: list[list[str]] = []
    found: list[int] = []
    for run in runs:
        if len(run.trainings) < 2:
            continue
        accuracies = [number(each.result.get("accuracy")) for each in run.trainings]
        ranked = sorted(zip(accuracies, run.trainings, strict=True), key=lambda pair: (not pair[0] >= 0, -pair[0]))
        for accuracy, each in ranked:
            flops, params = (number(each.result.get(name, each.arch.get(name))) for name in ("flops", "params"))
            told = [percent(accuracy), short(flops), short(params)]
            own = [run.name] if len(runs) > 1 else []
            name = network_name(run, each)
            found += [len(rows)] if run.has_found(each) or name.startswith("found within ") else []
            rows.append([*own, name, *told, duration(number(each.result.get("seconds")))])
    own = ["run"] if len(runs) > 1 else []
    return Table([*own, "network", "accuracy", "FLOPs", "parameters", "training took"], rows, frozenset(found))


def choice_table(views: Sequence[RunView]) -> Table:
    """What each run chose, a row a choice; those in which they differ are marked."""
    names = list(dict.fromkeys(name for run in views for name in run.choices))
    rows: list[list[str]] = []
    for name in names:
        options = [run.choices.get(name, NONE) for run in views]
        rows.append([name, *options, "same" if len(set(options)) == 1 else "differs"])
    differing = frozenset(index for index, row in enumerate(rows) if row[-1] == "differs")
    return Table(["choice", *(run.name for run in views), ""], rows, differing)


def _differs(name: str, runs: Sequence[RunRecord]) -> bool:
    return len({plain(run.settings.get(name)) for run in runs}) > 1
