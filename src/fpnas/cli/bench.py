"""`fpnas bench`: methods on a table of known results; a results file, and a picture beside it."""

from __future__ import annotations

import platform
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fpnas.cli.options import Json
from fpnas.cli.output import print_json, print_table
from fpnas.cli.quantity import parse_quantity
from fpnas.errors import InputError
from fpnas.text import duration, span

if TYPE_CHECKING:
    from fpnas.bench import Contest, Outcome, Task

METHODS = ("fpnas", "fpnas-within", "fpnas-posterior", "fpnas-thompson", "parsec", "reinforce", "random", "evolution")
"""Those of fpnas.bench.METHODS; written here, too, so that --help needn't import torch."""


def bench(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE", help="NAS-Bench-Macro's JSON or npz, Accel-NASBench's npz, or a CSV or parquet of yours."
        ),
    ],
    methods: Annotated[str, typer.Option("--methods", help=f"By commas: {', '.join(METHODS)}.")] = ",".join(METHODS),
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Runs of each method and rotation.")] = 20,
    queries: Annotated[
        int, typer.Option("--queries", min=1, max=1_000_000, help="How many different architectures a run may look up.")
    ] = 400,
    target: Annotated[
        str | None, typer.Option("--target-flops", "--target", help="The budget: at most so much, such as 50M.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", help="Of your own table: a column with accuracies; several are runs, in rotation."),
    ] = None,
    truth: Annotated[
        str | None,
        typer.Option("--truth", help="Of your own table: the column of true accuracies, if it isn't --metric."),
    ] = None,
    cost_column: Annotated[
        str | None, typer.Option("--cost-column", help="The column that --target limits; by default FLOPs.")
    ] = None,
    ignore_column: Annotated[
        list[str] | None, typer.Option("--ignore-column", help="Of your own table: a column to leave out.")
    ] = None,
    seed_column: Annotated[
        str | None,
        typer.Option("--seed-column", help="Of your own table: tells trainings of one architecture apart; averaged."),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Your own table holds a sample of its space: fit a surrogate.")
    ] = False,
    scale: Annotated[
        float, typer.Option("--scale", help="Log-likelihood, in nats, that stands for an accuracy of 100 %.")
    ] = 200.0,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, max=1024, help="Processes; one for each core by default.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The results file; bench-TABLE.md by default. A picture goes beside it."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge search methods on a table whose best architectures are known."""
    from fpnas import tables
    from fpnas.bench import Contest, Task, markdown, method, picture, summary
    from fpnas.bench.results import rows

    names = list(dict.fromkeys(name.strip() for name in methods.split(",") if name.strip()))
    if not names:
        raise InputError("methods by name", repr(methods), f"choose some of: {', '.join(METHODS)}")
    for name in names:
        method(name)
    wanted = None if target is None else parse_quantity(target, "--target-flops")
    file = Path(f"bench-{table.stem}.md") if out is None else out
    image = file.with_suffix(".svg")
    _refuse_to_write_over(file, image)
    own = table.suffix in (".csv", ".parquet")
    known = tables.load(
        table,
        metric=metric or (),
        truth=truth,
        cost_columns=() if cost_column is None or not own else (cost_column,),
        ignore=ignore_column or (),
        partial=partial,
        seed=seed_column,
    )
    if wanted is None and cost_column is not None:
        known.cost(cost_column)
    contest = Contest.of(known, wanted, queries, cost_column, scale)
    for name in names:
        contest.search(name, 0, 0)  # what a method refuses, it refuses now
    tasks = [Task(n, r, s) for n in names for r in range(len(known.rotations)) for s in range(seeds)]
    began = time.perf_counter()
    with _terminable():
        outcomes = _run(contest, tasks, workers)
    found = summary(contest, outcomes)
    facts = _facts(time.perf_counter() - began, len(tasks), workers)
    image.write_text(picture(found, f"{known.name}: {len(tasks) // len(names)} runs a method"), encoding="utf-8")
    file.write_text(markdown(contest, found, outcomes, facts, image.name), encoding="utf-8")
    if as_json:
        print_json({"regret": {n: {str(q): vars(f) for q, f in by.items()} for n, by in found.items()}})
        return
    for note in known.notes:
        print(note)
    print_table(f"Simple regret on {known.name}, points of accuracy: median, quartiles", *rows(found))
    print(f"{len(tasks)} runs in {duration(time.perf_counter() - began)}; results in {file}, picture in {image}")


def _run(contest: Contest, tasks: list[Task], workers: int | None) -> list[Outcome]:
    """Runs all, with a bar on stderr where someone sits before it."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from fpnas.bench import run_all

    console = Console(stderr=True)
    columns = *Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        shown = bar.add_task("runs", total=len(tasks))
        return run_all(contest, tasks, workers, lambda done: bar.update(shown, completed=done))


def _facts(seconds: float, count: int, workers: int | None) -> dict[str, str]:
    import torch

    from fpnas.bench.pool import cores

    return {
        "Command": span(shlex.join(["fpnas", *sys.argv[1:]])),
        "Date": time.strftime("%Y-%m-%d"),
        "Code": f"fpnas {version('fpnas')}{_commit()}",
        "Machine": f"{platform.machine()}, {cores()} cores, no GPU used; Python {platform.python_version()}, "
        f"torch {torch.__version__}",
        "Time": f"{count} runs in {duration(seconds)} by {min(workers or cores(), count)} processes",
    }


def _commit() -> str:
    """Of the checkout that this package lies in, with a + where files differ from it; nothing elsewhere."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:  # an installed package may lie in a checkout of something else, which doesn't track it
        subprocess.run([*git, "ls-files", "--error-unmatch", Path(__file__).name], capture_output=True, check=True)
        words = [*git, "describe", "--always", "--exclude=*", "--dirty=+"]
        return f", commit {subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()}"
    except (OSError, subprocess.CalledProcessError):
        return ""


def _refuse_to_write_over(file: Path, image: Path) -> None:
    """Results may be written over, by results of another bench; nothing else may."""
    from fpnas.bench.results import TITLE

    if file.suffix != ".md":
        raise InputError("a results file that ends in .md", f"{str(file)!r}", "give --out bench.md, say")
    if not file.parent.is_dir():
        raise InputError("a folder for the results file", f"{file.parent}: no such folder", "make it first")
    ours = file.is_file() and file.read_bytes().startswith(TITLE.encode())
    for path in (file, image):
        if path.exists() and not ours:
            got = f"{path}, which holds something else"
            raise InputError("new files, or those of an earlier bench", got, "choose another --out")


@contextmanager
def _terminable() -> Generator[None]:
    """SIGTERM ends the workers too, and leaves with 143."""

    def leave(*_: Any) -> None:
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
