"""Bad input: exit code 2, one line on stderr that says what was wrong, nothing on stdout, and nothing written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from calling import SEARCH, TRAIN, Found, call, refused, working_in, write_npz

OUT = ("--out", "run")
ROOMY = ("--target-flops", "30k")

SEARCHES: dict[str, tuple[tuple[str, ...], str]] = {
    "unknown space": (("--space", "tinny", *OUT), "did you mean 'tiny'"),
    "unknown method": (("--method", "magic", *OUT), "magic"),
    "several targets of a method for one": (
        ("--method", "fpnas-thompson", "--target-flops", "1M,2M", *OUT),
        "expected one target, or --method fpnas-posterior, got several with fpnas-thompson",
    ),
    "a flag of other methods": (
        ("--method", "random", "--lam", "1", *OUT),
        "flags that random has: --num-samples, --warmup, --frozen, got --lam; leave it out, or take --method fpnas or",
    ),
    "a cost term without a floor where methods mix": (
        ("--method", "darts", "--target-flops", "30k", "--beta", "1", *OUT),
        "a cost floor above 0 for methods that mix",
    ),
    "an estimator where methods mix": (
        ("--method", "darts", "--target-flops", "30k", "--cost-floor", "0.1", "--cost-estimator", "many", *OUT),
        "no estimator for methods that mix, got 'many'",
    ),
    "a floor beside rewards": (
        ("--method", "reinforce", "--target-flops", "30k", "--cost-floor", "0.1", *OUT),
        "no cost floor where each reward has its own excess, got 0.1",
    ),
    "a cost term without a target": (("--method", "fpnas", "--beta", "1", *OUT), "a target, for a cost term, got none"),
    "unknown estimator": (("--method", "fpnas", *ROOMY, "--cost-estimator", "few", *OUT), "known estimator, got 'few'"),
    "unknown baseline": (("--method", "fpnas", "--baseline", "median", *OUT), "known baseline, got 'median'"),
    "temperature in words": (("--temperature", "warm", *OUT), "'warm'"),
    "unknown device": (("--device", "tpu", *OUT), "tpu"),
    "unknown precision": (("--precision", "fp8", *OUT), "fp8"),
    "data not there": (("--data", "no/such/folder", *OUT), "no/such/folder"),
    "data without a name": (("--data", "", *OUT), "''"),
    "data is a file": (("--data", "file", *OUT), "file"),
    "data is an empty folder": (("--data", "folder", *OUT), "folder"),
    "data of another kind": (("--data", "hf:nothing", *OUT), "hf:nothing"),
    "negative target": (("--target-flops", "-3M", *OUT), "-3M"),
    "negative target after =": (("--target-flops=-3M", *OUT), "-3M"),
    "zero target": (("--target-flops", "0", *OUT), "'0'"),
    "NaN target": (("--target-flops", "nan", *OUT), "nan"),
    "infinite target": (("--target-flops", "inf", *OUT), "inf"),
    "target in words": (("--target-flops", "three", *OUT), "three"),
    "negative target of parameters": (("--target-params", "-1", *OUT), "--target-params"),
    "two targets": (
        ("--target-flops", "1M,2M", "--target-params", "1M", *OUT),
        "several of --target-flops and --target-params",
    ),
    "memory precision without memory": (("--memory-precision", "int8", *OUT), "neither"),
    "unknown memory precision": (("--target-ram", "64k", "--memory-precision", "int4", *OUT), "int4"),
    "RAM that no network has so little of": (("--target-ram", "100", "--target-flash", "1M", *OUT), "bytes of RAM"),
    "target below the smallest network": (("--target-flops", "1.5k", *OUT), "FLOPs"),
    "target of parameters below it": (("--target-params", "500", *OUT), "parameters"),
    "image too small for the space": (("--image-size", "8", *OUT), "16 to 128"),
    "image too large for the space": (("--image-size", "129", *OUT), "16 to 128"),
    "image too small for a larger space": (("--space", "fbnetv2-f", *OUT), "32"),
    "no image": (("--image-size", "0", *OUT), "image size"),
    "negative image size": (("--image-size", "-16", *OUT), "-16"),
    "image size beyond all": (("--image-size", "99999", *OUT), "99999"),
    "image size in words": (("--image-size", "big", *OUT), "--image-size"),
    "no epochs": (("--epochs", "0", *OUT), "--epochs"),
    "negative epochs": (("--epochs", "-1", *OUT), "--epochs"),
    "half an epoch": (("--epochs", "0.5", *OUT), "--epochs"),
    "batch of one": (("--batch-size", "1", *OUT), "--batch-size"),
    "no steps": (("--max-steps", "0", *OUT), "--max-steps"),
    "never a checkpoint": (("--checkpoint-every", "0", *OUT), "--checkpoint-every"),
    "no time for ranks": (("--rank-timeout", "0", *OUT), "--rank-timeout"),
    "all time for ranks": (("--rank-timeout", "inf", *OUT), "604,800 seconds"),
    "no threads": (("--threads", "0", *OUT), "--threads"),
    "no parts": (("--accumulate", "0", *OUT), "--accumulate"),
    "more parts than a batch has": (("--accumulate", "99", *OUT), "at least 198 images, two for each part of them"),
    "parts of short trainings": (
        ("--method", "fpnas-thompson", "--accumulate", "2", *OUT),
        "expected a method with shared weights, for --accumulate, got fpnas-thompson",
    ),
    "negative workers": (("--workers", "-1", *OUT), "--workers"),
    "negative seed": (("--seed", "-1", *OUT), "--seed"),
    "negative lambda": (("--lam", "-1", *OUT), "--lam"),
    "NaN lambda": (("--lam", "nan", *OUT), "lam"),
    "infinite lambda": (("--lam", "inf", *OUT), "inf"),
    "theta beyond the end": (("--join-at", "1.5", *OUT), "--join-at"),
    "NaN theta": (("--join-at", "nan", *OUT), "join"),
    "negative beta": ((*ROOMY, "--method", "fpnas", "--beta", "-1", *OUT), "--beta"),
    "NaN beta": ((*ROOMY, "--method", "fpnas", "--beta", "nan", *OUT), "beta"),
    "infinite beta": ((*ROOMY, "--method", "fpnas", "--beta", "inf", *OUT), "beta"),
    "out is a file": (("--out", "file"), "file"),
    "out below a file": (("--out", "file/run"), "file/run"),
    "out has no name": (("--out", ""), "holds 'file'"),
    "out holds other files": (("--out", "full"), "notes.txt"),
    "out is too long a name": (("--out", "n" * 300), "too long"),
    "unknown flag": (("--epoch", "3", *OUT), "--epoch"),
    "flag without a value": ((*OUT, "--lam"), "--lam"),
    "a word too many": ((*OUT, "please"), "please"),
}

OTHERS: dict[str, tuple[tuple[str, ...], str]] = {
    "no such command": (("serch",), "serch"),
    "search without data": (("search", *OUT), "--data"),
    "search without out": (("search", "--data", "digits"), "--out"),
    "train without an architecture": (("train", "--data", "digits"), "RUN|ARCH.json"),
    "train nothing": ((*TRAIN, "nothing"), "nothing"),
    "train a folder without a run": ((*TRAIN, "folder"), "arch.json"),
    "train what is no JSON": ((*TRAIN, "file"), "JSON"),
    "train too long a name": ((*TRAIN, "n" * 300), "too long"),
    "evaluate nothing": (("evaluate", "nothing", "--data", "digits"), "no such folder"),
    "evaluate a folder without a run": (("evaluate", "folder", "--data", "digits"), "model.safetensors"),
    "evaluate too long a name": (("evaluate", "n" * 300, "--data", "digits"), "too long"),
    "cost of nothing": (("cost", "nothing"), "nothing"),
    "cost without an architecture": (("cost",), "RUN|ARCH.json"),
    "cost of a folder without a run": (("cost", "folder"), "arch.json"),
    "cost of too long a name": (("cost", "n" * 300), "too long"),
    "spaces of something": (("spaces", "tiny"), "tiny"),
}


@pytest.fixture
def place(small: Found, tmp_path: Path) -> Path:
    """A working folder with a file, an empty folder and one that holds something."""
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("precious")
    return tmp_path


@pytest.mark.parametrize("case", SEARCHES)
def test_search_refuses(case: str, place: Path) -> None:
    arguments, words = SEARCHES[case]
    assert words in refused(place, *SEARCH, *arguments)


@pytest.mark.parametrize("case", OTHERS)
def test_commands_refuse(case: str, place: Path) -> None:
    arguments, words = OTHERS[case]
    assert words in refused(place, *arguments)


def test_a_lambda_that_asks_for_more_architectures_than_there_is_memory_is_refused(place: Path) -> None:
    refused(place, *SEARCH, *OUT, "--lam", "1e300")


def test_no_command_shows_what_there_is(place: Path) -> None:
    with working_in(place):
        called = call()
    assert called.code in (0, 2)
    for command in ("spaces", "search", "train", "evaluate", "cost"):
        assert command in called.out + called.err


@pytest.mark.filterwarnings("default")
def test_a_refusal_is_one_line_even_where_something_could_be_warned_about(place: Path) -> None:
    refused(place, *SEARCH, *OUT, "--workers", "2", "--space", "nope")


# ------------------------------------------------------------------------------------------- a folder with another run

GO_ON = (*SEARCH, *ROOMY, "--out", "run", "--max-steps", "9")
TRAIN_ON = (*TRAIN, "run", "--max-steps", "9")
BESIDE_A_RUN: dict[str, tuple[tuple[str, ...], str]] = {
    **{
        f"another search by {flag}": ((*GO_ON, flag, value), f"{told} where the run in run has")
        for flag, value, told in (
            ("--seed", "1", "seed 1"),
            ("--epochs", "11", "epochs 11"),
            ("--lam", "0.5", "lam 0.5"),
            ("--join-at", "0.5", "join_at 0.5"),
            ("--temperature", "2", "temperature 2.0"),
            ("--batch-size", "33", "batch_size 33"),
            ("--image-size", "20", "image_size 20"),
            ("--target-flops", "31k", "target 31000.0"),
            ("--precision", "bf16", "precision 'bf16'"),
        )
    },
    "another search by its space": (
        (*GO_ON, "--space", "fbnetv2-f", "--image-size", "32", "--target-flops", "1G"),
        "run in run has",
    ),
    **{
        f"another training by {flags[0]}": ((*TRAIN_ON, *flags), "choose another --out")
        for flags in (("--seed", "1"), ("--epochs", "31"), ("--lr", "0.1"), ("--inherit",))
    },
    "a search in the folder of a training": ((*SEARCH, "--out", "run/train"), "a train in"),
    "a training in the folder of a search": ((*TRAIN, "run", "--out", "run"), "a search in"),
    "weights for other classes": ((*TRAIN, "run", "--data", "three.npz", "--inherit", "--out", "new"), "10 classes"),
    "weights of a bare arch.json": ((*TRAIN, "mine.json", "--inherit", "--out", "new"), "inherit"),
    "data of other classes": (("evaluate", "run", "--data", "three.npz"), "10 classes"),
    **{
        f"{command[0]} at {size} pixels": ((*command, "--image-size", size), words)
        for command in (("cost", "run"), ("evaluate", "run"), (*TRAIN, "run", "--out", "new"))
        for size, words in (("8", "16 to 128"), ("129", "16 to 128"), ("0", "size of 1"), ("-1", "size of 1"))
    },
}


@pytest.mark.parametrize("case", BESIDE_A_RUN)
def test_a_run_that_does_not_suit_is_refused(case: str, copied: Path) -> None:
    arguments, words = BESIDE_A_RUN[case]
    write_npz(copied.parent / "three.npz", classes=3, seed=0)
    shutil.copy(copied / "arch.json", copied.parent / "mine.json")
    told = refused(copied.parent, *arguments)
    assert words in told
    assert "choose another --out" in told or "another" not in case


@pytest.mark.parametrize("classes", [3, 4])
def test_other_data_of_the_same_name_are_another_run(classes: int, small: Found, tmp_path: Path) -> None:
    """Files called alike: the run began with a/digits of 3 classes, and is to go on with b/digits."""
    write_npz(tmp_path / "a" / "pictures.npz", classes=3, seed=0)
    write_npz(tmp_path / "b" / "pictures.npz", classes=classes, seed=1)
    with working_in(tmp_path):
        assert call(*SEARCH, "--data", "a/pictures.npz", "--out", "run", "--max-steps", "1").code == 0
    refused(tmp_path, *SEARCH, "--data", "b/pictures.npz", "--out", "run", "--max-steps", "2")


def test_evaluate_refuses_weights_that_are_damaged_or_of_another_network(copied: Path) -> None:
    weights = copied / "train" / "model.safetensors"
    content = weights.read_bytes()
    for wrong in (b"", b"garbage" * 9, content[:-8]):
        weights.write_bytes(wrong)
        assert "safetensors" in refused(copied.parent, "evaluate", "run", "--data", "digits")
    weights.write_bytes(content)
    arch = json.loads((copied / "train" / "arch.json").read_text())
    arch["choices"]["a.channels"] = 20 - arch["choices"]["a.channels"]  # 8 or 12
    (copied / "train" / "arch.json").write_text(json.dumps(arch))
    refused(copied.parent, "evaluate", "run", "--data", "digits")


def test_a_run_that_has_not_ended_has_nothing_to_train(copied: Path) -> None:
    (copied / "arch.json").unlink()
    assert "arch.json" in refused(copied.parent, *TRAIN, "run")
    assert "arch.json" in refused(copied.parent, "cost", "run")


# ------------------------------------------------------------------------------------------------- bad arch.json files


def changed(**changes: Any) -> Any:
    return lambda arch: json.dumps({**arch, **changes})


def chosen(**options: Any) -> Any:
    named = {name.replace("_", "."): option for name, option in options.items()}
    return lambda arch: json.dumps({**arch, "choices": {**arch["choices"], **named}})


def without(name: str) -> Any:
    return lambda arch: json.dumps({key: value for key, value in arch.items() if key != name})


BAD_FILES: dict[str, Any] = {
    "empty": lambda _: "",
    "no JSON": lambda _: "a.kernel = 3",
    "cut off": lambda arch: json.dumps(arch)[:-20],
    "a list": lambda arch: json.dumps([arch]),
    "null": lambda _: "null",
    "deep": lambda _: "[" * 100_000,
    "no text": lambda _: "\ud800",
    "no space": without("space"),
    "no choices": without("choices"),
    "unknown space": changed(space="huge"),
    "space is a number": changed(space=3),
    "choices are a list": changed(choices=[1, 2]),
    "choices are empty": changed(choices={}),
    "a choice is missing": lambda arch: json.dumps({**arch, "choices": dict(list(arch["choices"].items())[1:])}),
    "a choice too many": chosen(z_kernel=3),
    "an option that isn't offered": chosen(a_kernel=7),
    "an option of another type": chosen(a_kernel="3"),
    "an option is true": chosen(a_kernel=True),
    "an option is null": chosen(b_act=None),
    "an option is a list": chosen(b_act=["relu"]),
    "an option is NaN": chosen(a_kernel=float("nan")),
    "an option is infinite": chosen(a_kernel=float("inf")),
    "an option beyond all numbers": lambda arch: json.dumps(arch).replace('"a.kernel": 0', '"a.kernel": 1e999'),
    "an image size of 0": changed(image_size=0),
    "an image size in words": changed(image_size="16"),
    "an image size that is true": changed(image_size=True),
    "an image size with a fraction": changed(image_size=16.5),
    "an image size that the space can't take": changed(image_size=200),
    "no channels": changed(in_channels=0),
    "one class": changed(num_classes=1),
    "classes beyond memory": changed(num_classes=10**15),
    "a number of 5,000 digits": lambda arch: json.dumps(arch).replace(
        '"image_size": 16', '"image_size": ' + "9" * 5000
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_arch_files_are_refused_by_every_command(case: str, small: Found, tmp_path: Path) -> None:
    """Each command reads one: `cost` and `train` the file itself, `evaluate` that of a training."""
    arch = json.loads((small.folder / "train" / "arch.json").read_text())
    good = json.dumps(arch)
    assert '"a.kernel": 0' in good or case != "an option beyond all numbers"
    bad = BAD_FILES[case](arch)
    assert bad != good
    content = bad.encode("utf-8", "surrogatepass")
    (tmp_path / "bad.json").write_bytes(content)
    shutil.copytree(small.folder / "train", tmp_path / "trained")
    (tmp_path / "trained" / "arch.json").write_bytes(content)
    refused(tmp_path, "cost", "bad.json")
    refused(tmp_path, "train", "bad.json", "--data", "digits", "--max-steps", "1", "--out", "new")
    refused(tmp_path, "evaluate", "trained", "--data", "digits")


def test_an_arch_file_without_a_size_needs_the_flag(small: Found, tmp_path: Path) -> None:
    arch = json.loads((small.folder / "arch.json").read_text())
    (tmp_path / "mine.json").write_text(json.dumps({"space": arch["space"], "choices": arch["choices"]}))
    assert "--image-size" in refused(tmp_path, "cost", "mine.json")


def test_a_folder_called_arch_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run" / "arch.json").mkdir(parents=True)
    for command in (("cost", "run"), (*TRAIN, "run"), ("cost", "run/arch.json")):
        refused(tmp_path, *command)
