"""Run folders of earlier releases load, go on and end as they would have then; newer ones are refused in one line.

`tests/fixtures/run-format-2` was written by the first release (see `make_fixture.py`); it stays as it is.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
from importlib.metadata import metadata
from pathlib import Path

import helpers_run as h
import pytest
import torch
from make_fixture import FIXTURES, STEPS, search, training

import fpnas
from fpnas.errors import RunFolderError
from fpnas.report.reading import read_run
from fpnas.runner import Progress
from fpnas.runner.folder import FORMAT

FORMATS = range(2, FORMAT + 1)


@pytest.mark.parametrize("version", FORMATS)
def test_a_search_of_an_earlier_release_goes_on(version: int, tmp_path: Path) -> None:
    """Its checkpoint loads, and it ends in the architecture that it ended in then; floats to 1e-6, as golden ones."""
    kept = FIXTURES / f"run-format-{version}"
    shutil.copytree(kept / "search", tmp_path / "run")
    job = search()
    fpnas.run(job, tmp_path / "run", progress=Progress())
    assert len(h.json_lines(tmp_path / "run" / "metrics.jsonl")) == 20
    then, now = (h.read(folder / "arch.json") for folder in (kept / "ended", tmp_path / "run"))
    assert now["choices"] == then["choices"]
    assert now["log_prob"] == pytest.approx(then["log_prob"], rel=1e-6)
    for before, after in zip(
        h.json_lines(kept / "ended" / "metrics.jsonl"), h.json_lines(tmp_path / "run" / "metrics.jsonl"), strict=True
    ):
        assert after["num_samples"] == before["num_samples"]
        assert after["entropy"] == pytest.approx(before["entropy"], rel=1e-6)


@pytest.mark.parametrize("version", FORMATS)
def test_a_training_of_an_earlier_release_goes_on(version: int, tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / f"run-format-{version}" / "train", tmp_path / "run")
    found = fpnas.run(training(), tmp_path / "run", progress=Progress())
    assert len(h.json_lines(tmp_path / "run" / "metrics.jsonl")) == 8
    assert (tmp_path / "run" / "model.safetensors").exists()
    assert 0 <= found.accuracy <= 100


@pytest.mark.parametrize("version", FORMATS)
def test_a_report_reads_an_earlier_release(version: int) -> None:
    record = read_run(FIXTURES / f"run-format-{version}" / "search")
    assert len(record.steps) == STEPS
    assert record.run["format"] == version
    assert record.arch["choices"]


@pytest.mark.parametrize("other", [FORMATS[0] - 1, FORMAT + 1])
def test_a_folder_of_another_format_is_refused(other: int, tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / f"run-format-{FORMAT}" / "search", tmp_path / "run")
    run = h.read(tmp_path / "run" / "run.json")
    (tmp_path / "run" / "run.json").write_text(json.dumps({**run, "format": other}))
    before = h.contents(tmp_path)
    with pytest.raises(
        RunFolderError, match=rf"of format {FORMAT}, got format {other} .*use the version of fpnas that wrote it"
    ):
        fpnas.run(search(), tmp_path / "run", progress=Progress())
    assert h.contents(tmp_path) == before


def test_the_fixtures_are_small() -> None:
    assert sum(path.stat().st_size for path in FIXTURES.rglob("*")) < 100_000


def test_this_python_and_this_torch_are_in_the_range_that_is_claimed() -> None:
    """So a run of the tests is always a test of what is claimed; docs/reliability.md says which runs there are."""
    about = metadata("fpnas")
    claimed = {
        line.rpartition(" ")[2]
        for line in about.get_all("Classifier") or []
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", line)
    }
    assert platform.python_version().rpartition(".")[0] in claimed
    minors = sorted(int(version.removeprefix("3.")) for version in claimed)
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert sorted(about["Requires-Python"].split(",")) == [f"<3.{minors[-1] + 1}", f">=3.{minors[0]}"]
    (wanted,) = (line for line in about.get_all("Requires-Dist") or [] if re.match(r"torch\b", line))
    (least,), (below,) = (re.findall(rf"{sign}(\d+)\.(\d+)", wanted) for sign in (">=", "<"))
    here = tuple(map(int, torch.__version__.split(".")[:2]))
    assert tuple(map(int, least)) <= here < tuple(map(int, below))
