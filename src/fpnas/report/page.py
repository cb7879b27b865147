"""One HTML file of one or several runs, which opens without a network.

The page holds all it needs: style, the plotting library (d3 and Observable Plot, `vendor/`), and the plots' figures as
JSON. Whatever came from a run's files is escaped, and a content security policy lets the page's own scripts alone run
and nothing be fetched, so that a hostile name stays a name.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from fpnas.errors import InputError
from fpnas.files import write_whole
from fpnas.report.choices import COLUMNS, History, read_history
from fpnas.report.classes import recall_table
from fpnas.report.plots import Plot, scatter, search_curves, training_curves
from fpnas.report.reading import RunRecord, read_run
from fpnas.report.text import block_words, plain
from fpnas.report.views import choice_table, comparison, network_name, trained_table, view
from fpnas.text import duration, percent, short

MARK = '<meta name="generator" content="fpnas report">'
SCRIPTS = ("vendor/d3.min.js", "vendor/plot.umd.min.js", "assets/plots.js")
MAX_RUNS = 24


def write_report(folders: Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Writes the report of these run folders.

    Args:
        folders: of searches or trainings.
        out: by default report.html, in the run's folder where there is one run.

    Returns:
        Where it lies.

    Raises:
        InputError: no run, too many, a folder that holds none, or a file in its place that is no report.
    """
    paths = list(dict.fromkeys(Path(folder) for folder in folders))
    if not 1 <= len(paths) <= MAX_RUNS:
        raise InputError(f"1 to {MAX_RUNS} run folders", str(len(paths)), "name fewer, or write several reports")
    target = Path(out) if out is not None else paths[0] / "report.html" if len(paths) == 1 else Path("report.html")
    _refuse_to_overwrite(target)
    html = render([read_run(path) for path in paths])
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, html.encode())
    except OSError as error:
        raise InputError(
            "a place that can be written", f"{target} ({error.strerror})", "choose another --out"
        ) from None
    return target


def render(records: Sequence[RunRecord]) -> str:
    """The page as text."""
    runs = _with_names(records)
    histories: list[History] = []
    views: list[Any] = []
    for colour, run in enumerate(runs):
        problems = list(run.problems)
        history = read_history(run.path / "distribution.jsonl", problems) if run.is_search else History()
        histories.append(history)
        for each in run.trainings:
            problems += [f"{each.name}/: {problem}" for problem in each.problems if "layers.json" not in problem]
        views.append(view(run, history, colour, problems, COLUMNS // math.isqrt(len(runs))))
    plots: dict[str, Plot] = {}

    def keep(plot: Plot) -> str:
        """The plot's place in the page's data."""
        key = f"plot{len(plots) + 1}"
        plots[key] = plot
        return key

    searches = [run for run in runs if run.is_search]
    trained = trainings(runs)
    context = {
        "title": f"fpnas: {runs[0].name}" if len(runs) == 1 else f"fpnas: {len(runs)} runs",
        "views": views,
        "several": len(runs) > 1,
        "comparison": comparison(views, runs),
        "chosen": choice_table(views),
        "curves": search_curves(searches) if searches else [],
        "trained": trained_table(runs),
        "training": training_curves([run for run, _ in trained], [colour for _, colour in trained]),
        "recalls": recall_table([run.name for run in views], [run.classes and run.classes.found for run in views]),
        "scatter": scatter(runs, histories),
        "keep": keep,
    }
    body = _template("assets/body.html").render(context)
    data = {key: {**plot.spec, "alt": plot.alt} for key, plot in plots.items()}
    scripts = [Markup(_asset(name)) for name in SCRIPTS]
    return _template("assets/page.html").render(
        title=context["title"],
        mark=Markup(MARK),
        policy=_policy(scripts),
        style=Markup(_asset("assets/style.css")),
        body=Markup(body),
        data=Markup(json_in_html(data)),
        scripts=scripts,
    )


def trainings(runs: Sequence[RunRecord]) -> list[tuple[RunRecord, int]]:
    """The trainings whose curves are drawn, and their colours: all of one search; of several runs that of the found."""
    if len(runs) == 1 and runs[0].trainings:
        return [(replace(each, name=network_name(runs[0], each)), n) for n, each in enumerate(runs[0].trainings)]
    shown = [(run if not run.is_search else run.training, run.name, colour) for colour, run in enumerate(runs)]
    return [(replace(each, name=name), colour) for each, name, colour in shown if each is not None]


def json_in_html(value: Any) -> str:
    """JSON that a script element can hold: nothing in it can end the element or begin a comment."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)  # ASCII: line separators come as escapes
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _policy(scripts: Sequence[str]) -> str:
    """Only these scripts run; nothing is fetched."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:"


@functools.cache
def _template(name: str) -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    filters: dict[str, Any] = {
        "duration": duration,
        "percent": percent,
        "plain": plain,
        "short": short,
        "words": block_words,
    }
    environment.filters.update(filters)
    return environment.from_string(_asset(name))


def _asset(name: str) -> str:
    return files("fpnas.report").joinpath(name).read_text(encoding="utf-8")


def _with_names(records: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs under names that tell them apart: two of a path's last parts, or as many as that takes."""
    parts = [record.path.resolve().parts[1:] for record in records]
    for count in range(2, max(map(len, parts)) + 1):
        names = ["/".join(path[-count:]) for path in parts]
        if len(set(names)) == len(names):
            return [replace(record, name=name) for record, name in zip(records, names, strict=True)]
    return list(records)


def _refuse_to_overwrite(target: Path) -> None:
    if target.is_dir():
        raise InputError("a file for the report", f"the folder {target}", "name a file, such as report.html")
    if target.exists():
        with target.open("rb") as file:
            if MARK.encode() not in file.read(4096):
                raise InputError(
                    "a new file, or an earlier report", f"{target}, which is neither", "choose another --out"
                )
