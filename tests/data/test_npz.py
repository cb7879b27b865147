""".npz files: the arrays that are read, and that nothing in them is trusted."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import refused

from fpnas.data import load

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 6, 6, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3
TRAIN: dict[str, Any] = {"train_images": IMAGES, "train_labels": LABELS}


def written(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "mine.npz", **arrays)
    return folder / "mine.npz"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_images_labels_and_names(tmp_path: Path, save: Any) -> None:
    save(tmp_path / "mine.npz", **TRAIN, test_images=IMAGES[:4], test_labels=LABELS[:4], classes=["a", "b", "c"])
    data = load(tmp_path / "mine.npz")
    assert (data.name, data.classes, data.heldout_from, data.skipped) == ("mine", ("a", "b", "c"), "test", None)
    assert torch.equal(data.train.inputs, torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy()))
    assert data.train.labels.tolist() == LABELS.tolist()
    assert len(data.heldout) == 4


def test_grey_images_val_and_columns_of_labels_as_medmnist_has_them(tmp_path: Path) -> None:
    grey = {"train_images": IMAGES[..., 0], "train_labels": LABELS[:, None].astype(np.uint8)}
    data = load(written(tmp_path, **grey, val_images=IMAGES[:3, ..., 0], val_labels=LABELS[:3, None]))
    assert (data.in_channels, data.heldout_from, data.classes) == (1, "val", ("0", "1", "2"))
    assert torch.equal(data.train.inputs[:, 0], torch.from_numpy(IMAGES[..., 0].copy()))
    assert load(written(tmp_path, **grey)).heldout_from == "split"


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": IMAGES}, "arrays 'train_images' and 'train_labels', got x in"),
        ({"train_images": IMAGES}, "an array 'train_labels' of '.*', got none"),
        ({**TRAIN, "train_images": IMAGES / 255}, "uint8 in 'train_images' of .*, got float64"),
        ({**TRAIN, "train_images": IMAGES.astype(np.uint16)}, "uint8 in 'train_images' of .*, got uint16"),
        ({**TRAIN, "train_images": IMAGES[0, 0]}, "images of shape N x H x W"),
        ({**TRAIN, "train_images": IMAGES.transpose(0, 3, 1, 2)}, "with 1 or 3 channels, got .12, 3, 6, 6."),
        ({**TRAIN, "train_images": IMAGES[:0], "train_labels": LABELS[:0]}, "images of shape N x H x W"),
        ({**TRAIN, "train_labels": LABELS / 2}, "whole numbers in 'train_labels' of .*, got float64"),
        ({**TRAIN, "train_labels": LABELS[:5]}, r"labels as int64 of shape \(12,\)"),
        ({**TRAIN, "train_labels": np.eye(12, dtype=int)}, "labels of shape N, one class an image"),
        ({**TRAIN, "train_labels": LABELS - 1}, "labels from 0 up, got -1"),
        ({**TRAIN, "train_labels": LABELS * 0}, "training images of at least two classes, got '0' alone"),
        ({**TRAIN, "train_labels": LABELS // 2 * 5}, "each class from 0 to 5, got none of 1, 2, 3, 4; number those"),
        ({**TRAIN, "train_labels": LABELS + 2**60}, r"each class from 0 to \d+, got none of 0, 1, 2, 3, 4, \.\.\."),
        ({**TRAIN, "classes": ["a", "b"]}, "labels from 0 to 1, for 2 classes, got 2 among the training"),
        ({**TRAIN, "classes": [1, 2, 3]}, "text in 'classes'"),
        ({**TRAIN, "test_images": IMAGES[:1], "test_labels": [7]}, "labels from 0 to 2, for 3 classes, got 7"),
        ({**TRAIN, "test_images": IMAGES[:1, ..., :1], "test_labels": [1]}, "images of one shape"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    refused(written(tmp_path, **arrays), words)


def test_a_class_that_training_lacks(tmp_path: Path) -> None:
    parts = {"train_images": IMAGES, "train_labels": LABELS % 2 * 2, "test_images": IMAGES, "test_labels": LABELS}
    refused(written(tmp_path, **parts), "training examples of each class from 0 to 2, got none of 1")
    named = written(tmp_path, **parts, classes=["a", "b", "c"])
    refused(named, "training images of every class that is held out, got none of 'b'")


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (tmp_path.joinpath("sprung").touch, ())

    trap = np.array([Trap()], dtype=object)
    for name in ("train_images", "train_labels", "classes"):
        refused(written(tmp_path, **{**TRAIN, name: trap}), "got object;")
    assert not (tmp_path / "sprung").exists()


def claiming(path: Path, shape: tuple[int, ...], data: bytes, compress: int = zipfile.ZIP_STORED) -> Path:
    """A file whose header claims a shape, whatever follows it."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w", compress) as archive:
        archive.writestr("train_images.npy", header.getvalue() + data)
    return path


def test_claims_are_checked_before_memory_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.npz"
    refused(claiming(path, (10**6, 10**3, 10**3, 3), b"x"), "at most 8,589,934,592 bytes in .*, got 3,000,000,000,000;")
    refused(claiming(path, (10, 6, 6), b"x"), "360 bytes in 'train_images' .* as it announces")
    refused(claiming(path, (10, 6, 6), bytes(361)), "360 bytes in 'train_images' .* as it announces")
    monkeypatch.setattr("fpnas.data.readers.npz.LIMIT", 359)
    refused(claiming(path, (10, 6, 6), bytes(360)), "at most 359 bytes in .*, got 360")


def test_broken_files(tmp_path: Path) -> None:
    path = written(tmp_path, **TRAIN)
    content = path.read_bytes()
    for broken in (b"", b"PK\3\4", content[: len(content) // 2], content[:200] + b"\xff" * 20 + content[220:]):
        path.write_bytes(broken)
        refused(path, "a sound .npz file")
    np.save(tmp_path / "x.npy", IMAGES)
    (tmp_path / "x.npy").rename(path)
    refused(path, "a sound .npz file")
