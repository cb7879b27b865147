"""The long proofs of reliability, one part at a time with one thread: their outcomes and times.

Each part runs in a process of its own, so that any of them can be repeated alone; docs/reliability.md says what they
prove. The spaces' long proofs have a script of their own, `soak_proofs.py`.

    python benchmarks/soak_reliability.py [--parts kills files ranks lines long] [--results FILE.md]

With --results the table is written after each part, and rows of parts that this call doesn't run are kept.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
PARTS = {
    "kills": ("tests/reliability/test_kill.py", "SIGKILL at 220 random moments; a full file system"),
    "files": ("tests/reliability/test_damaged_files.py", "200,000 damaged files, half of them guided"),
    "ranks": ("tests/reliability/test_ranks.py", "torchrun starts again after a rank that hangs"),
    "lines": ("tests/cli/test_cli_random.py", "2,000 command lines"),
    "long": ("tests/reliability/test_long_run.py", "50,000 steps, twice"),
}
HEAD = "| part | what | outcome | tests | minutes |\n| --- | --- | --- | --- | --- |\n"


def part(path: str) -> tuple[str, int, float]:
    """Runs the long tests of one file: their outcome, how many there are, and the minutes that they took."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "soak", "-p", "no:cacheprovider", f"--junitxml={report}"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        limit = ["--timeout", "7200"]
        done = subprocess.run(
            [*command, *limit, path], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        cases = list(ElementTree.parse(report).getroot().iter("testcase")) if report.exists() else []
    failed = sum(any(case.find(kind) is not None for kind in ("failure", "error")) for case in cases)
    skipped = sum(case.find("skipped") is not None for case in cases)
    if failed or done.returncode:
        print(done.stdout, done.stderr, file=sys.stderr)
    outcome = f"{failed} FAILED" if failed else "passed" if cases and not done.returncode else "did not run"
    outcome += f", {skipped} skipped" if skipped else ""
    return outcome, len(cases), (time.perf_counter() - start) / 60


def main() -> None:
    """Runs the parts asked for and prints, or writes, the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--results", type=Path)
    asked = parser.parse_args()
    rows: dict[str, str] = {}
    if asked.results is not None and asked.results.exists():
        rows = {
            match[1]: match[0] for match in re.finditer(r"^\| (\w+) \|.*$", asked.results.read_text(), re.MULTILINE)
        }
        rows = {name: row for name, row in rows.items() if name in PARTS}
    title = f"# Long proofs of reliability\n\n{platform.machine()}, {os.cpu_count()} cores, one process of one thread; "
    title += (
        f"Python {platform.python_version()}, torch {torch.__version__}; `python benchmarks/soak_reliability.py`.\n\n"
    )
    for name in asked.parts:
        path, what = PARTS[name]
        outcome, count, minutes = part(path)
        rows[name] = f"| {name} | {what} | {outcome} | {count} | {minutes:.1f} |"
        print(rows[name], flush=True)
        if asked.results is not None:
            ordered = [rows[each] for each in PARTS if each in rows]
            asked.results.write_text(title + HEAD + "\n".join(ordered) + "\n")


if __name__ == "__main__":
    main()
