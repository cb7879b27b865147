"""What commands print: tables by rich, JSON by itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fpnas.runner.callbacks import Callback, RunInfo
from fpnas.runner.folder import finite, read_json
from fpnas.text import by_group, counted, duration, short


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(finite(value), indent=2))


def printable(text: str) -> str:
    """`text` for a terminal: what isn't printable, such as an escape sequence, as Python writes it in a string."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout; all columns but the first are right-aligned."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


@contextmanager
def resumable() -> Generator[None]:
    """Says on Ctrl-C how the job goes on."""
    try:
        yield
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        raise


class Chosen(Callback):
    """Says on stderr, once it is certain that a run begins or goes on, what was chosen by the data."""

    def __init__(self, line: str) -> None:
        self._line = line

    def on_start(self, run: RunInfo) -> None:
        """The folder is this run's."""
        del run
        print(self._line, file=sys.stderr)


def say_found(folder: Path) -> None:
    """A search's outcome in a few lines."""
    from fpnas.runner.files import run_settings
    from fpnas.spaces import is_own

    arch, result = read_json(folder / "arch.json"), read_json(folder / "result.json")
    asked = result.get("budgets") or ([result] if "target" in result else [])
    targets = " and ".join(f"{short(each['target'])} {each['cost_name']}" for each in asked)
    target = f" (target {targets})" if targets else ""
    learnt, steps = result.get("learnt", True), result["steps"]
    lead = "found"
    if not learnt:
        skipped = result["skipped_steps"] == steps
        why = "each was skipped for want of a finite loss" if skipped else "no network has a score yet"
        lead = f"nothing was learnt in {counted(steps, 'step')}: {why}; an arbitrary network"
    print(f"{lead}: {short(arch['flops'])} FLOPs, {short(arch['params'])} parameters{target}")
    if "ram" in result:
        kibi = f"{result['ram'] / 1024:.1f} KiB of RAM and {result['flash'] / 1024:.1f} KiB of flash"
        print(f"as {result['memory_precision']} it takes {kibi}")
    sizes = run_settings(folder).get("image_sizes")
    if sizes is not None:
        print(f"  {'input':8} {arch['image_size']} px, of {', '.join(map(str, sizes))}")
    for group, options in by_group(arch["choices"]).items():
        print(f"  {group:8} {', '.join(f'{name} {option}' for name, option in options.items())}")
    sampled = counted(result["num_samples_total"], "architecture")
    print(f"{sampled} sampled in {duration(result['seconds'])}; files in {folder}")
    if not learnt:
        print("go on with more steps" if result["skipped_steps"] < steps else "search anew with another --seed or data")
    elif result["answer"] == "seen":
        within = " within the target" if "target" in result else ""
        print(f"it is the best of the networks that were looked at{within}")
    elif result["answer"] != "mode":
        mode = short(result["mode_cost"]) if len(asked) < 2 else f"one of {result['mode_cost']:.2f} times it"
        print(
            f"it is the most probable one within the target ({result['answer']}); without one {mode} is more probable"
        )
    if (folder / "pareto.json").exists():
        for row in read_json(folder / "pareto.json")["front"]:
            print(f"within {short(row['target'])}: {short(row['cost'])} in {folder / row['arch']}")
    program = "fpnas --import ..." if is_own(arch["space"]) else "fpnas"
    print(f"next: {program} train {folder}")
