"""Results files: Markdown with the command, the date and the machine at its head, printed and, where asked, written."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch


def head(title: str, *facts: str, machine: str | None = None) -> list[str]:
    """The title, then a point each: command and date, machine (by default this one, with torch's threads), `facts`."""
    threads = torch.get_num_threads()
    here = f"{platform.machine()}, {os.cpu_count()} cores, {'one thread' if threads == 1 else f'{threads} threads'}"
    return [
        f"# {title}",
        "",
        f"* Command: `python {shlex.join(sys.argv)}`, {time.strftime('%Y-%m-%d')}",
        f"* Machine: {machine or here}; Python {platform.python_version()}, torch {torch.__version__}",
        *(f"* {fact}" for fact in facts),
        "",
    ]


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]


def write(path: Path | None, lines: Sequence[str]) -> None:
    """Writes the file where there is a path for it; nothing else."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([*lines, ""]))
