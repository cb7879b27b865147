"""The paper's experiments can be run: every arm is a search that exists, on a space that meets its target."""

from __future__ import annotations

import importlib
import json
import statistics
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import fpnas

FOLDER = Path(__file__).parents[2] / "benchmarks" / "paper"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "protocol")


@pytest.fixture(scope="module", autouse=True)
def on_the_path() -> Any:
    """As when a script is run: its own folder comes first."""
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


class Judge:
    """As far as a search looks when it is made."""

    stationary = False
    steps_per_epoch = 10

    def __init__(self, space: fpnas.SearchSpace) -> None:
        self.space = space

    def soft_learn(self) -> None: ...

    def soft_loss(self) -> None: ...

    learn = score = describe = settings = state_dict = load_state_dict = num_images = soft_learn


@pytest.fixture(scope="module")
def costs() -> dict[Any, fpnas.Flops]:
    """Of the small spaces that were met, by what makes them differ."""
    return {}


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_arm_can_begin(script: str, costs: dict[Any, fpnas.Flops]) -> None:
    protocol, arms = importlib.import_module("protocol"), importlib.import_module(script).ARMS
    assert len({arm.name for arm in arms}) == len(arms)
    data: Any = SimpleNamespace(num_classes=10, in_channels=1)
    for arm in arms:
        if (arm.fine, arm.micro) not in costs:
            with torch.device("meta"):
                net = protocol.supernet(arm, "small", data, 0)
            costs[arm.fine, arm.micro] = fpnas.Flops(net, (1, 16, 16))
        flops = costs[arm.fine, arm.micro]
        assert flops.bounds()[0] < arm.target[0]
        budget = fpnas.Budget(flops, arm.target[0])
        made = fpnas.methods.METHODS[arm.method](Judge(flops.space), budget, epochs=1, seed=0, **dict(arm.options))
        assert made.steps_total == 10


def test_the_full_scale_is_the_papers_space() -> None:
    protocol = importlib.import_module("protocol")
    with torch.device("meta"):
        net = protocol.supernet(protocol.Arm("any"), "full", SimpleNamespace(num_classes=100, in_channels=3), 0)
    assert net.space == fpnas.spaces.fbnetv2_f(100).space


def test_a_run_is_kept_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Finished runs are read, not repeated; their figures are those of the table."""
    protocol = importlib.import_module("protocol")
    arms = [protocol.Arm("base"), protocol.Arm("K = 4, 1/2")]
    results = tmp_path / "results.md"
    asked = protocol.Plan("small", 2, 1, tmp_path, None, 0, 1, results)
    kept = {"samples": 100, "steps": 9, "first_k": 4, "entropy": 1.0, "search_seconds": 8.0, "train_seconds": 1.0}
    kept |= {"flops": 5, "params": 6}
    for folder, accuracies, samples in (("base", (80.0, 82.0), 100), ("K-=-4-1of2", (83.0, 84.0), 25)):
        for seed, accuracy in enumerate(accuracies):
            (tmp_path / folder / f"seed-{seed}").mkdir(parents=True)
            record = {**kept, "samples": samples, "accuracy": accuracy}
            (tmp_path / folder / f"seed-{seed}" / "outcome.json").write_text(json.dumps(record))
    found = protocol.run(asked, arms)
    protocol.report(asked, "script", "Title", protocol.table(arms, found, "base"))
    text = results.read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    assert "| K = 4, 1/2 | - | 4 | 25 | 0.25 | 8 | 1.00 | 0 ± 0 | 83.50 ± 0.71 |" in text
    mean, error = protocol.difference(found["K = 4, 1/2"], found["base"])
    assert (mean, error) == (2.5, pytest.approx(statistics.stdev([3, 2]) / 2**0.5))
    assert protocol.verdict((2.5, 0.5)) == "+2.50 ± 0.50 points (ahead)"
    assert protocol.verdict((0.9, 0.5)) == "+0.90 ± 0.50 points (no more than noise)"
    assert protocol.verdict((-2.0, 0.5)) == "-2.00 ± 0.50 points (behind)"
