"""`load`: names and folders, sizes, and what it says of anything else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from pictures import pets, refused

from fpnas.data import load
from fpnas.errors import InputError


def test_digits() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    data = load("digits")
    assert (data.image_size, data.in_channels, data.num_classes, data.heldout_from) == (32, 1, 10, "split")
    assert len(data.train) + len(data.heldout) == 1797
    assert len(data.heldout) == 359
    assert int(data.train.inputs.max()) == 255
    share = data.heldout.labels.bincount() / (data.train.labels.bincount() + data.heldout.labels.bincount())
    assert torch.allclose(share, torch.full((10,), 0.2), atol=0.006)
    assert torch.equal(load("digits").heldout.inputs, data.heldout.inputs)
    assert not torch.equal(load("digits", seed=1).heldout.labels, data.heldout.labels)
    assert load("digits", image_size=8).train.inputs.shape == (1438, 1, 8, 8)
    some = load("digits", classes=3, classes_seed=4)
    assert len(set(some.classes) & set("0123456789")) == 3
    assert some.train.labels.unique().tolist() == some.heldout.labels.unique().tolist() == [0, 1, 2]


def test_digits_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    refused("digits", r"pip install 'fpnas\[digits\]'")


@pytest.mark.parametrize("name", ["x", "fashion_mnist", "/no/such/folder", "", "a\0b", "long" * 999])
def test_what_is_not_there(name: str) -> None:
    with pytest.raises(InputError) as error:
        load(name)
    message = str(error.value)
    assert message.startswith("expected fashion-mnist, digits, hf:NAME of the Hugging Face hub, an .npz file, a CSV of")
    assert f"got '{name}': no such name or path; " in message


def test_a_folder_with_nothing_known_and_a_file(tmp_path: Path) -> None:
    refused(tmp_path, "which holds none of these")
    (tmp_path / "file").write_bytes(b"")
    refused(tmp_path / "file", r"the file '.*'; give the folder")


def test_a_path_is_never_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused(Path("digits"), "no such name or path")
    pets(Path("digits"))
    assert load(Path("digits")).image_size == 8
    assert load("./digits").image_size == 8
