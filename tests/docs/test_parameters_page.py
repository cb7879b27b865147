"""docs/parameters.md: its tables are those of the results file, its layers those of `fpnas cost`.

And EfficientNet-B2 is counted as published.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "parameters.md"
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("where_parameters_sit_*.md"))


@pytest.mark.skipif(not RESULTS, reason="no benchmarks/results here: an sdist leaves them out")
def test_its_tables_are_those_of_the_results_file() -> None:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    assert len(lines) > 25
    measured = set(RESULTS[-1].read_text().splitlines())
    assert [line for line in lines if line not in measured] == []


def test_fpnas_cost_counts_what_it_shows() -> None:
    """Name, FLOPs and parameters of its last layers; a name too long for the column goes on in the next line."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("│")]
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]
    shown = [(row[0], row[2].replace(",", ""), row[4].replace(",", "")) for row in rows if row[2]]
    command = [sys.executable, "-m", "fpnas", "cost", "docs/files/fpnas-l2-example.json", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    cost = json.loads(done.stdout)
    layers = [layer for layer in cost["layers"] if layer["flops"] or layer["params"]]  # as the table leaves them out
    counted = [(layer["name"], str(layer["flops"]), str(layer["params"])) for layer in layers]
    counted = [*counted[1 - len(shown) :], ("total", str(cost["flops"]), str(cost["params"]))]
    assert len(shown) > 10
    for (name, *figures), (full_name, *wanted) in zip(shown, counted, strict=True):
        assert full_name.startswith(name)
        assert figures == wanted


def test_efficientnet_b2_is_counted_as_published() -> None:
    """9.1 M parameters and 1.0 G multiply-adds in its paper (table 2); torchvision's has 9,109,994 parameters."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import where_parameters_sit
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    parts = where_parameters_sit.efficientnet_b2()
    assert sum(part.params for part in parts) == 9_109_994
    assert round(sum(part.flops for part in parts) / 1e9, 1) == 1.0
