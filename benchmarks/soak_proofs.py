"""The long proofs of the spaces, one space at a time with one thread: their outcomes and times.

Runs the tests marked `soak` that prove `select` equal to `extract` (200 networks of each space, float32 at the space's
own input size and float64 at an odd one), the cost tables equal to counting the extracted network (302 networks of
each space at its own input size), and exported files equal to torch (100 networks of each space and of two of
examples/, at 32 px). Each runs in a process of its own, so that any of them can be repeated alone.

    python benchmarks/soak_proofs.py [--spaces tiny fpnas-l2] [--proofs float32 counts exports] [--results FILE.md]

With --results the table is written after each proof, and rows of proofs that this call doesn't run are kept.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import torch

from fpnas.spaces import SPACES

ROOT = Path(__file__).parents[1]
SELECT = "tests/elastic/test_select_equals_extract.py::test_select_equals_extract_on_200_networks"
COUNT = "tests/cost/test_cost_counts.py::test_tables_equal_counting_on_300_networks"
EXPORT = "tests/shipping/test_exports_agree.py::test_a_hundred_networks_of_each_space"
EXAMPLES = ("resnet", "vit")
"""Of examples/: spaces of the exports' proof alone."""


@dataclass(frozen=True)
class Proof:
    """A test by its id, with {} for the space, and what it shows."""

    label: str
    test: str
    words: str


SELECTED = (
    "`select` equals `extract`: all blocks skipped, the largest and 198 random networks of each space, batch of 2,"
    " train and eval mode: float32 at the space's own input size (outputs within 1e-5 of the largest), float64 at 65"
    " or 17 px, which is odd before every stride (1e-10)"
)
COUNTED = (
    "Tables equal counting: 302 networks at the space's own input size, on the meta device; multiply-adds and"
    " parameters exactly those of the extracted network by `torch.utils.flop_counter`"
)
EXPORTED = (
    "Exports equal torch: all blocks skipped, the largest and 98 random networks at 32 px with random norms; ONNX"
    " read back by onnxruntime, .pt2 by torch, batches of 1, 3 and 8, logits within 1e-4 of the greatest;"
    " .safetensors exactly"
)
PROOFS = {
    "float32": Proof("select equals extract, float32", f"{SELECT}[float32-{{}}]", SELECTED),
    "float64": Proof("select equals extract, float64", f"{SELECT}[float64-{{}}]", SELECTED),
    "counts": Proof("tables equal counting", f"{COUNT}[{{}}]", COUNTED),
    "exports": Proof("exports equal torch", f"{EXPORT}[{{}}]", EXPORTED),
}


def proof(test: str) -> tuple[str, float, float]:
    """Runs one test; its outcome, and the seconds of the processor and of the clock that it took, start included."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "soak", "-p", "no:cacheprovider", f"--junitxml={report}"]
        command += ["--timeout", "14400"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([*command, test], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if not report.exists():
            return f"did not run: {done.stderr.strip().splitlines()[-1:]}", 0.0, 0.0
        cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    failed = any(case.find(kind) is not None for case in cases for kind in ("failure", "error"))
    if failed:
        print(done.stdout, file=sys.stderr)
    outcome = "FAILED" if failed else "passed" if len(cases) == 1 and done.returncode == 0 else "did not run"
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return outcome, processor, time.perf_counter() - start


def write(path: Path, rows: dict[tuple[str, str], str]) -> None:
    """The results file."""
    order = {(space, each.label): each for space in (*SPACES, *EXAMPLES) for each in PROOFS.values()}
    shown = dict.fromkeys(each.words for key, each in order.items() if key in rows)
    lines = [
        "# Long proofs of every space",
        "",
        f"* Command: `{Path(sys.executable).name} benchmarks/soak_proofs.py`, one space at a time; "
        f"{time.strftime('%Y-%m-%d')}",
        f"* Machine: {platform.machine()}, {os.cpu_count()} cores, one thread, no GPU; Python "
        f"{platform.python_version()}, torch {torch.__version__}",
        *(f"* {words}" for words in shown),
        "* Processor seconds are about what a proof takes alone on one core; those of the clock hold whatever else ran",
        "",
        "| space | proof | outcome | processor s | clock s |",
        "| --- | --- | --- | --- | --- |",
        *(rows[key] for key in order if key in rows),
        "",
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))


def written(path: Path) -> dict[tuple[str, str], str]:
    """The rows of a results file that is there already."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [(re.split(r" *\| *", line)[1:3], line) for line in lines if re.search(r"\| [\d,]+ \|$", line)]
    return {(space, label): line for (space, label), line in rows}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = [*SPACES, *EXAMPLES]
    parser.add_argument("--spaces", nargs="+", choices=known, default=known)
    parser.add_argument("--proofs", nargs="+", choices=list(PROOFS), default=list(PROOFS))
    parser.add_argument("--results", type=Path, default=None)
    arguments = parser.parse_args()
    rows = written(arguments.results) if arguments.results else {}
    failures = 0
    for space in arguments.spaces:
        proofs = [name for name in arguments.proofs if name == "exports" or space in SPACES]
        for each in (PROOFS[name] for name in proofs):
            outcome, processor, clock = proof(each.test.format(space))
            failures += outcome != "passed"
            row = f"| {space} | {each.label} | {outcome} | {processor:,.0f} | {clock:,.0f} |"
            rows[space, each.label] = row
            print(row, flush=True)
            if arguments.results:
                write(arguments.results, rows)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
