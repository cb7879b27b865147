"""`fpnas report` and `fpnas watch` on a real run, `--log`, and what they refuse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from calling import SEARCH, Found, call, refused


@pytest.mark.usefixtures("small")
def test_report_of_a_real_run(tmp_path: Path) -> None:
    """Nothing is missing in what a search leaves, and a second call writes over the first one's page."""
    run = tmp_path / "run"
    whole = ("--epochs", "1", "--max-steps", "99", "--target-flops", "30k", "--log", "none")
    assert call(*SEARCH, *whole, "--out", run).code == 0
    for _ in range(2):
        called = call("report", run)
        assert (called.code, called.err) == (0, "")
        assert called.out == f"{run / 'report.html'}\n"
    html = (run / "report.html").read_text()
    assert "What is missing" not in html
    arch = json.loads((run / "arch.json").read_text())
    assert f"{arch['flops']:,}" in html or f"{arch['flops'] / 1e3:.4g} k" in html
    assert all(f">{name.partition('.')[0]}</h3>" in html for name in arch["choices"])


def test_report_of_two_goes_where_it_is_told(copied: Path, tmp_path: Path) -> None:
    shutil.copytree(copied, tmp_path / "second")
    called = call("report", copied, tmp_path / "second", "--out", tmp_path / "new" / "both.html")
    assert called.code == 0, called.err
    assert "2 runs side by side" in (tmp_path / "new" / "both.html").read_text()


def test_report_and_watch_refuse_what_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "mine.html").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    assert "not there" in refused(tmp_path, "report", "none")
    assert "none of run.json" in refused(tmp_path, "report", tmp_path)
    assert "an earlier report" in refused(tmp_path, "report", "run", "--out", "mine.html")
    assert "isn't there" in refused(tmp_path, "watch", "none")
    assert "no run.json" in refused(tmp_path, "watch", tmp_path)


def test_watch_of_a_run_that_has_ended(small: Found) -> None:
    called = call("watch", small.folder)
    assert called.code == 0, called.err
    assert "step 3/" in called.out
    assert called.out.splitlines()[-1] == "the run has ended"


def test_log_of_a_search(tmp_path: Path, small: Found) -> None:
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    for names, kept in (((), True), (("--log", "none"), False), (("--log", "tensorboard"), True)):
        out = tmp_path / "-".join(("run", *names))
        assert call(*SEARCH, "--out", out, *names).code == 0
        assert (out / "tensorboard").exists() == kept
    assert "did you mean 'mlflow'" in refused(tmp_path, *SEARCH, "--out", "new", "--log", "mlflw")
