"""Ctrl-C and SIGTERM to a real `fpnas search`: a checkpoint is left, the exit code tells, and the run goes on whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import helpers_run as h
import pytest
import torch
from calling import SEARCH, call

COMMAND = (*SEARCH[:-4], "--batch-size", "16", "--threads", "1", "--join-at", "0", "--checkpoint-every", "1000")
STEPS = 7


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The folder of a run of so many steps that nothing happened to."""
    folders: dict[int, Path] = {}

    def of(steps: int) -> Path:
        if steps not in folders:
            folders[steps] = tmp_path_factory.mktemp("unbroken") / "run"
            assert call(*COMMAND, "--max-steps", str(steps), "--out", folders[steps]).code == 0
        return folders[steps]

    return of


def lines_in(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.parametrize(
    ("number", "code"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.soak), (signal.SIGTERM, 143)]
)
def test_a_signal_leaves_a_checkpoint_to_go_on_from(
    number: int, code: int, unbroken: Callable[[int], Path], tmp_path: Path
) -> None:
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
    steps = max(STEPS, done + 1)
    assert call(*COMMAND, "--max-steps", str(steps), "--out", folder).code == 0
    assert h.outcome(folder) == h.outcome(unbroken(steps))
