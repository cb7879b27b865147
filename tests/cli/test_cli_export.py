"""`fpnas export`: what it leaves, what it says of it, and that it replaces or half-writes nothing."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import helpers_run as h
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from calling import Shipped, call, document, refused

import fpnas
from fpnas.cost import used_memory
from fpnas.runner import read_arch
from fpnas.train import accuracy


def digits() -> fpnas.data.ImageData:
    return fpnas.data.load("digits", image_size=16)


def logits_by_hand(file: Path) -> np.ndarray:
    """Of the held-out digits, by onnxruntime and what the file's metadata says of normalization."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    told = {key: json.loads(value) for key, value in facts_in(file).items() if key in ("mean", "std")}
    pixels = digits().heldout.inputs.numpy().astype(np.float64) / 255
    mean, std = (np.array(told[key]).reshape(1, -1, 1, 1) for key in ("mean", "std"))
    return session.run(None, {"images": ((pixels - mean) / std).astype(np.float32)})[0]


def facts_in(file: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(file).metadata_props}


def test_every_export_leaves_a_network_its_facts_and_a_card(shipped: Shipped) -> None:
    for name, called in shipped.calls.items():
        assert (called.code, called.err) == (0, ""), (name, called)
    names = {path.name for path in shipped.out.iterdir()}
    files = {"net.onnx", "int8.onnx", "net.pt2"}
    wanted = files | {f"{name}.json" for name in files} | {f"{name}.md" for name in files}
    assert names == wanted | {"net.safetensors", "arch.json", "net.safetensors.md"}


def test_the_facts_are_those_of_the_run_and_of_the_file(shipped: Shipped) -> None:
    arch, result = (h.read(shipped.run / name) for name in ("arch.json", "result.json"))
    facts = h.read(shipped.out / "net.onnx.json")
    content = (shipped.out / "net.onnx").read_bytes()
    assert (facts["bytes"], facts["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    for key in ("space", "choices", "flops", "params", "image_size", "in_channels", "num_classes"):
        assert facts[key] == arch[key], key
    data = digits()
    assert (tuple(facts["mean"]), tuple(facts["std"]), tuple(facts["classes"])) == (data.mean, data.std, data.classes)
    assert facts["training"]["accuracy"] == result["accuracy"]
    assert facts["training"]["data"] == "digits"
    assert 0 < facts["difference"] < 1e-4
    assert (facts["int8"], facts["opset"]) == (False, 18)
    printed = document(shipped.calls["net.pt2"], "export")
    assert printed["path"] == str(shipped.out / "net.pt2")
    assert printed["format"] == "pt2"


def test_facts_are_an_architecture_too(shipped: Shipped) -> None:
    assert read_arch(shipped.out / "net.onnx.json").arch == read_arch(shipped.run).arch
    assert call("cost", shipped.out / "int8.onnx.json").code == 0


def test_the_onnx_file_has_the_accuracy_of_the_run(shipped: Shipped) -> None:
    data = digits()
    found = logits_by_hand(shipped.out / "net.onnx")
    correct = int((found.argmax(axis=1) == data.heldout.labels.numpy()).sum())
    percent = 100 * correct / len(found)
    assert percent == h.read(shipped.run / "result.json")["accuracy"]
    assert percent > 80, "a network that has learnt nothing would prove little"


def test_int8_is_measured_beside_float(shipped: Shipped) -> None:
    """Accuracy as by hand from the file, near float's; a smaller file of int8 weights with a scale for each channel."""
    facts = document(shipped.calls["int8.onnx"], "export")
    labels = digits().heldout.labels.numpy()
    found, exact = (logits_by_hand(shipped.out / name).argmax(axis=1) for name in ("int8.onnx", "net.onnx"))
    rows = facts["measured"]["files"]
    assert rows["int8"]["accuracy"] == pytest.approx(100 * (found == labels).mean())
    assert rows["float"]["accuracy"] == pytest.approx(100 * (exact == labels).mean())
    assert rows["int8"]["agrees"] == pytest.approx(100 * (found == exact).mean())
    assert rows["int8"]["accuracy"] > rows["float"]["accuracy"] - 5
    assert rows["int8"]["bytes"] == facts["bytes"] == (shipped.out / "int8.onnx").stat().st_size
    assert all(row["ms_per_image"] > 0 for row in rows.values())
    assert facts["measured"]["num_images"] == len(labels)
    how = facts["quantisation"]
    assert how["divergence"].keys() >= {"min-max", "percentile 99.99", "percentile 99.9", "least squares"}
    by_method = {way: found for way, found in how["divergence"].items() if "weights" not in way}
    assert how["calibration"] == min(by_method, key=lambda way: by_method[way])
    graph = onnx.load(shipped.out / "int8.onnx").graph
    kernels = [
        tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4
    ]
    assert kernels
    scales = {tensor.name: tensor for tensor in graph.initializer}
    per_channel = {
        node.input[0]: list(scales[node.input[1]].dims)
        for node in graph.node
        if node.op_type == "DequantizeLinear"
        if node.input[0] in scales
    }
    for kernel in kernels:
        assert per_channel[kernel.name] == [kernel.dims[0]]


def test_int8_calibrates_on_training_images_alone(
    shipped: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quantiser sees training images, normalized by what the run recorded, each once at most, and no other."""
    seen: list[torch.Tensor] = []

    class Enough(Exception):
        pass

    def to_int8(content: bytes, spec: fpnas.data.ImageSpec, calibration: torch.Tensor, facts: object) -> None:
        seen.append(calibration)
        raise Enough

    data = h.made_up(train=200, size=16)
    ten = fpnas.data.ImageData("x", data.train, data.heldout, tuple("0123456789"), "test", data.mean, data.std)
    monkeypatch.setattr("fpnas.runner.ship.to_int8", to_int8)
    monkeypatch.setattr("fpnas.runner.ship.to_onnx", lambda *_: type("Float", (), {"content": b""}))
    with pytest.raises(Enough):
        fpnas.export(shipped.run, "onnx", tmp_path / "x.onnx", data=ten, int8=True)
    spec = read_arch(shipped.run).images
    assert spec is not None
    numbers = ((seen[0][:, 0, 0, 0].double() * spec.std[0] + spec.mean[0]) * 255).round().long().tolist()
    assert sorted(numbers) == list(range(200)), "pixel (0, 0) of a made-up image holds its number"
    train = spec.normalize(data.train.inputs)
    assert torch.equal(seen[0], train[numbers])
    assert not list(tmp_path.iterdir())


def test_pt2_gives_the_networks_logits_for_any_batch(shipped: Shipped) -> None:
    network = fpnas.load(shipped.run)
    again = torch.export.load(shipped.out / "net.pt2").module()
    for count in (1, 2, 9):
        images = torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(count))
        torch.testing.assert_close(again(images), network(images), rtol=0, atol=1e-6)


def test_safetensors_load_back(shipped: Shipped, tmp_path: Path) -> None:
    """As a file of any name, and as a folder where it is called model.safetensors; a plain module each time."""
    shutil.copy(shipped.out / "net.safetensors", tmp_path / "model.safetensors")
    shutil.copy(shipped.out / "arch.json", tmp_path)
    expected = fpnas.load(shipped.run)
    for place in (shipped.out / "net.safetensors", tmp_path):
        network = fpnas.load(place)
        assert not any(type(module).__module__.startswith("fpnas") for module in network.modules())
        assert not network.training
        for (name, a), (_, b) in zip(network.state_dict().items(), expected.state_dict().items(), strict=True):
            assert torch.equal(a, b), name
    evaluated = call("evaluate", shipped.out / "net.safetensors", "--data", "digits", "--json")
    assert json.loads(evaluated.out)["accuracy"] == accuracy(expected, digits()).accuracy
    again = fpnas.export(tmp_path, "safetensors", tmp_path / "again" / "net.safetensors")
    assert again.facts["training"] == h.read(shipped.out / "arch.json")["training"]


def test_the_card_says_what_it_is(shipped: Shipped) -> None:
    card = (shipped.out / "int8.onnx.md").read_text()
    facts = h.read(shipped.out / "int8.onnx.json")
    row = facts["measured"]["files"]["int8"]
    used = used_memory(read_arch(shipped.run).as_recorded, read_arch(shipped.run).arch, digits().input_shape)["int8"]
    assert {"ram": facts["ram"], "flash": facts["flash"]} == used
    for words in (
        "# int8.onnx",
        "int8, onnxruntime",
        f"RAM in TensorFlow Lite Micro, bytes, as int8 | {facts['ram']:,} |",
        f"flash that the weights take, bytes, as int8 | {facts['flash']:,} |",
        f"| milliseconds of one image, on one thread | {row['ms_per_image']:.3f} |",
        f"{facts['flops']:,}",
        f"{facts['params']:,}",
        f"| int8 | {row['accuracy']:.2f} % | {row['bytes']:,} | {row['ms_per_image']:.3f} | {row['agrees']:.2f} % |",
        "fpnas predict int8.onnx image.png",
        "data digits",
        "## Limits",
    ):
        assert words in card, words
    for name, option in facts["choices"].items():
        group = name.rpartition(".")[0]
        assert re.search(rf"^\| {group} \|.* {option} .*\|$", card, flags=re.MULTILINE), name


@pytest.mark.parametrize("name", ["net.onnx", "net.pt2", "net.safetensors"])
def test_the_cards_program_runs(name: str, shipped: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    for file in shipped.out.iterdir():
        shutil.copy(file, tmp_path)
    Image.fromarray(digits().heldout.inputs[0, 0].numpy()).save(tmp_path / "image.png")
    (block,) = re.findall(r"```python\n(.*?)```", (tmp_path / f"{name}.md").read_text(), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, np.ndarray] = {}
    exec(compile(block, name, "exec"), names)
    assert_same = fpnas.load(shipped.run)(digits().normalize(digits().heldout.inputs[:1])).detach().numpy()
    np.testing.assert_allclose(names["logits"], assert_same, atol=1e-4)


@pytest.mark.parametrize("kind", ["16 bits", "turned", "transparent", "palette"])
def test_the_cards_program_reads_images_as_predict_does(
    kind: str, shipped: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    grey = np.tile(np.arange(16, dtype=np.uint16) * 17, (16, 1))
    if kind == "16 bits":
        image = Image.fromarray(grey * 257)
    elif kind == "transparent":
        image = Image.fromarray(np.stack([grey, grey * 0 + 255 * (grey > 99)], axis=2).astype(np.uint8), "LA")
    else:
        image = Image.fromarray(grey.astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    more = {"turned": {"exif": exif.tobytes()}, "palette": {"transparency": 3}}.get(kind, {})
    (image.convert("P") if kind == "palette" else image).save(tmp_path / "image.png", **more)
    shutil.copy(shipped.out / "net.onnx", tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", (shipped.out / "net.onnx.md").read_text(), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, np.ndarray] = {}
    exec(compile(block, "card", "exec"), names)
    logits = torch.from_numpy(names["logits"]).double()
    (found,) = fpnas.predict("net.onnx", ["image.png"], top=10)
    expected = sorted((guess.label, guess.probability) for guess in found.classes)
    np.testing.assert_allclose([share for _, share in expected], logits.softmax(dim=1)[0].numpy(), atol=1e-5)


# ------------------------------------------------------------------------------------------------------------ refusals

REFUSALS: dict[str, tuple[tuple[str, ...], str]] = {
    "unknown format": (("--to", "onx", "--out", "x.onx"), "did you mean 'onnx'"),
    "another suffix": (("--to", "onnx", "--out", "x.pt2"), "ends in .onnx"),
    "no suffix": (("--to", "pt2", "--out", "x"), "ends in .pt2"),
    "no file": (("--to", "pt2"), "--out"),
    "no format": (("--out", "x.onnx"), "--to"),
    "another suffix of LiteRT": (("--to", "litert", "--out", "x.lite"), "ends in .tflite"),
    "another suffix of C": (("--to", "c", "--out", "x.cpp"), "ends in .h or .c"),
    "int8 of another format": (("--to", "pt2", "--out", "x.pt2", "--int8", "--data", "digits"), "--to onnx"),
    "data not there": (("--to", "pt2", "--out", "x.pt2", "--data", "no/such"), "no/such"),
    "a file that is there": (("--to", "pt2", "--out", "old.pt2"), "old.pt2"),
    "a card that is there": (("--to", "onnx", "--out", "half.onnx"), "half.onnx.md"),
    "a folder that is there": (("--to", "onnx", "--out", "dir.onnx", "--overwrite"), "dir.onnx"),
    "below a file": (("--to", "safetensors", "--out", "old.pt2/x.safetensors"), "old.pt2"),
    "too long a name": (("--to", "pt2", "--out", "n" * 300 + ".pt2"), "too long"),
    "other data": (("--to", "pt2", "--out", "x.pt2", "--data", "other.npz"), "10 classes"),
}


@pytest.fixture
def place(shipped: Shipped, tmp_path: Path) -> Path:
    """A working folder with a run and files that are in the way."""
    from calling import write_npz

    shutil.copytree(shipped.run, tmp_path / "run")
    write_npz(tmp_path / "other.npz", 4, 0)
    (tmp_path / "old.pt2").write_text("precious")
    (tmp_path / "half.onnx.md").write_text("precious")
    (tmp_path / "dir.onnx").mkdir()
    return tmp_path


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_leave_everything_as_it_was(case: str, place: Path) -> None:
    arguments, words = REFUSALS[case]
    assert words in refused(place, "export", "run", *arguments)


@pytest.mark.parametrize("run", ["nothing", "dir.onnx", "run/arch.json"])
def test_what_is_no_trained_run_is_refused(run: str, place: Path) -> None:
    refused(place, "export", run, "--to", "pt2", "--out", "x.pt2")


def test_the_files_of_a_run_are_never_replaced(place: Path) -> None:
    words = refused(place, "export", "run", "--to", "safetensors", "--out", "run/model.safetensors", "--overwrite")
    assert "no run's" in words


def test_overwrite_replaces_what_is_there(place: Path) -> None:
    called = call("export", place / "run", "--to", "pt2", "--out", place / "old.pt2", "--overwrite")
    assert called.code == 0, called
    assert torch.export.load(place / "old.pt2").module()(torch.zeros(4, 1, 16, 16)).shape == (4, 10)


def test_missing_packages_are_named_in_one_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    words = refused(place, "export", "run", "--to", "onnx", "--out", "x.onnx")
    assert "pip install 'fpnas[onnx]'`, or export --to safetensors or pt2" in words


@pytest.mark.parametrize(("to", "file"), [("litert", "x.tflite"), ("c", "x.h")])
def test_missing_litert_packages_are_named_in_one_line(
    to: str, file: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "litert_torch", None)
    words = refused(place, "export", "run", "--to", to, "--out", file)
    assert "pip install 'fpnas[litert]'`, or export --to onnx" in words


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_if_a_file_cannot_be_written_none_stays(
    failing: int, shipped: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    replace, calls = os.replace, []

    def full(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr("fpnas.runner.folder.os.replace", full)
    with pytest.raises(fpnas.FpnasError, match="No space left"):
        fpnas.export(shipped.run, "safetensors", tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_network_that_differs_is_not_written(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fpnas.shipping.check.TOLERANCE", -1.0)
    assert "differs from torch" in refused(place, "export", "run", "--to", "safetensors", "--out", "x.safetensors")


def test_a_run_without_normalisation_needs_data(place: Path) -> None:
    """As runs of the first version are."""
    file = place / "run" / "arch.json"
    arch = json.loads(file.read_text())
    old = {key: value for key, value in arch.items() if key not in ("mean", "std", "classes")}
    file.write_text(json.dumps(old))
    assert "--data" in refused(place, "export", "run", "--to", "safetensors", "--out", "x.safetensors")
    done = fpnas.export(place / "run", "safetensors", place / "x.safetensors", data=digits())
    assert done.facts["mean"] == arch["mean"]
    file.write_text(json.dumps({**arch, "std": [0.0]}))
    assert "greater than 0" in refused(place, "export", "run", "--to", "pt2", "--out", "y.pt2")
