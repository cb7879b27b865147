"""The lines of benchmarks/paper/full, in miniature: every table's searches, then its trainings, on a toy folder."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers_benchmarks import PAPER, benchmark, paper_on_the_path, toy_imagenet

FULL = PAPER / "full"
LINE = r"`IMAGENET=/data/imagenet (benchmarks/paper/full/submit\.sh) (\w+)`"
TABLES = [name for _, name in re.findall(LINE, (FULL / "README.md").read_text())]

pytest.importorskip("kornia")


@pytest.fixture(scope="module", autouse=True)
def on_the_path() -> Any:
    with paper_on_the_path():
        yield


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_imagenet(tmp_path_factory.mktemp("imagenet"))


def test_each_published_table_has_a_line() -> None:
    scripts = {path.stem for path in PAPER.glob("*.py") if "perform(" in path.read_text()} - {"judging", "cooling"}
    assert set(TABLES) == scripts, "cooling is of this project alone"
    assert len(TABLES) == len(set(TABLES))


@pytest.mark.parametrize("table", [name for name in TABLES if name != "large"])
def test_a_table_in_miniature(
    table: str, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """One process: searches alone write no results, and the second call trains what they found."""
    module, judging = importlib.import_module(table), importlib.import_module("judging")
    flags = ["--scale", "rehearsal", "--imagenet", str(toy), "--seeds", "1", "--device", "cpu", "--out", str(tmp_path)]
    for more, outcomes in ((["--only", "search"], False), ([], True)):
        monkeypatch.setattr(sys, "argv", [table, *flags, *more, "--results", str(tmp_path / "results.md")])
        searched = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*/seed-0/search/result.json")}
        judging.perform(table, "Title", None, module.arms, module.lines)
        assert {path: path.stat().st_mtime_ns for path in searched} == searched, "no search is repeated"
        assert bool(list(tmp_path.glob("*/*/seed-0/outcome.json"))) == outcomes
        assert (tmp_path / "results.md").exists() == outcomes
    text = (tmp_path / "results.md").read_text()
    assert all(f"| {arm.name} |" in text for arm in module.arms("rehearsal"))
    classes = [json.loads(path.read_text())["num_classes"] for path in tmp_path.glob("*/*/seed-0/*/arch.json")]
    assert sorted(set(classes)) == [2, 3], "a part of the classes is searched on, all are trained on"


# What a cluster has: sbatch runs the job at once, on this machine.
SBATCH = """#!/bin/sh
echo "sbatch $*" >> "$SENT"
while [ "${1#--}" != "$1" ]; do
    case $1 in --parsable) shift ;; *) shift 2 ;; esac
done
SLURM_JOB_NUM_NODES=1 SLURM_JOB_NODELIST=localhost bash "$@" >> "$SENT.out" 2>&1 || exit 1
echo 17
"""


def test_a_line_on_two_ranks_of_a_cluster(toy: Path, tmp_path: Path) -> None:
    """submit.sh, the two jobs that it sends, and torchrun in each."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", '#!/bin/sh\nexec "$@"\n'), ("scontrol", "#!/bin/sh\necho $3\n")):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    sent, results = tmp_path / "sent", tmp_path / "results.md"
    environment = {**os.environ, "IMAGENET": str(toy), "SCALE": "rehearsal", "GPUS": "2", "PYTHON": sys.executable}
    environment |= {"PATH": f"{commands}:{os.environ['PATH']}", "SENT": str(sent), "OMP_NUM_THREADS": "1"}
    flags = ["--seeds", "1", "--device", "cpu", "--out", str(tmp_path / "out"), "--results", str(results)]
    line = [str(FULL / "submit.sh"), "large", *flags]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + Path(f"{sent}.out").read_text()
    first, second = sent.read_text().splitlines()
    assert "--nodes 1 " in first
    assert first.endswith("--only search")
    assert "--nodes 8 --dependency afterok:17 " in second
    assert "torchrun --nproc-per-node 2 benchmarks/paper/large.py --scale rehearsal" in results.read_text()
    for job in ("search", "train"):
        settings = json.loads((tmp_path / "out" / "rehearsal" / "L0-found" / "seed-0" / job / "run.json").read_text())
        assert settings["settings"]["ranks"] == 2


@pytest.fixture(scope="module")
def expected() -> Any:
    return benchmark("expected", "paper/full")


def test_expected_hours_follow_from_multiply_adds(expected: Any) -> None:
    """The row that the default speed is taken from comes out as published, and twice the speed takes half the time."""
    arm = expected.Arm("K = 14", "parsec", (("num_samples", 14),))
    size = expected.Size(uniform=42e6, mixture=0.0, weights=10**7, kept=5e6, kept_mixed=0.0, entropy=56.25)
    speed = expected.speed_of_the_paper(size.uniform, 58e6)
    assert speed == pytest.approx(150e3 * 1077 * 4 * 50e6 / (4.3 * 86_400))
    asked = expected.Plan("full", 1, 180, Path())
    cells = expected.row(arm, size, speed, 1e15, asked)
    assert [cells[1], cells[3], cells[4]] == ["157.5", "4.3", "100%"]
    assert float(cells[2]) == pytest.approx(2 * float(expected.row(arm, size, 2 * speed, 1e15, asked)[2]), abs=0.11)
    assert cells[5] == f"{(16 * 1e7 + 2 * 128 * 5e6) / 2**30:.1f}"
    assert float(cells[6]) == pytest.approx(360 * 1_281_167 * 3 * 58e6 / speed / 64 / 3600, abs=0.06)
    slow = expected.row(arm, size, speed, 1e6, asked)
    assert int(slow[4].rstrip("%")) < 50


def test_mean_k_is_that_of_the_papers_table(expected: Any) -> None:
    assert expected.mean_k(expected.Arm("a", options=(("lam", 0.25),)), 56.25) == pytest.approx(
        14 * 54.3 / 150, rel=0.01
    )
    assert expected.mean_k(expected.Arm("a", "darts"), 56.25) == 1.0


def test_expected_counts_what_a_backward_pass_keeps(expected: Any) -> None:
    """A linear layer keeps its input; its multiply-adds are weights times images."""
    import torch

    layer = torch.nn.Linear(12, 5, device="meta")
    found = expected.kept(lambda images: layer(images.flatten(1)).relu(), list(layer.parameters()), (3, 2, 2))
    assert found == (12 + 5, 60)
