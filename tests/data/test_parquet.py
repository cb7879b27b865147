"""Folders of parquet files: where they may lie, what their columns may be called, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from pictures import encoded, picture, refused, stacked, write_parquet

from fpnas.data import load
from fpnas.data.readers import parquet
from fpnas.data.request import Request
from fpnas.errors import InputError

pytest.importorskip("pyarrow", reason="pyarrow is not installed")

CONTENTS = [encoded(picture(seed)) for seed in range(12)]
LABELS = [seed % 2 for seed in range(12)]
SHARED = Path(__file__).parents[3] / "shared" / "data"


def trained(folder: Path) -> Path:
    """A folder with training images alone."""
    write_parquet(folder / "train.parquet", CONTENTS, LABELS)
    return folder


@pytest.mark.parametrize(
    ("train", "test", "heldout_from"),
    [
        ("train.parquet", "test.parquet", "test"),
        ("train.parquet", "val.parquet", "val"),
        ("data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet", "val"),
        ("train-00000-of-00001-0a1b2c.parquet", "valid-00000-of-00001.parquet", "val"),
        ("train/0000.parquet", "test/0000.parquet", "test"),
    ],
)
def test_the_images_in_their_order_wherever_the_files_lie(
    tmp_path: Path, train: str, test: str, heldout_from: str
) -> None:
    write_parquet(tmp_path / "pets" / train, CONTENTS, LABELS)
    write_parquet(tmp_path / "pets" / test, CONTENTS[:4], LABELS[:4])
    data = load(tmp_path / "pets")
    assert (data.name, data.classes, data.heldout_from) == ("pets", ("cat", "dog"), heldout_from)
    assert torch.equal(data.train.inputs, stacked(range(12)))
    assert data.train.labels.tolist() == LABELS
    assert torch.equal(data.heldout.inputs, stacked(range(4)))


def test_shards_are_joined_in_order(tmp_path: Path) -> None:
    for shard, part in enumerate((slice(0, 7), slice(7, 12))):
        write_parquet(tmp_path / f"train-0000{shard}-of-00002.parquet", CONTENTS[part], LABELS[part])
    write_parquet(tmp_path / "test.parquet", CONTENTS[:4], LABELS[:4])
    data = load(tmp_path)
    assert torch.equal(data.train.inputs, stacked(range(12)))
    (tmp_path / "train-00001-of-00002.parquet").unlink()
    refused(tmp_path, "the 2 shards of 'train', got 1 files")


def test_test_images_without_labels_are_passed_over(tmp_path: Path) -> None:
    write_parquet(trained(tmp_path) / "test.parquet", CONTENTS[:4], [-1] * 4)
    assert load(tmp_path).heldout_from == "split"
    write_parquet(tmp_path / "val.parquet", CONTENTS[:6], LABELS[:6])
    assert (load(tmp_path).heldout_from, len(load(tmp_path).heldout)) == ("val", 6)


def test_other_column_names_where_the_metadata_tells_their_kind(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", CONTENTS, LABELS, image="img", label="animal")
    assert load(tmp_path).classes == ("cat", "dog")
    write_parquet(tmp_path / "train.parquet", CONTENTS, LABELS, names=None, image="img")
    refused(tmp_path, "a column 'image', or one alone of kind Image, got number, img, label in")


def test_labels_without_names(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", CONTENTS, [3 * label for label in LABELS], names=None)
    assert load(tmp_path).classes == ("0", "1", "2", "3")
    write_parquet(tmp_path / "train.parquet", CONTENTS, [("b", "a")[label] for label in LABELS], names=None)
    write_parquet(tmp_path / "test.parquet", CONTENTS[:2], ["a", "b"], names=None)
    data = load(tmp_path)
    assert (data.classes, data.heldout.labels.tolist()) == (("a", "b"), [0, 1])
    assert data.train.labels.tolist() == [1 - label for label in LABELS]
    write_parquet(tmp_path / "test.parquet", CONTENTS[:2], ["a", "c"], names=None)
    refused(tmp_path, "classes that training has, got 'c'")
    write_parquet(tmp_path / "train.parquet", CONTENTS, [label + 0.5 for label in LABELS], names=None)
    refused(tmp_path, "labels that are whole numbers or strings")


@pytest.mark.parametrize(("label", "got"), [(2, "2"), (-1, "-1"), (None, "-1")])
def test_a_label_outside_the_range(tmp_path: Path, label: int | None, got: str) -> None:
    write_parquet(tmp_path / "train.parquet", CONTENTS, [*LABELS[:-1], label])
    refused(tmp_path, f"labels from 0 to 1, for 2 classes, got {got} among the training")


def test_files_that_disagree_or_lack_something(tmp_path: Path) -> None:
    write_parquet(tmp_path / "val.parquet", CONTENTS, LABELS)
    refused(tmp_path, r"training images, got '.*' with val alone")
    write_parquet(tmp_path / "train.parquet", CONTENTS, LABELS, names=("dog", "cat"))
    refused(tmp_path, "the classes of training in 'val', got others")
    (tmp_path / "val.parquet").unlink()
    write_parquet(tmp_path / "train.parquet", [None, *CONTENTS[1:]], LABELS)
    refused(tmp_path, r"images that can be read, got '.*train.parquet, row 0' \(it is empty")
    write_parquet(tmp_path / "train.parquet", [], [], names=("a", "b"))
    refused(tmp_path, "files with rows, got none")


def test_a_broken_file(tmp_path: Path) -> None:
    trained(tmp_path)
    content = (tmp_path / "train.parquet").read_bytes()
    (tmp_path / "train.parquet").write_bytes(content[: len(content) // 2])
    refused(tmp_path, r"a sound parquet file, got '.*train.parquet'")
    (tmp_path / "train.parquet").write_bytes(content[:4] + bytes(len(content) // 2) + content[len(content) // 2 + 4 :])
    with pytest.raises(InputError):
        load(tmp_path)


def test_a_row_group_that_claims_too_much_and_no_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fpnas.data.readers.parquet.LARGEST_GROUP", 100)
    refused(trained(tmp_path), "row groups of at most")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused(tmp_path, r"pip install 'fpnas\[parquet\]'")


def test_folders_of_other_things_are_not_recognised(tmp_path: Path) -> None:
    (tmp_path / "training.parquet").write_bytes(b"")
    (tmp_path / "train").mkdir()
    assert parquet.parquet_files(tmp_path) == {}
    assert parquet.parquet_files(tmp_path / "no") == {}


@pytest.mark.parametrize(
    ("name", "size", "classes", "train", "heldout"),
    [("cifar10", 32, 10, 50_000, 10_000), ("tinyimagenet100", 64, 100, 30_000, 5_000)],
)
def test_real_data(name: str, size: int, classes: int, train: int, heldout: int) -> None:
    if not (SHARED / name).is_dir():
        pytest.skip(f"{SHARED / name} is not on this machine")
    parts = parquet.read(Request(SHARED / name))
    assert parts.heldout is not None
    assert parts.train.labels.bincount().tolist() == [train // classes] * classes
    assert parts.heldout.labels.bincount().tolist() == [heldout // classes] * classes
    data = load(SHARED / name, classes=2)  # all would take half a minute here, where types are checked
    assert (data.image_size, data.in_channels) == (size, 3)
    assert (len(data.train), len(data.heldout)) == (2 * train // classes, 2 * heldout // classes)
