"""The scripts in examples/ run at toy size, and leave what they say."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SIZES = {
    "resnet.py": ["--epochs", "1", "--image-size", "8"],
    "vit.py": ["--epochs", "1", "--image-size", "8", "--target-flops", "40e3"],
    "tabular_mlp.py": ["--epochs", "2"],
    "text_classifier.py": ["--epochs", "2", "--texts", "200"],
}


def test_each_example_has_its_size() -> None:
    assert set(SIZES) == {file.name for file in EXAMPLES.glob("*.py")}


@pytest.mark.parametrize("name", SIZES)
def test_the_example_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, *SIZES[name], "--out", str(tmp_path / "run")])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    printed = capsys.readouterr().out
    facts = json.loads((tmp_path / "run" / "arch.json").read_text())
    assert f"found {facts['choices']} of {facts['flops']:,} multiply-adds" in printed
    accuracy = float(printed.rpartition("\n")[0].rpartition("\n")[2].split()[0])
    assert 0 <= accuracy <= 100
    assert (tmp_path / "run" / "train" / "model.safetensors").exists() is (name in ("resnet.py", "tabular_mlp.py"))
