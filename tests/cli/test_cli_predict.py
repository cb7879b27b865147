"""`fpnas predict`: images in, classes out, from a run and from exported files; a bad image is named, and that is it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from calling import Shipped, call, document, refused
from PIL import Image

import fpnas
from fpnas.runner.prediction import read_image

COUNT = 12


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Held-out digits as PNG files, 16 x 16 pixels."""
    images = fpnas.data.load("digits", image_size=16).heldout.inputs[:COUNT, 0].numpy()
    paths = [tmp_path / f"digit {number}.png" for number in range(COUNT)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths


def by_hand(run: Path) -> torch.Tensor:
    """Probabilities of those digits from the tensors themselves."""
    data = fpnas.data.load("digits", image_size=16)
    with torch.no_grad():
        return fpnas.load(run)(data.normalize(data.heldout.inputs[:COUNT])).softmax(dim=1)


def sources(shipped: Shipped) -> dict[str, Path]:
    return {"run": shipped.run, "onnx": shipped.out / "net.onnx", "safetensors": shipped.out / "net.safetensors"}


@pytest.mark.parametrize("source", ["run", "onnx", "safetensors"])
def test_json_holds_the_probabilities_of_the_network(source: str, shipped: Shipped, pictures: list[Path]) -> None:
    called = call("predict", sources(shipped)[source], *pictures, "--top", "10", "--json")
    assert (called.code, called.err) == (0, ""), called
    expected = by_hand(shipped.run)
    found = document(called, "predict")
    assert [item["image"] for item in found] == [str(path) for path in pictures]
    for item, row in zip(found, expected, strict=True):
        shares = [guess["probability"] for guess in item["classes"]]
        labels = [guess["label"] for guess in item["classes"]]
        assert shares == sorted(shares, reverse=True)
        assert sorted(labels) == list(range(10))
        assert [guess["class"] for guess in item["classes"]] == [str(label) for label in labels]
        np.testing.assert_allclose(shares, row[labels].numpy(), atol=1e-4)


def test_plain_lines(shipped: Shipped, pictures: list[Path]) -> None:
    called = call("predict", shipped.run, *pictures[:2])
    best = by_hand(shipped.run)[:2].max(dim=1)
    lines = called.out.splitlines()
    assert len(lines) == 2
    for line, path, label, share in zip(lines, pictures, best.indices.tolist(), best.values.tolist(), strict=False):
        assert line.startswith(f"{path}: {label} {100 * share:.1f} %, ")
        assert line.count(" %") == 3
    assert len(call("predict", shipped.run, pictures[0], "--top", "1").out.splitlines()[0].split(", ")) == 1


def test_int8_predicts(shipped: Shipped, pictures: list[Path]) -> None:
    found = fpnas.predict(shipped.out / "int8.onnx", pictures, top=1)
    same = [item.classes[0].label for item in found] == by_hand(shipped.run).argmax(dim=1).tolist()
    assert same or sum(item.classes[0].probability for item in found) / COUNT > 0.5


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK", "1"])
def test_every_kind_of_image_is_read(mode: str, shipped: Shipped, tmp_path: Path) -> None:
    """Of any size: it becomes as the training images are."""
    image = Image.new("L", (40, 31), 200).convert(mode)
    path = tmp_path / ("image.jpg" if mode == "CMYK" else "image.png")
    image.save(path)
    (item,) = fpnas.predict(shipped.run, [path])
    assert sum(guess.probability for guess in item.classes) <= 1 + 1e-9


def test_control_characters_in_names_do_not_reach_the_terminal(
    shipped: Shipped, pictures: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "evil"
    folder.mkdir()
    arch = json.loads((shipped.run / "arch.json").read_text())
    arch["classes"] = [f"\x1b[31mred\n{label}" for label in arch["classes"]]
    (folder / "arch.json").write_text(json.dumps(arch))
    (folder / "model.safetensors").write_bytes((shipped.run / "model.safetensors").read_bytes())
    out = call("predict", folder, pictures[0]).out
    assert "\x1b" not in out
    assert out.count("\n") == 1
    assert "\\x1b[31mred\\n" in out


def spoil(folder: Path, good: Path) -> dict[str, str]:
    """Images that can't be read, and a word that the refusal must have."""
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("no image")
    (folder / "cut.png").write_bytes(good.read_bytes()[:-40])
    (folder / "folder.png").mkdir()
    return {name: name for name in ("empty.png", "text.png", "cut.png", "folder.png", "missing.png")}


@pytest.mark.parametrize("name", ["empty.png", "text.png", "cut.png", "folder.png", "missing.png"])
def test_a_bad_image_is_named_and_nothing_is_predicted(
    name: str, shipped: Shipped, pictures: list[Path], tmp_path: Path
) -> None:
    words = spoil(tmp_path, pictures[0])[name]
    assert words in refused(tmp_path, "predict", shipped.run, pictures[0].name, name, "--json")


def test_bombs_are_refused(shipped: Shipped, tmp_path: Path) -> None:
    Image.new("1", (8_200, 8_200)).save(tmp_path / "bomb.png")
    assert "bomb.png" in refused(tmp_path, "predict", shipped.run, "bomb.png")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing", "x.png"), "nothing"),
        (("nothing.onnx", "x.png"), "nothing.onnx"),
        (("text.onnx", "x.png"), "onnxruntime can run"),
        (("text.safetensors", "x.png"), "arch.json"),
        (("net.pt2", "x.png"), "got net.pt2, an exported .pt2 file; torch.export.load runs it, as its model card says"),
        ((), "RUN"),
        (("text.onnx",), "IMAGE"),
        (("text.onnx", "x.png", "--top", "0"), "--top"),
    ],
)
def test_refusals(arguments: tuple[str, ...], words: str, shipped: Shipped, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no network")
    (tmp_path / "text.safetensors").write_text("no network")
    shutil.copy(shipped.out / "net.pt2", tmp_path)
    assert words in refused(tmp_path, "predict", *arguments)


def test_load_says_what_runs_an_exported_file(shipped: Shipped) -> None:
    with pytest.raises(fpnas.FpnasError, match=r"net.onnx, an exported .onnx file; onnxruntime, or fpnas"):
        fpnas.load(shipped.out / "net.onnx")


def test_a_run_that_never_noted_its_classes_is_refused(shipped: Shipped, pictures: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    arch = json.loads((shipped.run / "arch.json").read_text())
    del arch["mean"]
    (folder / "arch.json").write_text(json.dumps(arch))
    (folder / "model.safetensors").write_bytes((shipped.run / "model.safetensors").read_bytes())
    assert "export it with --data" in refused(tmp_path, "predict", "old", pictures[0].name)


def test_an_onnx_file_whose_metadata_lies_is_refused(shipped: Shipped, pictures: list[Path], tmp_path: Path) -> None:
    import onnx

    for key, value, words in (
        ("image_size", "17", "17 x 17"),
        ("classes", '["a", "b"]', "2 logits"),
        ("std", "[0]", "greater than 0"),
    ):
        model = onnx.load(shipped.out / "net.onnx")
        for entry in model.metadata_props:
            if entry.key == key:
                entry.value = value
        onnx.save(model, tmp_path / "x.onnx")
        assert words in refused(tmp_path, "predict", "x.onnx", pictures[0].name)
    model = onnx.load(shipped.out / "net.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "x.onnx")
    assert "names its classes" in refused(tmp_path, "predict", "x.onnx", pictures[0].name)


@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_images_are_read_as_training_images_are(fit: str, tmp_path: Path) -> None:
    """JPEGs of several shapes, from a class folder and one by one: the same pixels."""
    rng = np.random.default_rng(0)
    paths: dict[str, list[Path]] = {"train": [], "val": []}
    for part, held in paths.items():
        for number in range(4):
            path = tmp_path / part / "ab"[number % 2] / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            size = (50 + 20 * number, 90, 3)
            Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(path)
            held.append(path)
    data = fpnas.data.load(tmp_path, image_size=16, fit=fit)
    spec = fpnas.data.ImageSpec.of(data)
    for images, part in ((data.train.inputs, "train"), (data.heldout.inputs, "val")):
        read = torch.cat([read_image(path, spec) for path in sorted(paths[part])])
        assert torch.equal(read, images)
    assert fpnas.data.ImageSpec.from_json(spec.to_json()) == spec
