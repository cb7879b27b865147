"""What the report says of networks that `fpnas find --compare` trained beside the one it found, from find.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from run_folders import put, write_run
from test_report_page import EVIL, outline

from fpnas.report import write_report

TITLE = "Beside other networks"
FOUND = {
    "name": "network found",
    "accuracy": 62.5,
    "accuracy_interval": [48.36, 74.78],
    "balanced_accuracy": 60.25,
    "balanced_accuracy_interval": [47.71, 71.73],
    "flops": 1_897_856,
    "params": 51_118,
    "ms": 0.0678,
    "bytes": 215_756,
    "file": "network/network.onnx",
}
RANDOM = {**FOUND, "name": "random network", "accuracy": 54.17, "balanced_accuracy_interval": None, "ms": None}


def words(path: Path) -> str:
    return " ".join(outline(path).text.split())


def run_with(folder: Path, *rows: Any) -> Path:
    run = write_run(folder)
    put(run / "find.json", {"rows": list(rows)})
    return run


def test_a_row_for_each_network_with_intervals(tmp_path: Path) -> None:
    page = write_report([run_with(tmp_path / "run", FOUND, RANDOM)])
    told = words(page)
    assert TITLE in told
    assert "network found 62.50 % 48.4 to 74.8 % 60.25 % 47.7 to 71.7 % 1.898 M 51.12 k 0.0678" in told
    assert "random network 54.17 % 48.4 to 74.8 % 60.25 % – 1.898 M 51.12 k –" in told
    assert "What is missing" not in told
    assert outline(page).attributes.count(("class", "marked")) == 1, "the network found"


def test_a_network_by_itself_has_no_table(tmp_path: Path) -> None:
    assert TITLE not in words(write_report([write_run(tmp_path / "a")]))
    assert TITLE not in words(write_report([run_with(tmp_path / "b", FOUND)]))


def test_of_several_runs_each_that_has_one(tmp_path: Path) -> None:
    runs = [run_with(tmp_path / "a", FOUND, RANDOM), write_run(tmp_path / "b"), run_with(tmp_path / "c", RANDOM, FOUND)]
    told = words(write_report(runs, tmp_path / "all.html"))
    assert told.count(TITLE) == 1
    assert told.count("random network 54.17 %") == 2


@pytest.mark.parametrize(
    "content", ["", "[1]", '{"rows": 3}', '{"rows": [3, "x", null]}', '{"rows": [{}, {"flops": {}}]}']
)
def test_a_page_whatever_it_holds(content: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "find.json").write_text(content)
    told = words(write_report([run]))
    assert TITLE not in told
    assert ("find.json" in told) == (content in ("", "[1]"))


def test_names_stay_names(tmp_path: Path) -> None:
    evil = dict.fromkeys(FOUND, EVIL)
    told = outline(write_report([run_with(tmp_path / "run", evil, evil)]))
    assert told.text.count(EVIL) == 2
    assert "img" not in told.tags
