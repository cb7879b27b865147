"""Results files: Markdown with command, date, commit and machine at its head, printed and, where asked, written."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]


def head(title: str, *facts: str, machine: str | None = None) -> list[str]:
    """The title, then a point each: command and date, machine (by default this one, with torch's threads), `facts`."""
    threads = torch.get_num_threads()
    here = f"{platform.machine()}, {os.cpu_count()} cores, {'one thread' if threads == 1 else f'{threads} threads'}"
    return [
        f"# {title}",
        "",
        f"* Command: `python {shlex.join(sys.argv)}`, {time.strftime('%Y-%m-%d')}, commit {commit()}",
        f"* Machine: {machine or here}; Python {platform.python_version()}, torch {torch.__version__}",
        *(f"* {fact}" for fact in facts),
        "",
    ]


@cache
def commit() -> str:
    """The checkout's commit, and a + where files of the package or the benchmarks differ from it: as the call began.

    Of a copy without git it is what $FPNAS_COMMIT says.
    """
    known = _git("rev-parse", "--short", "HEAD") or os.environ.get("FPNAS_COMMIT", "unknown")
    return known + (
        "+" if _git("status", "--porcelain", "--untracked-files=no", "--", "src", "benchmarks/*.py") else ""
    )


def source(*parts: str, beside: Sequence[Path | str] = ()) -> str:
    """A digest of the package's code as it lies here: what other code gave is another measurement.

    Args:
        parts: folders and files below src/fpnas that count; all of it by default.
        beside: what else counts: files, such as a script's own, and words, such as its settings.
    """
    package = ROOT / "src" / "fpnas"
    digest = hashlib.sha256()
    for more in beside:
        digest.update(more.read_bytes() if isinstance(more, Path) else more.encode())
    for part in sorted(parts) or [""]:
        at = package / part
        for file in sorted(at.rglob("*.py")) if at.is_dir() else [at]:
            digest.update(f"{file.relative_to(package)}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


commit()  # now: the checkout may move on while a benchmark runs


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]


def filled(page: str, parts: Mapping[str, str]) -> str:
    """A page of docs/ with what is between `<!-- table NAME -->` and `<!-- end -->` written anew.

    Raises:
        KeyError: it asks for one that isn't among `parts`.
    """
    pattern = r"(<!-- table ([\w-]+) -->\n).*?(<!-- end -->)"
    return re.sub(pattern, lambda match: f"{match[1]}\n{parts[match[2]]}\n\n{match[3]}", page, flags=re.DOTALL)


def write(path: Path | None, lines: Sequence[str]) -> None:
    """Writes the file where there is a path for it; nothing else."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([*lines, ""]))
