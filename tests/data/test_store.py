"""Decoded images in files: the same data as in memory, made once, whole or not at all, anew where something changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pictures import encoded, pets, picture, refused

from fpnas.data import decoding, load, store


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Memory for next to nothing, and the folder where decoded images then go."""
    monkeypatch.setenv("FPNAS_DATA", str(tmp_path / "own"))
    monkeypatch.setattr(decoding, "LARGEST_IN_MEMORY", 100)
    return tmp_path / "own" / "decoded"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What has been decoded."""
    seen: list[str] = []
    whole = decoding.decode

    def counted(content: Any, *rest: Any) -> Any:
        seen.append(str(content)[-9:])
        return whole(content, *rest)

    monkeypatch.setattr(decoding, "decode", counted)
    return seen


def entries(own: Path) -> list[str]:
    return sorted(path.name for path in own.iterdir() if path.suffix != ".lock")


def test_the_data_are_the_same_as_in_memory(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pets(tmp_path / "pets", 20)
    mapped = load(tmp_path / "pets")
    assert len(entries(own)) == 1
    assert sorted(path.name for path in (own / entries(own)[0]).iterdir()) == ["0.npy", "1.npy", "skipped.json"]
    monkeypatch.setattr(decoding, "LARGEST_IN_MEMORY", 2**30)
    shutil.rmtree(own)
    memory = load(tmp_path / "pets")
    assert not own.exists()
    assert mapped.digest == memory.digest
    assert (mapped.mean, mapped.std) == (memory.mean, memory.std)
    assert torch.equal(mapped.train.subset(torch.tensor([3, 1])).images, memory.train.images[[3, 1]])


def test_images_are_decoded_once(own: Path, tmp_path: Path, decoded: list[str]) -> None:
    pets(tmp_path / "pets", 20)
    first = load(tmp_path / "pets")
    assert len(decoded) == 20
    again = load(tmp_path / "pets", workers=0)
    assert len(decoded) == 20
    assert first.digest == again.digest
    load(tmp_path / "pets", image_size=7)
    load(tmp_path / "pets", fit="stretch")
    load(tmp_path / "pets", seed=1)
    assert len(decoded) == 80
    assert len(entries(own)) == 4


def test_a_changed_or_missing_file_makes_another_entry(own: Path, tmp_path: Path, decoded: list[str]) -> None:
    pets(tmp_path / "pets", 20)
    first = load(tmp_path / "pets").digest
    path = tmp_path / "pets" / "cat" / "00000.png"
    path.write_bytes(encoded(picture(99)))
    os.utime(path, ns=(1, 1))
    assert load(tmp_path / "pets").digest != first
    path.unlink()
    load(tmp_path / "pets")
    assert len(entries(own)) == 3


def test_what_was_skipped_is_remembered(own: Path, tmp_path: Path, decoded: list[str]) -> None:
    pets(tmp_path / "pets", 20)
    (tmp_path / "pets" / "cat" / "00004.png").write_bytes(b"")
    refused(tmp_path / "pets", r"00004\.png")
    assert not own.exists()
    first = load(tmp_path / "pets", skip_corrupt=True)
    count = len(decoded)
    again = load(tmp_path / "pets", skip_corrupt=True)
    assert len(decoded) == count
    assert first.skipped == again.skipped == (str(tmp_path / "pets" / "cat" / "00004.png"),)
    assert first.digest == again.digest
    assert len(first.train) + len(first.heldout) == 19


def test_an_image_that_turns_out_broken_leaves_nothing(own: Path, tmp_path: Path) -> None:
    pets(tmp_path / "pets", 20, "JPEG", "jpg", height=64, width=64)
    path = tmp_path / "pets" / "cat" / "00004.jpg"
    path.write_bytes(path.read_bytes()[:1500])  # the header is whole
    refused(tmp_path / "pets", r"00004.jpg.*truncated")
    assert entries(own) == []


@pytest.mark.parametrize("damage", ["empty", "short", "gone", "nonsense", "shapeless"])
def test_a_damaged_entry_is_made_anew(own: Path, tmp_path: Path, decoded: list[str], damage: str) -> None:
    pets(tmp_path / "pets", 20)
    digest = load(tmp_path / "pets").digest
    entry = own / entries(own)[0]
    if damage in ("empty", "short"):
        os.truncate(entry / "0.npy", 0 if damage == "empty" else 700)
    elif damage == "gone":
        (entry / "1.npy").unlink()
    else:
        (entry / "skipped.json").write_text("{" if damage == "nonsense" else "[3, 4]")
    assert load(tmp_path / "pets").digest == digest
    assert len(decoded) == 40


def test_writing_into_the_images_never_reaches_the_file(own: Path, tmp_path: Path) -> None:
    pets(tmp_path / "pets", 20)
    data = load(tmp_path / "pets")
    digest = data.digest
    data.train.images.zero_()
    assert load(tmp_path / "pets").digest == digest


def test_what_the_disk_cannot_hold_is_refused_before_anything_is_decoded(
    own: Path, tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pets(tmp_path / "pets", 20)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: usage._replace(free=2**10))
    refused(tmp_path / "pets", r"16 training images of 8 x 8 pixels.*FPNAS_DATA")
    assert decoded == []


def test_a_folder_that_cannot_be_written(own: Path, tmp_path: Path) -> None:
    pets(tmp_path / "pets", 20)
    own.parent.mkdir()
    own.write_text("a file")
    refused(tmp_path / "pets", "a folder that can hold decoded images")
