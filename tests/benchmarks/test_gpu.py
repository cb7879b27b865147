"""`benchmarks/gpu.py` without a GPU: it says so, and its parts run on a CPU."""

from __future__ import annotations

import json
import sys
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


@pytest.mark.soak
def test_all_parts_run_on_a_cpu(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = "--json --device cpu --space tiny --image-size 16 --search-size 16 --batch-size 4 --search-batch 8"
    flags += " --steps 1 --samples 2 --warm-steps 1 --search-images 40 --search-epochs 1 --data nowhere --threads 1"
    monkeypatch.setattr(sys, "argv", ["gpu.py", *flags.split(), "--results", str(tmp_path / "gpu.md")])
    assert gpu.main() == 0
    found = json.loads(capsys.readouterr().out)
    assert all(not isinstance(value, dict | list) for value in found.values()), "one flat object"
    assert min(found[f"{name}_ratio"] for name in ("memory", "images", "step_images")) > 0
    assert found["kernel_share"] is None
    assert found["search_steps"] == 3
    assert found["data"] == "made up"
    assert "| memory_ratio |" in (tmp_path / "gpu.md").read_text()
    assert "step" in (tmp_path / "gpu.log").read_text()
