"""Ctrl-C and SIGTERM to a real `fpnas search`: a checkpoint is left, the exit code tells, and the run goes on whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import helpers_run as h
import pytest
import torch
from calling import SEARCH, call

COMMAND = (*SEARCH[:-2], "--batch-size", "16", "--threads", "1", "--join-at", "0", "--checkpoint-every", "1000")


def lines_in(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.parametrize(
    ("number", "code"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.soak), (signal.SIGTERM, 143)]
)
def test_a_signal_leaves_a_checkpoint_to_go_on_from(number: int, code: int, tmp_path: Path) -> None:
    """That it then ends as an unbroken run does: runner/test_run_resume.py."""
    folder = tmp_path / "run"
    script = Path(sys.executable).with_name("fpnas")
    assert script.exists(), "fpnas is not installed beside this Python"
    process = subprocess.Popen(
        [script, *COMMAND, "--out", folder],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 200
        while lines_in(folder / "metrics.jsonl") < 2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code, err
    assert out == ""
    assert "Traceback" not in err
    done = lines_in(folder / "metrics.jsonl")
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["job"]["steps_done"] == done >= 2
    assert not (folder / "result.json").exists()
    assert call(*COMMAND, "--max-steps", str(done + 1), "--out", folder).code == 0
    assert [line["step"] for line in h.json_lines(folder / "metrics.jsonl")] == list(range(done + 1))
