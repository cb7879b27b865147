"""A whole network that exists: `fpnas train --from`, its run with every later command, and as a teacher of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import helpers_run as h
import pytest
import torch
from calling import TRAIN, call, refused
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import fpnas
from fpnas.runner.of_run import teacher_of
from fpnas.spaces import import_file, model
from fpnas.train import Recipe
from fpnas.train.recipe import LR, LR_PRETRAINED

FILE = """
from torch import nn


def whole_net(classes=7):
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, classes),
    )
    net.pretrained_cfg = {"mean": (0.25, 0.5, 0.75), "std": (0.5, 0.25, 0.125), "input_size": (3, 24, 24)}
    return net


def ten_net():
    return whole_net(10)
"""


@pytest.fixture
def net(tmp_path: Path) -> Iterator[str]:
    """What --from takes, without the function's name."""
    (tmp_path / "nets.py").write_text(FILE)
    with patch.object(sys, "path", list(sys.path)):  # which importing a file adds to
        yield str(tmp_path / "nets.py")


def whole(net: str, out: Path, *more: str | Path, size: int = 16) -> Any:
    words = [*TRAIN, "--image-size", str(size), "--from", f"{net}:whole_net", "--out", out, *more]
    return call(*words)


def settings(run: Path) -> dict[str, Any]:
    return h.read(run / "run.json")["settings"]


def test_a_whole_network_is_trained_and_later_commands_take_the_run(net: str, tmp_path: Path) -> None:
    run = tmp_path / "whole"
    called = whole(net, run, "--lr", "1e-12")
    assert called.code == 0, called
    arch = h.read(run / "arch.json")
    module = model(import_file(f"{net}:whole_net") or "").module
    assert (
        arch["params"] == sum(p.numel() for p in module.parameters()) - 2 * 9 * 8 + 3 * 17
    )  # a grey image, ten classes
    assert arch["mean"] == [0.5]
    kept = load_file(run / "model.safetensors")
    mine = module.state_dict()["3.weight"]
    # Channels are sorted, and the whole computes what it did.
    torch.testing.assert_close(kept["3.weight"].flatten().sort()[0], mine.flatten().sort()[0], rtol=0, atol=1e-6)
    loaded = ("--import", f"{net}:whole_net")
    judged = call(*loaded, "evaluate", run, "--json")
    assert json.loads(judged.out)["accuracy"] == h.read(run / "result.json")["accuracy"]
    assert call(*loaded, "export", run, "--to", "safetensors", "--out", tmp_path / "net" / "net.safetensors").code == 0
    assert call("report", run).code == 0
    assert "whole-net" in (run / "report.html").read_text()
    again = call(*loaded, *TRAIN, run, "--out", tmp_path / "anew", "--max-steps", "1")
    assert (again.code, settings(tmp_path / "anew")["inherit"]) == (0, False)


def test_it_goes_on_where_it_was_left(net: str, tmp_path: Path) -> None:
    for out, parts in (("cut", ("2", "5")), ("unbroken", ("5",))):
        for steps in parts:
            assert whole(net, tmp_path / out, "--max-steps", steps).code == 0
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("cut", "unbroken")]
    assert weights[0] == weights[1]


def test_other_weights_are_another_run(net: str, tmp_path: Path) -> None:
    import_file(f"{net}:whole_net")
    for name in ("a", "b"):
        save_file(model("whole-net").module.state_dict(), tmp_path / f"{name}.safetensors")
    codes = [
        whole(net, tmp_path / "run", "--weights", tmp_path / f"{name}.safetensors").code for name in ("a", "a", "b")
    ]
    assert codes == [0, 0, 2]


def test_its_own_image_size_is_the_default_and_python_does_the_same(net: str, tmp_path: Path) -> None:
    words = ("train", "--data", "digits", "--batch-size", "32", "--threads", "1", "--precision", "fp32")
    flags = ("--from", f"{net}:whole_net", "--out", tmp_path / "flags", "--max-steps", "3")
    assert call(*words, *flags).code == 0
    assert h.read(tmp_path / "flags" / "arch.json")["image_size"] == 24
    found = model(import_file(f"{net}:whole_net") or "")
    job = fpnas.training_of(found, fpnas.data.load("digits", 24), batch_size=32)
    h.run(job, tmp_path / "python", max_steps=3)
    assert settings(tmp_path / "flags") == settings(tmp_path / "python")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("flags", "python")]
    assert weights[0] == weights[1]


def test_weights_that_were_trained_before_have_a_rate_of_their_own(net: str, tmp_path: Path) -> None:
    told = whole(net, tmp_path / "default").out
    assert f"learning rate {LR_PRETRAINED:g}; --lr sets another" in told
    others = {"said": ("--lr", "0.2"), "fresh": ("--weights", "none"), "adamw": ("--opt", "adamw")}
    for name, flags in others.items():
        assert "learning rate" not in whole(net, tmp_path / name, *flags).out
    found = {name: (settings(tmp_path / name)["lr"], settings(tmp_path / name)["inherit"]) for name in others}
    assert found == {"said": (0.2, True), "fresh": (LR["sgd"], False), "adamw": (LR["adamw"], True)}
    assert settings(tmp_path / "default")["lr"] == LR_PRETRAINED


def test_so_has_what_a_search_found_in_them(net: str, tmp_path: Path) -> None:
    run, loaded = tmp_path / "run", ("--import", f"{net}:whole_net")
    small = ("--data", "digits", "--image-size", "16", "--batch-size", "32", "--threads", "1", "--max-steps", "1")
    search = ("search", *small, "--from", f"{net}:whole_net", "--method", "fpnas-posterior", "--epochs", "1")
    assert call(*search, "--out", run).code == 0
    for name, flags, rate in (("a", (), 0.08), ("b", ("--no-inherit",), 0.2), ("c", ("--lr", "0.2"), 0.2)):
        assert call(*loaded, *TRAIN, run, *flags, "--out", tmp_path / name).code == 0
        assert settings(tmp_path / name)["lr"] == rate
    data = fpnas.data.load("digits", 16)
    given: list[dict[str, Any]] = [{}, {"lr": 0.3}, {"recipe": Recipe(lr=0.4)}]
    rates = [fpnas.training_of(run, data, **each).recipe.lr for each in given]
    assert rates == [LR_PRETRAINED, 0.3, 0.4]
    assert fpnas.training_of(run, data, inherit=False).recipe.max_lr == LR["sgd"]


def seen_by(teacher: Any, data: fpnas.data.ImageData, pupil: nn.Module) -> Tensor:
    """What reaches the teacher's first layer, of training images as the pupil gets them."""
    seen: list[Tensor] = []
    first = next(layer for layer in teacher.modules() if isinstance(layer, nn.Conv2d))
    first.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    teacher(data.normalized_by(pupil.meta.get("normalization")).normalize(data.train.inputs[:4]))  # pyright: ignore
    return seen[0]


@pytest.mark.parametrize("size", [24, 16])
def test_a_teacher_sees_the_same_photographs_by_its_own_normalization_and_size(
    net: str, tmp_path: Path, size: int
) -> None:
    """Of a name, and of a run: with what its own commands would give it, from a pupil that has the data's mean."""
    digits = fpnas.data.load("digits", size)
    colour = [
        fpnas.data.ImageSet(part.inputs.repeat(1, 3, 1, 1), part.labels) for part in (digits.train, digits.heldout)
    ]
    data = fpnas.data.ImageData.of("colour", *colour, classes=digits.classes, heldout_from="split")
    pupil = fpnas.from_scratch(supernet := fpnas.spaces.tiny(10, 3), supernet.arch)
    said = ((0.25, 0.5, 0.75), (0.5, 0.25, 0.125))
    expected = data.normalized_by(said).normalize(data.train.inputs[:4])
    expected = (
        expected if size == 24 else nn.functional.interpolate(expected, size=(24, 24), mode="bilinear", antialias=True)
    )
    named = teacher_of(f"{net}:ten_net", pupil, data)
    torch.testing.assert_close(seen_by(named, data, pupil), expected, rtol=1e-5, atol=1e-5)
    at_24 = fpnas.data.load("digits", 24)
    larger = [fpnas.data.ImageSet(part.inputs.repeat(1, 3, 1, 1), part.labels) for part in (at_24.train, at_24.heldout)]
    job = fpnas.training_of(
        model(import_file(f"{net}:ten_net") or ""),
        fpnas.data.ImageData.of("colour", *larger, classes=digits.classes, heldout_from="split"),
    )
    h.run(job, tmp_path / "run", max_steps=1)
    of_run = teacher_of(tmp_path / "run", pupil, data)
    torch.testing.assert_close(seen_by(of_run, data, pupil), expected, rtol=1e-5, atol=1e-5)


def test_a_teacher_by_its_name_and_its_weights(net: str, copied: Path, tmp_path: Path) -> None:
    """It teaches as the module in Python does; the weights of a file are another teacher."""
    import_file(f"{net}:ten_net")
    state = {name: value + 1 for name, value in model("ten-net").module.state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    digests: list[str] = []
    for out, flags in (("one", ()), ("other", ("--teacher-weights", tmp_path / "weights.safetensors"))):
        called = call(*TRAIN, copied, "--teacher", f"{net}:ten_net", *flags, "--out", tmp_path / out)
        assert called.code == 0, called
        digests.append(settings(tmp_path / out)["teacher"])
    assert digests[0] != digests[1]
    job = fpnas.training_of(copied, teacher=f"{net}:ten_net", epochs=30, batch_size=32)
    assert job.settings()["teacher"] == digests[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--from MODEL, got neither"),
        (["run", "--from", "{net}:ten_net"], "got run and --from"),
        (["run", "--weights", "none"], "got run and --weights"),
        (["--from", "{net}:ten_net", "--out", "new"], "got no --data"),
        (["--from", "{net}:ten_net", "--data", "digits"], "got no --out"),
        (["--from", "{net}:ten_net", "--data", "digits", "--out", "new", "--no-inherit"], "--weights none"),
        (["--from", "nothing", "--data", "digits", "--out", "new"], "a network: timm/NAME"),
        (["run", "--out", "new", "--teacher", "{net}:whole_net"], "with 7 logits; train it on them first (fpnas train"),
        (["run", "--out", "new", "--teacher-weights", "w.pth"], "a file of weights beside a teacher"),
        (["run", "--out", "new", "--teacher", "run", "--teacher-weights", "w.pth"], "beside a teacher that is timm"),
        (["run", "--out", "new", "--teacher", "{net}:ten_net", "--teacher-weights", "none"], "leave the weights out"),
        (["run", "--out", "new", "--teacher", "{net}:ten_net", "--teacher-weights", "w.pth"], "w.pth"),
    ],
)
def test_flags_that_do_not_go_together_are_one_line(net: str, copied: Path, words: list[str], said: str) -> None:
    assert said in refused(copied.parent, "train", *(word.format(net=net) for word in words))


def test_search_tunes_before_it_searches(net: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    search = ("search", "--data", "digits", "--image-size", "16", "--from", f"{net}:whole_net", "--threads", "1")
    search = (*search, "--method", "fpnas-posterior", "--epochs", "1", "--max-steps", "2", "--out", run)
    call(*search)
    kept = (run / "whole" / "model.safetensors").read_bytes()
    assert h.read(run / "whole" / "run.json")["settings"]["inherit"]
    call(*search)  # which has ended
    assert (run / "whole" / "model.safetensors").read_bytes() == kept
    assert "epochs" in refused(tmp_path, *search, "--tune-epochs", "1")
    plain = tmp_path / "plain"
    call(*search[:-1], plain, "--tune-epochs", "0")
    assert not (plain / "whole").exists()
    assert "a run without whole/" in refused(tmp_path, *search[:-1], plain)
    assert "a target of at least" in refused(tmp_path, *search[:-1], "impossible", "--target-params", "3")
    alone = ("search", "--data", "digits", "--tune-epochs", "1", "--out", tmp_path / "new")
    assert "--from beside --tune-epochs" in refused(tmp_path, *alone)
