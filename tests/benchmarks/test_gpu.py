"""`benchmarks/gpu.py` without a GPU: it says so, and its parts run on a CPU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_benchmarks import benchmark

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def gpu() -> Any:
    return benchmark("gpu")


def test_without_a_gpu_it_is_one_line_and_2(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    assert gpu.main() == 2
    said = capsys.readouterr()
    assert said.out == ""
    fix = "run it where there is one, or give --device cpu"
    assert said.err == f"error: expected a GPU that torch can use, got none; {fix}\n"


def test_kernels_are_told_from_copies_and_marks(gpu: Any) -> None:
    from types import SimpleNamespace

    def event(name: str, device: Any = gpu.DeviceType.CUDA, mark: bool = False) -> Any:
        return SimpleNamespace(name=name, device_type=device, is_user_annotation=mark)

    assert gpu.is_kernel(event("implicit_convolve_sgemm"))
    assert not gpu.is_kernel(event("Memcpy HtoD"))
    assert not gpu.is_kernel(event("Optimizer.step#AdamW.step"))
    assert not gpu.is_kernel(event("a mark", mark=True))
    assert not gpu.is_kernel(event("aten::conv2d", gpu.DeviceType.CPU))


SMALL = (
    "--device cpu --space tiny --image-size 16 --search-size 16 --batch-size 4 --search-batch 8 --steps 1 --samples 2"
)
SMALL += " --warm-steps 1 --search-images 40 --search-epochs 1 --train-epochs 1 --data nowhere --threads 1"


def test_all_parts_run_on_a_cpu(tmp_path: Path) -> None:
    """As on a lent machine, without wheels: by the script, which keeps what is printed and writes figures to $OUT."""
    environment = {**os.environ, "PYTHON": sys.executable, "OUT": str(tmp_path / "out"), "OMP_NUM_THREADS": "1"}
    environment["CARRIED"] = str(tmp_path)
    command = ["bash", str(ROOT / "benchmarks" / "gpu.sh"), *SMALL.split()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    out = tmp_path / "out"
    found = json.loads((out / "output.txt").read_text().splitlines()[-1])
    assert all(not isinstance(value, dict | list) for value in found.values()), "one flat object"
    assert min(found[f"{name}_ratio"] for name in ("memory", "images", "step_images")) > 0
    assert min(found["step_images_per_second"], found["at_100m_per_second"]) > 0
    assert found["kernel_share"] is None
    assert (found["search_steps"], found["train_epochs"], found["precision"]) == (3, 1, "fp32")
    assert found["data"] == "made up"
    assert "| memory_ratio |" in (out / "gpu.md").read_text()
    assert "step" in (out / "gpu.log").read_text()
    kept = json.loads((out / "parts.json").read_text())
    assert kept.items() <= found.items()


def test_a_part_that_fails_leaves_the_others_their_turn(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(options: Any) -> dict[str, Any]:
        raise RuntimeError("CUDA error: out of luck")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpu, "memory_figures", broken)
    monkeypatch.setattr(gpu, "speed_figures", lambda options: {"images_ratio": 0.9})
    monkeypatch.setattr(gpu, "whole", lambda options, until: ({"accuracy": 90.0}, "log"))
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--json", *SMALL.split(), "--out", "parts.json"])
    assert gpu.main() == 1
    found = json.loads(capsys.readouterr().out)
    assert found["memory_failed"] == "RuntimeError: CUDA error: out of luck"
    assert (found["images_ratio"], found["accuracy"]) == (0.9, 90.0)


class Job:
    """A tenth of a second a step."""

    def __init__(self, epochs: int, now: list[float]) -> None:
        self.steps_total, self.now = 10 * epochs, now

    def step(self) -> None:
        self.now[0] += 0.1


def test_the_length_follows_from_the_time_that_is_left(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch takes a second, and a quarter of the time is kept back."""
    now = [0.0]
    monkeypatch.setattr(gpu.speed.time, "perf_counter", lambda: now[0])
    lengths = [gpu.epochs_within(lambda epochs: Job(epochs, now), seconds, 30) for seconds in (0.5, 8.2, 20.5, 1e3)]
    assert lengths == [1, 6, 15, 30]


@pytest.mark.soak
def test_what_a_machine_without_network_wants_fits(tmp_path: Path) -> None:
    """Asks the package index: wheels of everything that fpnas imports beside torch and NumPy, for Python 3.12."""
    for name in ("constraints.txt", "benchmarks"):
        (tmp_path / name).mkdir() if name == "benchmarks" else shutil.copy(ROOT / name, tmp_path)
    shutil.copy(ROOT / "benchmarks" / "gpupack.sh", tmp_path / "benchmarks")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    environment = {**os.environ, "PYTHON": sys.executable, "CIFAR10": "nowhere"}
    command = ["bash", str(tmp_path / "benchmarks" / "gpupack.sh")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    wheels = {path.name.partition("-")[0] for path in (tmp_path / ".gpu" / "wheels").iterdir()}
    needed = {
        name.partition(">")[0]
        for name in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    }
    assert {"pydantic", "pydantic_core", "rich"} <= wheels
    assert needed - wheels == {"torch", "numpy", "pillow"}, "these are there"
