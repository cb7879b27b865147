"""Tar files as WebDataset has them: the same data as in class folders; truncated ones are named."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from pictures import encoded, picture, refused, write_folder

from fpnas.data import Batches, load
from fpnas.data.readers import tar_shards
from fpnas.data.store import folder as cache

CONTENTS = [encoded(picture(seed)) for seed in range(24)]
LABELS = [seed % 2 for seed in range(24)]


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own."""
    monkeypatch.setenv("FPNAS_DATA", str(tmp_path / "own"))


def write_tar(
    file: Path, contents: Sequence[bytes], labels: Sequence[str], start: int = 0, ending: str = "png"
) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as tar:
        for number, (content, label) in enumerate(zip(contents, labels, strict=True), start):
            for name, data in ((f"a/{number:04}.cls", label.encode()), (f"a/{number:04}.png", content)):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def shards(folder: Path, names: Sequence[str] = ("0", "1")) -> Path:
    labels = [names[label] for label in LABELS]
    write_tar(folder / "train-000000.tar", CONTENTS[:10], labels[:10])
    write_tar(folder / "train-000001.tar", CONTENTS[10:], labels[10:], start=10)
    write_tar(folder / "val-000000.tar", CONTENTS[:6], labels[:6])
    return folder


@pytest.mark.parametrize("stream", [True, False])
def test_the_data_are_those_of_class_folders(tmp_path: Path, stream: bool) -> None:
    """Class folders are sorted by class, tar files are in their own order."""
    ordered = sorted(range(24), key=lambda number: LABELS[number])
    for part, numbers in (("train", ordered), ("val", range(6))):
        write_folder(tmp_path / "folder" / part, [CONTENTS[n] for n in numbers], [LABELS[n] for n in numbers], "01")
    folder = load(tmp_path / "folder")
    data = load(shards(tmp_path / "shards"), stream=stream, workers=1)
    assert (data.classes, data.heldout_from, data.name) == (("0", "1"), "val", "shards")
    assert torch.equal(data.train.subset(torch.tensor(ordered)).inputs, folder.train.inputs)
    assert data.train.labels.tolist() == LABELS
    assert (data.mean, data.std) == (folder.mean, folder.std)
    images, _ = Batches(data.train, "cpu").steps(lambda step: torch.tensor([13, 2]))(0)
    assert torch.equal(images, data.train.subset(torch.tensor([13, 2])).inputs)


def test_classes_may_have_names_and_parts_folders(tmp_path: Path) -> None:
    names = [("dog", "cat")[label] for label in LABELS]
    write_tar(tmp_path / "train" / "0.tar", CONTENTS, names)
    write_tar(tmp_path / "test" / "0.tar", CONTENTS[:4], names[:4])
    data = load(tmp_path)
    assert (data.classes, data.heldout_from) == (("cat", "dog"), "test")
    assert data.train.labels.tolist() == [1 - label for label in LABELS]


def test_a_tar_file_is_gone_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(shards(tmp_path / "shards"), stream=True, workers=0)
    monkeypatch.setattr(tar_shards, "_members", None)
    assert load(tmp_path / "shards", stream=True, workers=0).digest == first.digest
    monkeypatch.undo()
    write_tar(tmp_path / "shards" / "train-000001.tar", CONTENTS[11:], [str(label) for label in LABELS[11:]])
    monkeypatch.setenv("FPNAS_DATA", str(tmp_path / "own"))
    assert len(load(tmp_path / "shards", stream=True, workers=0).train) == 23


def test_truncated_shards_are_named(tmp_path: Path) -> None:
    file = shards(tmp_path / "shards") / "train-000001.tar"
    content = file.read_bytes()
    for size in (1024 + 100, 2048 + 700):
        file.write_bytes(content[:size])
        refused(tmp_path / "shards", r"sound, uncompressed tar file, got '.*train-000001\.tar'")
    assert not any(path.is_dir() for path in cache().iterdir()), "nothing is kept of it"
    file.write_bytes(content)
    data = load(tmp_path / "shards", stream=True, workers=0)
    file.write_bytes(content[:9000])  # after it was opened
    refused_step = Batches(data.train, "cpu").steps(lambda step: torch.arange(20, 24))
    with pytest.raises(Exception, match=r"train-000001\.tar, a/00\d\d\.png.*skip-corrupt"):
        refused_step(0)


def test_what_is_no_tar_file_of_this_kind(tmp_path: Path) -> None:
    (tmp_path / "train-0.tar").write_bytes(b"no tar file" * 100)
    refused(tmp_path, r"sound, uncompressed tar file, got '.*train-0\.tar'")
    with tarfile.open(tmp_path / "train-0.tar", "w") as tar:
        member = tarfile.TarInfo("1.png")
        member.size = len(CONTENTS[0])
        tar.addfile(member, io.BytesIO(CONTENTS[0]))
    refused(tmp_path, r"a \.cls file beside each image, got '1\.png' without one")
    with tarfile.open(tmp_path / "train-0.tar", "w"):
        pass
    refused(tmp_path, r"images with \.cls files beside them, got none")
