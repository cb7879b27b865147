"""The way through: search, train, evaluate, cost and spaces on small digits, in this process where that will do."""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import helpers_run as h
import pytest
import torch
from calling import SEARCH, TRAIN, Found, assert_inherited, call, document, refused, working_in, write_npz
from torch.utils.flop_counter import FlopCounterMode

import fpnas
from fpnas.cli.quantity import parse_quantity
from fpnas.errors import InputError
from fpnas.runner.data_record import DataRecord, data_of_run
from fpnas.spaces import SPACES
from fpnas.train import accuracy

DOCUMENTED = ["name", "choices", "size", "entropy", "k0", "alpha_joint", "alpha_factorised"]
DOCUMENTED += ["image_size", "blocks", "median_flops", "published"]


# --------------------------------------------------------------------------------------------------------------- parts


def test_a_search_and_a_training_in_parts(tmp_path: Path) -> None:
    """Their settings have it, so that a run goes on with the same parts only."""
    out = tmp_path / "run"
    assert call(*SEARCH, "--target-flops", "1M", "--accumulate", "4", "--max-steps", "1", "--out", out).code == 0
    assert h.read(out / "run.json")["settings"]["accumulate"] == 4
    searching = (*SEARCH, "--target-flops", "1M", "--out", out)
    assert "accumulate" in call(*searching).err
    assert call(*TRAIN, out, "--accumulate", "2", "--max-steps", "1").code == 0
    assert h.read(out / "train" / "run.json")["settings"]["accumulate"] == 2
    assert "accumulate" in call(*TRAIN, out).err


# -------------------------------------------------------------------------------------------------------------- spaces


def test_python_m_fpnas_spaces_prints_one_json_document_and_nothing_else() -> None:
    """In a process of its own. The figures of fbnetv2-f are the paper's."""
    done = subprocess.run(
        [sys.executable, "-m", "fpnas", "spaces", "--json"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    records = json.loads(done.stdout)
    assert [list(record) for record in records] == [DOCUMENTED] * len(records)
    by_name = {record["name"]: record for record in records}
    assert {"tiny", "fbnetv2-f"} <= set(by_name)
    large, tiny = by_name["fbnetv2-f"], by_name["tiny"]
    assert large["size"] == pytest.approx(2.6956e24, rel=1e-4)
    assert large["entropy"] == pytest.approx(56.25, abs=0.005)
    assert (large["k0"], large["alpha_joint"]) == (14, 3624)
    assert large["alpha_factorised"] in (176, 177)
    assert list(large["choices"])[:5] == [
        f"group1.{name}" for name in ("kernel", "act", "splits", "expansion", "channels")
    ]
    assert large["choices"]["group10.channels"] == list(range(112, 185, 8))
    assert tiny["size"] >= 1e9
    for record in records:
        counts = [len(options) for options in record["choices"].values()]
        size = 1
        for count in counts:
            size *= count
        assert record["size"] == size
        assert record["alpha_factorised"] == sum(counts)
        assert record["median_flops"] is None, "measured with --flops alone: it takes too long"
    assert (by_name["fpnas-l1"]["image_size"], by_name["fpnas-l1"]["blocks"]) == (240, 32)
    printed = by_name["fpnas-l1"]["published"]
    assert (printed["size"], printed["image_size"], printed["blocks"], printed["median_flops"]) == (1e36, 240, 32, 9e8)
    assert tiny["published"] is None


def test_spaces_lists_them_for_people() -> None:
    with patch.dict(SPACES, {name: SPACES[name] for name in ("tiny", "fbnetv2-f")}, clear=True):
        called = call("spaces")
    assert (called.code, called.err) == (0, "")
    for word in ("tiny", "fbnetv2-f", "2.696e+24", "56.25", "3,624", "2.7e+24 / 6e+25", "224 / 224", "17 / -"):
        assert word in called.out
    assert max(map(len, called.out.splitlines())) <= 80, "a table for a terminal of 80 columns"


def test_spaces_measures_median_flops_where_asked() -> None:
    """Of nasbench-macro: the median over all of its 6,561 networks is near that over 10,000 random ones."""
    with patch.dict(SPACES, {"nasbench-macro": SPACES["nasbench-macro"]}, clear=True):
        (record,) = json.loads(call("spaces", "--flops", "--json").out)
        shown = call("spaces", "--flops").out
    with torch.device("meta"):
        supernet = SPACES["nasbench-macro"]()
    codes = torch.cartesian_prod(*[torch.arange(3)] * 8)
    assert record["median_flops"] == pytest.approx(float(fpnas.Flops(supernet, (3, 32, 32))(codes).median()), rel=0.01)
    assert "6,561 / 6,561" in shown


def test_help_names_every_command() -> None:
    called = call("--help")
    assert (called.code, called.err) == (0, "")
    for command in ("spaces", "search", "train", "evaluate", "cost"):
        assert command in called.out
        assert call(command, "--help").code == 0


# ---------------------------------------------------------------------------------------------------- search and train


def test_search_leaves_a_run_and_says_what_it_found(found: Found) -> None:
    called = found.search
    assert called.code == 0
    arch = h.read(found.folder / "arch.json")
    result = h.read(found.folder / "result.json")
    assert set(arch) >= {"space", "image_size", "in_channels", "num_classes", "choices", "flops", "params", "log_prob"}
    assert (arch["space"], arch["image_size"], arch["in_channels"], arch["num_classes"]) == ("tiny", 16, 1, 10)
    assert arch["flops"] == result["cost"] <= result["target"] == 0.4e6
    metrics = h.json_lines(found.folder / "metrics.jsonl")
    assert [line["step"] for line in metrics] == [0, 1, 2]
    assert result["num_samples_total"] == sum(line["num_samples"] for line in metrics)
    assert called.out.startswith("nothing was learnt in 3 steps: no network has a score yet; an arbitrary network: ")
    assert all(f"{name.partition('.')[2]} {option}" in called.out for name, option in arch["choices"].items())
    assert f"{result['num_samples_total']} architectures sampled" in called.out
    for word in ("epoch 1", "step 3/3", "entropy", "K 2"):
        assert word in called.err


def test_search_by_short_trainings_goes_on_in_the_middle_of_a_look(tmp_path: Path) -> None:
    with working_in(tmp_path):
        line = (*SEARCH, "--method", "fpnas-thompson", "--target-flops", "0.4M", "--out", "run")
        assert call(*line).code == 0
        assert call(*line, "--max-steps", "4").code == 0
    metrics = h.json_lines(tmp_path / "run" / "metrics.jsonl")
    assert [line["step"] for line in metrics] == [0, 1, 2, 3]
    assert {line["num_samples"] for line in metrics} == {5}
    assert metrics[-1]["train_loss"] < metrics[0]["train_loss"]
    settings = h.read(tmp_path / "run" / "run.json")["settings"]
    assert (settings["judge"], settings["proxy_steps"], settings["batch_size"]) == ("proxy", 600, 32)


def test_train_judges_the_network_on_held_out_images(found: Found) -> None:
    called = found.train
    assert called.code == 0
    folder = found.folder / "train"
    result = h.read(folder / "result.json")
    judged = f"{result['num_images']} held-out images (split off the training images)"
    assert called.out.startswith(f"{result['accuracy']:.2f} % of {judged}, ")
    model, data = fpnas.load(found.folder), fpnas.data.load("digits", 16)
    judged = accuracy(model, data)
    assert result["accuracy"] == judged.accuracy
    assert result["num_images"] == len(data.heldout) == judged.num_images
    searched, trained = (h.read(place / "arch.json") for place in (found.folder, folder))
    searched.pop("log_prob")
    assert {key: trained[key] for key in searched} == searched
    assert len(h.json_lines(folder / "metrics.jsonl")) == 3
    assert all(torch.equal(a, b) for a, b in zip(fpnas.load(folder).parameters(), model.parameters(), strict=True))


def test_evaluate_prints_one_json_document(found: Found) -> None:
    result = h.read(found.folder / "train" / "result.json")
    for folder in (found.folder, found.folder / "train"):
        called = call("evaluate", folder, "--data", "digits", "--threads", "1", "--json")
        assert (called.code, called.err) == (0, "")
        judged = json.loads(called.out)
        assert judged["accuracy"] == result["accuracy"]
        assert judged["loss"] == pytest.approx(result["loss"], rel=1e-4)
        assert judged["num_images"] == result["num_images"]
    text = call("evaluate", found.folder, "--data", "digits").out
    assert text.startswith(f"{result['accuracy']:.2f} % of {result['num_images']} held-out images")


@pytest.mark.filterwarnings("default")
def test_the_run_knows_its_data_and_a_flag_overrides_them(copied: Path, tmp_path: Path) -> None:
    run = h.read(copied / "run.json")
    assert run["data"]["data"] == "digits"
    trained = call("train", copied, "--max-steps", "2", "--image-size", "16", "--out", tmp_path / "own")
    assert trained.code == 0, trained
    assert h.read(tmp_path / "own" / "run.json")["data"] == {**run["data"], "image_size": 16}
    named = call("evaluate", tmp_path / "own", "--data", "digits", "--image-size", "16", "--json")
    assert call("evaluate", tmp_path / "own", "--json").out == named.out != ""
    write_npz(tmp_path / "data" / "grey.npz", classes=10, seed=3)
    with working_in(tmp_path):
        other = call("evaluate", "own", "--data", "data/grey.npz", "--json")
        assert json.loads(other.out)["data"] == "grey"
        assert call("train", copied, "--data", "data/grey.npz", "--max-steps", "1", "--out", "grey").code == 0
    # From anywhere: the path is absolute.
    assert json.loads(call("evaluate", tmp_path / "grey", "--json").out)["data"] == "grey"


def test_a_run_that_names_no_data_wants_some(copied: Path) -> None:
    run = h.read(copied / "run.json")
    for data in (None, 3, {"fit": "crop"}, {**run["data"], "classes": "three"}, {**run["data"], "data": 5}):
        (copied / "run.json").write_text(json.dumps({**run, "data": data}))
        assert "expected data, got none" in refused(copied, "train", copied, "--out", copied / "again")
    del run["data"]
    (copied / "run.json").write_text(json.dumps(run))
    assert "expected data, got none" in refused(copied, "train", copied, "--out", copied / "again")


def test_a_seed_of_0_overrides_that_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(DataRecord("digits", 16, None, 3, 7, True).of_run()))
    asked = data_of_run(tmp_path, DataRecord("", classes_seed=0))
    assert asked == DataRecord("digits", 16, None, 3, 0, True)


def test_cost_is_that_of_arch_json_and_of_the_plain_network(found: Found) -> None:
    arch = h.read(found.folder / "arch.json")
    called = call("cost", found.folder, "--json")
    assert (called.code, called.err) == (0, "")
    cost = json.loads(called.out)
    assert {"flops", "params", "layers"} <= set(cost)
    assert (cost["flops"], cost["params"]) == (arch["flops"], arch["params"])
    assert sum(layer["flops"] for layer in cost["layers"]) == cost["flops"]
    assert sum(layer["params"] for layer in cost["layers"]) == cost["params"]
    model = fpnas.load(found.folder)
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 1, 16, 16))
    assert cost["flops"] == counter.get_total_flops() / 2
    assert cost["params"] == sum(p.numel() for p in model.parameters())
    assert call("cost", found.folder / "arch.json", "--json").out == called.out
    table = call("cost", found.folder)
    assert f"{cost['flops']:,}" in table.out
    larger = json.loads(call("cost", found.folder, "--image-size", "32", "--json").out)
    assert larger["params"] == cost["params"]
    assert 3 * cost["flops"] < larger["flops"] < 4 * cost["flops"]


def test_space_and_choices_are_enough_of_an_arch_json(small: Found, tmp_path: Path) -> None:
    arch = h.read(small.folder / "arch.json")
    (tmp_path / "mine.json").write_text(json.dumps({"space": arch["space"], "choices": arch["choices"], "note": "?"}))
    with working_in(tmp_path):
        cost = json.loads(call("cost", "mine.json", "--image-size", "16", "--json").out)
        assert call(*TRAIN, "mine.json", "--max-steps", "1").code == 0
        trained = json.loads(Path("train/arch.json").read_text())
        assert call("evaluate", "train", "--data", "digits").code == 0
    assert trained["choices"] == arch["choices"]
    assert (trained["flops"], trained["params"]) == (arch["flops"], arch["params"])
    # Three channels where the file names none: the stem alone differs.
    assert cost["flops"] == arch["flops"] + 2 * 8 * 9 * 8 * 8


def test_an_ended_run_called_again_says_so_and_changes_nothing(copied: Path) -> None:
    files = h.contents(copied)
    again = call(*SEARCH, "--max-steps", "3", "--target-flops", "0.03M", "--out", copied)
    assert again.code == 0
    assert "has ended after 3 steps" in again.err
    trained = call(*TRAIN, copied)
    assert trained.code == 0
    assert "has ended after 3 steps" in trained.err
    assert h.contents(copied) == files


def test_inherited_training_starts_from_the_searchs_weights(copied: Path) -> None:
    args = ("--inherit", "--lr", "1e-12", "--max-steps", "1", "--out", copied / "inherited")
    assert call(*TRAIN, copied, *args).code == 0
    assert_inherited(copied / "inherited", copied)
    result = h.read(copied / "inherited" / "run.json")
    assert result["settings"]["inherit"] is True


def test_a_recipe_on_the_command_line_is_in_the_settings(copied: Path) -> None:
    """All flags at once, a teacher among them; the run goes on under the same and is refused under others."""
    record = h.read(copied / "arch.json")
    record["choices"] |= {"a.channels": 8, "a.kernel": 3}  # with a residual
    (copied / "other.json").write_text(json.dumps(record))
    flags = "--opt adamw --lr 0.002 --weight-decay 0.01 --label-smoothing 0.1 --ema 0.99 --crop resized --flip"
    flags += " --randaugment 5 --random-erasing 0.2 --mixup 0.2 --cutmix 1 --drop-path 0.1 --teacher-weight 0.3"
    where = ("--teacher", copied, "--out", copied / "pupil", "--precision", "bf16")
    line = [*TRAIN, copied / "other.json", *flags.split(), *where]
    assert call(*line).code == 0
    settings = h.read(copied / "pupil" / "run.json")["settings"]
    wanted = {"optimizer": "adamw", "lr": 0.002, "weight_decay": 0.01, "label_smoothing": 0.1, "ema": 0.99}
    wanted |= {"crop": "resized", "flip": True, "randaugment": 5, "random_erasing": 0.2, "mixup": 0.2, "cutmix": 1.0}
    wanted |= {"drop_path": 0.1, "teacher_weight": 0.3, "precision": "bf16", "ranks": 1}
    assert {name: settings[name] for name in wanted} == wanted
    assert len(settings["teacher"]) == 32
    assert call(*line, "--max-steps", "4").code == 0
    assert len(h.json_lines(copied / "pupil" / "metrics.jsonl")) == 4
    assert "mixup 0.4 where the run in" in call(*line, "--mixup", "0.4").err


def test_a_teacher_of_other_classes_or_without_weights_is_refused(copied: Path) -> None:
    arch = h.read(copied / "train" / "arch.json")
    (copied / "train" / "arch.json").write_text(json.dumps({**arch, "num_classes": 9}))
    assert "9 classes" in refused(copied, *TRAIN, copied, "--teacher", copied, "--out", "new")
    (copied / "train" / "model.safetensors").unlink()
    assert "run fpnas train first" in refused(copied, *TRAIN, copied, "--teacher", copied, "--out", "new")


def test_target_params_counts_parameters(small: Found, tmp_path: Path) -> None:
    called = call(*SEARCH, "--max-steps", "1", "--target-params", "0.8k", "--out", tmp_path / "run")
    assert called.code == 0
    arch = h.read(tmp_path / "run" / "arch.json")
    result = h.read(tmp_path / "run" / "result.json")
    assert arch["params"] == result["cost"] <= 800 == result["target"]


@pytest.mark.filterwarnings("default")
def test_a_setting_without_effect_is_warned_about(small: Found) -> None:
    more = ("--workers", "2", "--rank-timeout", "60")
    called = call(*SEARCH, "--max-steps", "3", "--target-flops", "30k", "--out", small.folder, *more)
    assert called.code == 0
    assert "warning: --workers has no effect on data that needs no decoding" in called.err
    assert "warning: --rank-timeout has no effect on one process" in called.err


def test_a_search_of_an_epoch_on_shared_weights_is_quick(tmp_path: Path) -> None:
    """ "Ends within 40 s" on two cores: it takes less than 80 seconds of processor time, however busy they are."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "fpnas", "search", "--data", "digits", "--method", "fpnas-posterior"]
    command += ["--epochs", "1", "--out", "run"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 80
    lines = h.json_lines(tmp_path / "run" / "metrics.jsonl")
    data = fpnas.data.load("digits")
    batch_size = h.read(tmp_path / "run" / "run.json")["settings"]["batch_size"]
    assert len(lines) == math.ceil(len(data.train) / 2 / batch_size)
    assert {line["joined"] for line in lines} == {False, True}


def test_the_real_tiny_refuses_what_it_cannot_take(tmp_path: Path) -> None:
    assert "16 to 128" in refused(tmp_path, *SEARCH, "--image-size", "8", "--out", "run")
    assert "80,768 FLOPs" in refused(tmp_path, *SEARCH, "--target-flops", "80767", "--out", "run")


# ---------------------------------------------------------------------------------------------------------- quantities


@pytest.mark.parametrize(
    ("text", "value"),
    [("3M", 3e6), ("2.5e6", 2.5e6), ("400k", 4e5), ("1.1G", 1.1e9), ("60_", None), ("1e6k", 1e9), (".5m", 5e5)]
    + [(text, None) for text in ("", "-1", "0", "0M", "nan", "inf", "M", "3MM", "3 apples", "1e999", "٣M", "--json")],
)
def test_quantities_are_read_as_people_write_them(text: str, value: float | None) -> None:
    if value is None:
        with pytest.raises(InputError, match="--flag"):
            parse_quantity(text, "--flag")
    else:
        assert parse_quantity(text, "--flag") == pytest.approx(value)


SHARED_STEPS = 53 * math.ceil(1437 / 2 / 32)
"""Of so many epochs on one half of the digits, in batches of 32, as make 1,200."""


@pytest.mark.parametrize(
    ("more", "steps"),
    [
        ((), 4 * 600),
        (("--epochs", "2"), 2 * 600),
        (("--target-flops", "200k,400k"), SHARED_STEPS),
        (("--method", "parsec"), SHARED_STEPS),
    ],
)
def test_short_trainings_judge_where_they_can(more: tuple[str, ...], steps: int) -> None:
    asked = ("--data", "digits", "--image-size", "16", "--batch-size", "32", "--threads", "1", *more)
    assert document(call("search", *asked, "--dry-run", "--json", "--out", "unused"), "search")["steps"] == steps


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("method", "flags", "settings"),
    [
        (
            "fpnas",
            "--lam 0.5 --at-least 3 --beta 0.4 --temperature product --baseline mean",
            {"lam": 0.5, "at_least": 3, "beta": 0.4, "cost_floor": 0.0, "temperature": "product", "baseline": "mean"},
        ),
        ("parsec", "--num-samples 3 --alpha-lr 0.2 --warmup 0.1", {"alpha_lr": 0.2, "warmup": 0.1}),
        ("fbnetv2", "--beta 0.4 --cost-floor 0.1", {"beta": 0.4, "cost_floor": 0.1}),
        ("evolution", "--num-samples 3", {"num": 3}),
        ("random", "--frozen --epochs 1", {"frozen": True, "warmup": 0.9}),
    ],
)
def test_each_method_searches_and_takes_flags_of_its_own(
    small: Found, method: str, flags: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    common = ("search", "--data", "digits", "--image-size", 16, "--method", method, "--max-steps", 2)
    called = call(*common, *flags.split(), "--target-flops", "40k", "--out", tmp_path / "run")
    assert called.code == 0, called.err
    assert h.read(tmp_path / "run" / "result.json")["method"] == method
    kept = h.read(tmp_path / "run" / "run.json")["settings"]
    assert {name: kept[name] for name in settings} == settings
