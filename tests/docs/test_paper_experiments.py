"""The paper's experiments can be run: every arm is a search that exists, on a space that meets its target."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers_benchmarks import PAPER, paper_on_the_path, toy_imagenet

import fpnas

OTHERS = ("command", "judging", "protocol", "targets")
"""What the scripts share; and one that is no experiment of the paper's and has no arms."""
SCRIPTS = sorted(path.stem for path in PAPER.glob("*.py") if path.stem not in OTHERS)
RECORD = {"samples": 100, "steps": 9, "first_k": 4, "entropy": 1.0, "search_seconds": 8.0, "train_seconds": 1.0}
RECORD |= {"flops": 5, "params": 6}


@pytest.fixture(scope="module", autouse=True)
def on_the_path() -> Any:
    with paper_on_the_path():
        yield


class Judge:
    """As far as a search looks when it is made."""

    stationary = False
    steps_per_epoch = 10

    def __init__(self, space: fpnas.SearchSpace) -> None:
        self.space = space

    def mixed_train_step(self) -> None: ...

    def soft_loss(self) -> None: ...

    train_step = score = describe = settings = state_dict = load_state_dict = num_images = mixed_train_step
    judge = num_judged = mixed_train_step


@pytest.fixture(scope="module")
def costs() -> dict[Any, fpnas.Flops]:
    """Of the spaces that were met, by what makes them differ."""
    return {}


@pytest.mark.parametrize("scale", ["small", "full"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_every_arm_can_begin(script: str, scale: str, costs: dict[Any, fpnas.Flops]) -> None:
    protocol, arms = importlib.import_module("protocol"), importlib.import_module(script).arms(scale)
    assert len({arm.name for arm in arms}) == len(arms)
    small = scale == "small"
    data: Any = SimpleNamespace(num_classes=10 if small else 100, in_channels=3)
    for arm in arms:
        shape = (3, 32, 32) if small else (3, arm.image_size, arm.image_size)
        space = (arm.fine, arm.micro) if small else (arm.fine, arm.micro, arm.rows, shape)
        if space not in costs:
            with torch.device("meta"):
                net = protocol.supernet(arm, scale, data, 0)
            costs[space] = fpnas.Flops(net, shape)
        flops = costs[space]
        target = arm.target[not small]
        assert flops.bounds()[0] < target
        assert small or fpnas.Budget(flops, target).binds
        budget = fpnas.Budget(flops, target)
        made = fpnas.methods.METHODS[arm.method](Judge(flops.space), budget, epochs=1, seed=0, **dict(arm.options))
        assert made.steps_total == 10


def test_full_arms_are_the_papers() -> None:
    """K, lambda and space as published, alpha at the library's own rate; FBNetV2 at FP-NAS's px and target."""
    protocol = importlib.import_module("protocol")
    with torch.device("meta"):
        net = protocol.supernet(protocol.Arm("any"), "full", SimpleNamespace(num_classes=100, in_channels=3), 0)
        assert net.space == fpnas.spaces.fbnetv2_f(100).space
    names = ("adaptive", "fbnetv2", "fine", "theta")
    every = {name: importlib.import_module(name).arms("full") for name in names}
    assert all("lr" not in dict(arm.options) for arms in every.values() for arm in arms)
    adaptive = [dict(arm.options) for arm in every["adaptive"]]
    assert [options["num_samples"] for options in adaptive if "num_samples" in options] == [4, 7, 14]
    assert [options["lam"] for options in adaptive if "join_at" in options] == [1 / 16, 1 / 8, 1 / 4, 1 / 2]
    assert {dict(arm.options)["lam"] for arm in every["theta"]} == {0.25}
    sized = {arm.name.partition(",")[0]: (arm.image_size, arm.target[1]) for arm in every["fbnetv2"]}
    assert [sized[f"F{n}"] for n in (1, 2, 3, 4)] == [sized[f"S{n}"] for n in (1, 2, 3, 4)]
    assert [sized[f"F{n}"][0] for n in (1, 2, 3, 4)] == [128, 160, 192, 256]


def test_the_paper_to_the_letter_is_eq_7_and_nothing_else() -> None:
    """Every experiment with an arm of eq. 7 has one to the letter; all other arms of it draw within the budget."""
    within = set(importlib.import_module("protocol").WITHIN)
    every = {name: importlib.import_module(name).arms("small") for name in SCRIPTS}
    having = [name for name, own in every.items() if any(arm.method == "fpnas" for arm in own)]
    assert set(having) == {"adaptive", "fbnetv2", "fine", "theta"}
    for name in having:
        eq7 = [arm for arm in every[name] if arm.method == "fpnas"]
        letters = [arm for arm in eq7 if "letter" in arm.name]
        assert letters, name
        assert not any({"cost_term", "baseline"} & set(dict(arm.options)) for arm in letters), name
        assert all(within <= set(arm.options) for arm in eq7 if arm not in letters), name


def test_kept_small_runs_keep_their_names() -> None:
    names = {arm.name for script in ("adaptive", "fbnetv2") for arm in importlib.import_module(script).arms("small")}
    kept = {"fixed, K = 4", "fixed, K = 7", "PARSEC, K = 11", "ours, lambda = 1/2", "ours, lambda = 1/4"}
    kept |= {f"adaptive alone, lambda = 1/{part}" for part in (2, 4, 8, 16)} | {"FP-NAS, lambda = 1/2"}
    kept |= {"ours cooled, lambda = 1/2", "FP-NAS to the letter, lambda = 1/2", "FP-NAS to the letter"}
    assert names == kept | {"FBNetV2", "FBNetV2, rate 0.1", "DARTS", "FP-NAS", "ours", "random"}


@pytest.mark.parametrize("scale", ["small", "full"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_every_claim_is_judged(script: str, scale: str) -> None:
    """Where all arms are alike nothing is saved, nothing is lost, and no lead is known."""
    protocol, module = importlib.import_module("protocol"), importlib.import_module(script)
    alike = [protocol.Outcome(**RECORD, accuracy=accuracy) for accuracy in (80.0, 81.0, 82.0, 81.0, 80.0)]
    lines = module.lines(scale, {arm.name: alike for arm in module.arms(scale)})
    said = [line for line in lines if line.startswith("* ") and ", against " in line and "no such row" not in line]
    assert said or script in ("large", "cooling")
    for line in said:
        for what in line.split(": ", 1)[1].split("; "):
            saved = what.startswith(("samples", "time"))
            found = next(word for word in ("does not hold here", "is not known", "holds here") if word in what)
            assert found == "does not hold here" if saved else found in ("is not known", "holds here"), line


UP, DOWN = (1.0, 1.1, 1.2, 1.0, 1.1), (-1.0, -1.1, -1.2, -1.0, -1.1)
ALIKE, WIDE = (-0.1, 0.0, 0.1, 0.05, -0.05), (-0.5, 0.0, 0.9, -0.9, 0.5)


@pytest.mark.parametrize(
    ("claim", "holds", "fails", "unknown"),
    [
        ("no loss", (UP, ALIKE), (DOWN,), (WIDE, UP[:1])),
        ("ahead", (UP,), (DOWN,), (ALIKE, UP[:3])),
        ("behind", (DOWN,), (UP,), (WIDE,)),
    ],
)
def test_an_accuracy_is_judged(claim: Any, holds: Any, fails: Any, unknown: Any) -> None:
    protocol, judging = importlib.import_module("protocol"), importlib.import_module("judging")
    for many, word in ((holds, judging.HOLDS), (fails, judging.FAILS), (unknown, judging.UNKNOWN)):
        for gaps in many:
            base = [protocol.Outcome(**RECORD, accuracy=80.0) for _ in gaps]
            own = [protocol.Outcome(**RECORD, accuracy=80.0 + gap) for gap in gaps]
            assert judging.accuracy(own, base, claim, "so").endswith(word)


def test_samples_and_times_are_judged_by_their_factor() -> None:
    protocol, judging = importlib.import_module("protocol"), importlib.import_module("judging")

    def having(*values: int) -> list[Any]:
        kept = [RECORD | {"samples": value, "search_seconds": float(value)} for value in values]
        return [protocol.Outcome(**record, accuracy=80.0) for record in kept]

    base = having(*[100] * 5)
    for judge, values, claim, word in (
        (judging.samples, [36] * 5, 64, judging.HOLDS),
        (judging.samples, [37] * 5, 64, judging.FAILS),
        (judging.samples, [34, 40, 33, 37, 35], 64, judging.UNKNOWN),
        (judging.samples, [36] * 4, 64, judging.UNKNOWN),
        (judging.duration, [50] * 5, 2.0, judging.HOLDS),
        (judging.duration, [60] * 5, 2.0, judging.FAILS),
        (judging.duration, [50, 60, 45, 55, 40], 2.0, judging.UNKNOWN),
    ):
        assert judge(having(*values), base[: len(values)], claim).endswith(word), values
    assert judging.samples(having(150), base[:1], 64).startswith("samples (published: 64 % fewer): 50 % more, ")


def test_a_run_is_kept_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Finished runs are read, not repeated; their figures are those of the table."""
    protocol, judging = importlib.import_module("protocol"), importlib.import_module("judging")
    arms = [protocol.Arm("base"), protocol.Arm("K = 4, 1/2")]
    results = tmp_path / "results.md"
    asked = protocol.Plan("small", 2, 1, tmp_path, results=results)
    for folder, accuracies, samples in (("base", (80.0, 82.0), 100), ("K-=-4-1of2", (83.0, 84.0), 25)):
        for seed, accuracy in enumerate(accuracies):
            (tmp_path / folder / f"seed-{seed}").mkdir(parents=True)
            arm = arms[folder != "base"]
            record = {**RECORD, "samples": samples, "accuracy": accuracy, "source": protocol.made_by(asked, arm)}
            (tmp_path / folder / f"seed-{seed}" / "outcome.json").write_text(json.dumps(record))
    found = protocol.run(asked, arms)
    judging.report(asked, "script", "Title", judging.table(arms, found, "base"), 12.4)
    text = results.read_text()
    assert "* Wall time: 12 min in this call; runs that had finished before it were kept" in text
    assert capsys.readouterr().out.strip() == text.strip()
    assert "| K = 4, 1/2 | - | 4 | 25 | 0.25 | 8 | 1.00 | 0 ± 0 | 83.50 ± 0.71 |" in text
    difference = judging.difference(found["K = 4, 1/2"], found["base"])
    assert (difference.mean, difference.word) == (2.5, "not known")
    assert " commit " in text


def test_runs_of_other_code_or_settings_are_refused(tmp_path: Path) -> None:
    protocol = importlib.import_module("protocol")
    asked = protocol.Plan("small", 2, 1, tmp_path)
    arm = protocol.Arm("a")
    source = protocol.made_by(asked, arm)
    assert source != protocol.made_by(asked, protocol.Arm("a", options=(("lam", 1.0),)))
    assert source != protocol.made_by(protocol.Plan("small", 2, 2, tmp_path), arm)
    record = tmp_path / "a" / "outcome.json"
    assert protocol.kept(record, source) is None
    assert not record.parent.exists(), "looking leaves nothing behind"
    protocol.begin(record, source)
    assert protocol.kept(record, source) is None, "a run that was begun by the same code goes on"
    with pytest.raises(fpnas.InputError, match="others in"):
        protocol.kept(record, "another")
    protocol.keep(record, RECORD, source)
    assert protocol.kept(record, source) == RECORD
    with pytest.raises(fpnas.InputError, match="another in"):
        protocol.kept(record, "another")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_imagenet(tmp_path_factory.mktemp("imagenet"))


# A search of one step: what is tried is who writes what. Started by torchrun as a script would be.
TOY = """
import os
from pathlib import Path

import judging
from protocol import Arm

text = Path.write_text


def told(path, *arguments):
    with open(os.path.join(os.environ["TOLD"], "rank-" + os.environ["RANK"]), "a") as file:
        print(path.name, file=file)
    return text(path, *arguments)


Path.write_text = told
arm = Arm("toy", options=(("lam", 0.01),))
judging.perform("toy", "Toy", None, lambda scale: (arm,), lambda scale, found: judging.table((arm,), found, "toy"))
"""


def test_two_ranks_run_an_experiment_together(toy: Path, tmp_path: Path) -> None:
    """At full scale: subset and whole have their classes, both ranks have the outcome, and one of them writes it."""
    pytest.importorskip("kornia")
    (tmp_path / "toy.py").write_text(TOY)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(tmp_path / "toy.py"), "--scale", "full", "--imagenet", str(toy), "--classes", "2", "--seeds", "1"]
    command += ["--image-size", "32", "--epochs", "1", "--train-epochs", "1", "--device", "cpu"]
    command += ["--out", str(tmp_path), "--results", str(tmp_path / "results.md")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(PAPER), *sys.path])}
    environment["TOLD"] = str(tmp_path)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("# Toy") == 1
    assert {"outcome.new", "results.md"} <= set((tmp_path / "rank-0").read_text().split())
    assert not (tmp_path / "rank-1").exists()
    run = tmp_path / "full" / "toy" / "seed-0"
    assert sorted(path.name for path in run.iterdir()) == ["found.json", "outcome.json", "search", "source", "train"]
    outcome = json.loads((run / "outcome.json").read_text())
    for job, classes in (("search", 2), ("train", 3)):
        assert json.loads((run / job / "arch.json").read_text())["num_classes"] == classes
        settings = json.loads((run / job / "run.json").read_text())["settings"]
        assert (settings["ranks"], settings["device"], settings["precision"]) == (2, "cpu", "fp32")
    assert outcome["accuracy"] == json.loads((run / "train" / "result.json").read_text())["accuracy"]
    assert "torchrun --nproc-per-node 2 benchmarks/paper/toy.py --scale full" in (tmp_path / "results.md").read_text()
