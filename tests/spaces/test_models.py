"""A network that exists as a space: names, weights, head and channels; a search inside it and a training from it."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import fpnas
from fpnas import InputError, ProxyEvaluator, Supernet
from fpnas.cli import main
from fpnas.elastic import Importance
from fpnas.runner.files import inherit_weights, read_arch
from fpnas.spaces import Model, Smaller, by_name, import_file, model

FILE = """
from torch import nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, 2 * width, 1), nn.BatchNorm2d(2 * width), nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width), nn.Conv2d(2 * width, width, 1),
        )

    def forward(self, x):
        return x + self.layers(x)


def small_net():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), Block(16), Block(16),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 7),
    )


def no_net():
    return 3


def fails():
    return 1 / 0
"""


@pytest.fixture(autouse=True)
def _path_is_restored() -> Iterator[None]:
    with patch.object(sys, "path", list(sys.path)):  # which importing a file adds to
        yield


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "nets.py"
    path.write_text(FILE)
    return path


def images(count: int = 4, channels: int = 3) -> torch.Tensor:
    return torch.randn(count, channels, 16, 16, generator=torch.Generator().manual_seed(0))


def test_the_largest_network_is_the_given_one_and_a_fitting_head_is_kept(file: Path) -> None:
    found = model(f"{file}:small_net")
    supernet = found.supernet(num_classes=7, image_size=16).eval()
    assert found.name == supernet.name == "small-net"
    assert supernet.pretrained
    torch.testing.assert_close(supernet(images()), found.module(images()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("classes", "channels"), [(3, 3), (7, 1), (4, 1)])
def test_head_and_channels_are_fitted_to_the_data(file: Path, classes: int, channels: int) -> None:
    found = model(f"{file}:small_net")
    makes = [found.supernet(classes, channels, 16, seed=seed).eval() for seed in (0, 0, 1)]
    x = images(channels=channels)
    outputs = [supernet(x) for supernet in makes]
    assert outputs[0].shape == (4, classes)
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2]) == (classes == 7)  # the seed is the new head's
    if (classes, channels) == (7, 1):  # a grey image counts as three equal channels would, up to their mean
        assert torch.allclose(outputs[0], found.module(x.repeat(1, 3, 1, 1)), atol=1e-5)


def test_what_may_be_smaller(file: Path) -> None:
    found = model(f"{file}:small_net")
    space = found.supernet(7, 3, 16, Smaller(widths=(0.5, 1.0), kernels=(5,), skips=True)).space
    options = {choice.name: choice.options for choice in space.choices}
    assert options["3.layers_0_width"] == (16, 32)
    assert options["3.layers_3_kernel"] == (3, 5)
    assert options["4.runs"] == (0, 1)


@pytest.mark.parametrize("kind", ["plain.pth", "plain.safetensors", "nested.pth", "parallel.pth"])
def test_weights_of_a_file(file: Path, tmp_path: Path, kind: str) -> None:
    name = import_file(f"{file}:small_net") or ""
    state = {key: torch.full_like(value, 2) for key, value in model(name).module.state_dict().items()}
    path = tmp_path / kind
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        nested = {"nested": {"state_dict": state, "epoch": 3}, "parallel": {f"module.{k}": v for k, v in state.items()}}
        torch.save(nested.get(path.stem, state), path)
    found = model(name, path)
    assert found.pretrained
    assert all(torch.equal(value, state[key]) for key, value in found.module.state_dict().items())


def test_weights_that_do_not_fit_or_are_not_tensors(file: Path, tmp_path: Path) -> None:
    name = import_file(f"{file}:small_net") or ""
    path = tmp_path / "weights.pth"
    torch.save({"0.weight": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=r"weights of this network, got .*weights\.pth"):
        model(name, path)
    torch.save(model(name).module, path)  # a pickled network, which could run code
    with pytest.raises(InputError, match="tensors alone"):
        model(name, path)
    with pytest.raises(InputError, match="tensors alone"):
        model(name, tmp_path / "none.safetensors")


class _Timm(ModuleType):
    """A library that knows one network and has no way to its weights."""

    def is_model(self, name: str) -> bool:
        return name == "net_050"

    def list_models(self) -> list[str]:
        return ["net_050"]

    def create_model(self, name: str, pretrained: bool) -> nn.Module:
        if pretrained:
            raise OSError("no route to host")
        net: Any = nn.Sequential(
            nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 1000)
        )
        net.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "input_size": (3, 192, 192)}
        return net


def test_a_library_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", _Timm("timm"))
    with pytest.raises(InputError, match=r"weights of timm/net_050, got none \(no route to host\); give --weights"):
        model("timm/net_050")
    found = model("timm/net_050", "none")
    assert (found.image_size, found.normalization) == (192, ((0.5,) * 3, (0.25,) * 3))
    assert not found.pretrained
    assert found.supernet(5, 1, 32).normalization == ((0.5,), (0.25,))
    for strange in ("timm/other", "timm/hf-hub:someone/net", "timm/local-dir:/tmp", "keras/net", "small-net"):
        with pytest.raises(InputError, match="a network"):
            model(strange, "none")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"an installed timm.*pip install timm"):
        model("timm/net_050", "none")


def test_a_library_that_is_there_but_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    with pytest.raises(InputError, match=r"torchvision that can be imported, got operator .* fit torch \d"):
        model("torchvision/mobilenet_v2", "none")


def test_short_trainings_begin_with_the_weights_and_go_on_from_a_checkpoint(file: Path) -> None:
    digits = fpnas.data.load("digits", image_size=16)
    found = model(f"{file}:small_net")

    def judge() -> ProxyEvaluator:
        return ProxyEvaluator(found.supernet(10, 1, 16), digits, steps=3, batch_size=16)

    codes = torch.zeros(1, len(judge().space), dtype=torch.long)
    whole, cut, fresh = judge(), judge(), ProxyEvaluator(found.supernet(10, 1, 16), digits, steps=3, inherit=False)
    assert whole.lr < fresh.lr
    assert whole.settings()["inherit"]
    assert "inherit" not in fresh.settings()
    cut.train_step(codes, 0.0)
    resumed = judge()
    with torch.no_grad():
        for parameter in resumed.supernet.parameters():
            parameter.zero_()  # as where the network's own weights can't be had any more
    resumed.load_state_dict(cut.state_dict())
    assert torch.equal(resumed.score(codes), whole.score(codes))


def test_channels_by_what_the_loss_would_be_without_them(file: Path) -> None:
    digits = fpnas.data.load("digits", image_size=16)
    found = model(f"{file}:small_net")

    def made(sort: Importance | None, seed: int = 0) -> Supernet:
        return found.supernet(10, 1, 16, seed=seed, sort=sort, data=digits).eval()

    usual, taylor, again, other = made("l2"), made(None), made("taylor"), made("taylor", seed=1)
    torch.testing.assert_close(taylor(images(channels=1)), usual(images(channels=1)), rtol=1e-5, atol=1e-6)
    weights = [supernet.module.get_submodule("0").state_dict() for supernet in (usual, taylor, again, other)]
    usual_first, first, same, of_others = (next(iter(state.values())) for state in weights)
    assert torch.equal(first, same)
    assert not torch.equal(first, usual_first)
    assert not torch.equal(first, of_others), "the seed is the head's, and decides which images are looked at"
    assert taylor.facts["sort"] == "taylor"
    assert "sort" not in usual.facts, "as without data"
    for classes, data in ((10, None), (7, digits)):
        with pytest.raises(InputError, match=f"data of {classes} classes to sort by"):
            found.supernet(classes, 1, 16, sort="taylor", data=data)


def test_search_train_evaluate_and_load_inside_a_network(file: Path, tmp_path: Path) -> None:
    net, run, make = f"{file}:small_net", tmp_path / "run", Model.supernet
    small = ("--data", "digits", "--image-size", "16", "--batch-size", "32", "--threads", "1")
    search = ("search", *small, "--from", net, "--method", "fpnas-posterior", "--widths", "0.5,1", "--epochs", "1")
    search = (*search, "--target-params", "3k", "--max-steps", "2", "--out", str(run))
    assert main([*search]) == 0
    assert main([*search, "--sort", "l2"]) == 2, "a run of another order"
    arch = json.loads((run / "arch.json").read_text())
    assert arch["space"] == "small-net"
    assert arch["smaller"] == {"widths": [0.5, 1.0], "kernels": [], "skips": False}
    train = ("--import", net, "train", str(run), "--max-steps", "1", "--lr", "1e-9", "--opt", "sgd")
    assert main([*train]) == 0
    assert main([*train, "--no-inherit", "--out", str(tmp_path / "fresh")]) == 0
    supernet = read_arch(run).supernet(device="cpu")
    inherit_weights(supernet, run)
    expected = supernet.extract(arch["choices"]).state_dict()
    kept, fresh = (load_file(folder / "model.safetensors") for folder in (run / "train", tmp_path / "fresh"))
    assert torch.allclose(kept["0.weight"], expected["0.weight"], atol=1e-6)
    assert not torch.allclose(fresh["0.weight"], expected["0.weight"], atol=1e-3)
    assert main(["--import", net, "evaluate", str(run)]) == 0
    built: list[str] = []
    with patch.object(Model, "supernet", lambda self, *given: built.append(self.name) or make(self, *given)):
        fpnas.evaluate(run)
    assert built == ["small-net"], "a large network takes seconds to follow"
    assert fpnas.load(run)(torch.zeros(2, 1, 16, 16)).shape == (2, 10)


def test_a_search_inside_other_weights_is_another_run(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = ["search", "--data", "digits", "--image-size", "16", "--batch-size", "32", "--threads", "1"]
    search += ["--from", f"{file}:small_net", "--method", "random", "--max-steps", "1", "--out", str(tmp_path / "run")]
    name, codes = import_file(f"{file}:small_net") or "", list[int]()
    for weights, shift in {"a": 0, "b": 1e-3}.items():
        state = {key: tensor + shift for key, tensor in model(name).module.state_dict().items()}
        save_file(state, tmp_path / f"{weights}.safetensors")
    (tmp_path / "copy").mkdir()
    copy = shutil.copy(tmp_path / "a.safetensors", tmp_path / "copy")
    for weights in (tmp_path / "a.safetensors", Path(copy), tmp_path / "b.safetensors"):
        codes.append(main([*search, "--weights", str(weights)]))
    assert codes == [0, 0, 2]
    refusal = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"got weights '[0-9a-f]{32}' where the run in .* has '[0-9a-f]{32}'", refusal)
    assert "weights" not in model(name, "none").supernet(10, 1, 16).facts, "drawn by a seed"


def test_a_space_by_its_name_runs_no_file(tmp_path: Path) -> None:
    """The name may be that of an arch.json from anywhere."""
    path, ran = tmp_path / "nets.py", tmp_path / "ran"
    path.write_text(f"open({str(ran)!r}, 'w')\n{FILE}")
    for name in (f"{path}:small_net", f"timm/{path}:small_net"):
        with pytest.raises(InputError):
            by_name(name)(num_classes=7)
    assert not ran.exists()
    assert model(f"{path}:small_net").name == "small-net"
    assert ran.exists()


def test_what_a_file_says_may_be_smaller(file: Path, tmp_path: Path) -> None:
    """It may come from anywhere: fpnas's own spaces pass it over, and a huge kernel would take all memory."""
    name, arch = import_file(f"{file}:small_net") or "", tmp_path / "arch.json"
    tiny = fpnas.spaces.tiny()
    record = {"space": "tiny", "choices": dict(tiny.arch), "smaller": {"widths": [0.5]}}
    arch.write_text(json.dumps(record))
    assert read_arch(arch).space == "tiny"
    for wrong in ({"kernels": [99_999]}, {"widths": [0.5] * 65}, {"widths": "all"}, {"kernels": [4]}, {"widths": [2]}):
        arch.write_text(
            json.dumps({"space": name, "choices": {}, "num_classes": 7, "image_size": 16, "smaller": wrong})
        )
        with pytest.raises(InputError, match=r"smaller|kernel|widths"):
            read_arch(arch)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--widths", "0.5"], "--from beside --widths"),
        (["--sort", "taylor"], "--from beside --sort"),
        (["--from", "{file}:small_net", "--sort", "l3"], "a known importance, got 'l3'"),
        (["--from", "{file}:small_net", "--space", "tiny"], "--space or --from"),
        (["--from", "{file}:small_net", "--widths", "half"], "correct --widths"),
        (["--from", "{file}:small_net", "--widths", "2"], "widths above 0"),
        (["--from", "{file}:absent"], "a function 'absent'"),
        (["--from", "{file}:no_net"], "an nn.Module from 'no_net'"),
        (["--from", "{file}:fails"], "ZeroDivisionError"),
        (["--from", "nothing"], "a network: timm/NAME"),
    ],
)
def test_bad_flags_are_one_line(
    file: Path, tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word.format(file=file) for word in words]
    out = tmp_path / "run"
    assert main(["search", "--data", "digits", "--image-size", "16", *given, "--out", str(out)]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert said in error[0]
    assert not out.exists()
