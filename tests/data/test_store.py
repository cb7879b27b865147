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
def pictures(tmp_path: Path) -> Path:
    """A folder of 20 little pictures."""
    return pets(tmp_path / "pets", 20)


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


def test_the_data_are_the_same_as_in_memory(own: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mapped = load(pictures)
    assert len(entries(own)) == 1
    assert sorted(path.name for path in (own / entries(own)[0]).iterdir()) == ["0.npy", "1.npy", "skipped.json"]
    monkeypatch.setattr(decoding, "LARGEST_IN_MEMORY", 2**30)
    shutil.rmtree(own)
    memory = load(pictures)
    assert not own.exists()
    assert mapped.digest == memory.digest
    assert (mapped.mean, mapped.std) == (memory.mean, memory.std)
    assert torch.equal(mapped.train.subset(torch.tensor([3, 1])).inputs, memory.train.inputs[[3, 1]])


def test_images_are_decoded_once(own: Path, pictures: Path, decoded: list[str]) -> None:
    first = load(pictures)
    assert len(decoded) == 20
    again = load(pictures, workers=0)
    assert len(decoded) == 20
    assert first.digest == again.digest
    load(pictures, image_size=7)
    load(pictures, fit="stretch")
    load(pictures, seed=1)
    assert len(decoded) == 80
    assert len(entries(own)) == 4


def test_a_changed_or_missing_file_makes_another_entry(own: Path, pictures: Path, decoded: list[str]) -> None:
    first = load(pictures).digest
    path = pictures / "cat" / "00000.png"
    path.write_bytes(encoded(picture(99)))
    os.utime(path, ns=(1, 1))
    assert load(pictures).digest != first
    path.unlink()
    load(pictures)
    assert len(entries(own)) == 3


def test_what_was_skipped_is_remembered(own: Path, pictures: Path, decoded: list[str]) -> None:
    (pictures / "cat" / "00004.png").write_bytes(b"")
    refused(pictures, r"00004\.png")
    assert not own.exists()
    first = load(pictures, skip_corrupt=True)
    count = len(decoded)
    again = load(pictures, skip_corrupt=True)
    assert len(decoded) == count
    assert first.skipped == again.skipped == (str(pictures / "cat" / "00004.png"),)
    assert first.digest == again.digest
    assert len(first.train) + len(first.heldout) == 19


def test_an_image_that_turns_out_broken_leaves_nothing(own: Path, pictures: Path) -> None:
    pets(pictures, 20, "JPEG", "jpg", height=64, width=64)
    path = pictures / "cat" / "00004.jpg"
    path.write_bytes(path.read_bytes()[:1500])  # the header is whole
    refused(pictures, r"00004.jpg.*truncated")
    assert entries(own) == []


@pytest.mark.parametrize("damage", ["empty", "short", "gone", "nonsense", "shapeless"])
def test_a_damaged_entry_is_made_anew(own: Path, pictures: Path, decoded: list[str], damage: str) -> None:
    digest = load(pictures).digest
    entry = own / entries(own)[0]
    if damage in ("empty", "short"):
        os.truncate(entry / "0.npy", 0 if damage == "empty" else 700)
    elif damage == "gone":
        (entry / "1.npy").unlink()
    else:
        (entry / "skipped.json").write_text("{" if damage == "nonsense" else "[3, 4]")
    assert load(pictures).digest == digest
    assert len(decoded) == 40


def test_writing_into_the_images_never_reaches_the_file(own: Path, pictures: Path) -> None:
    data = load(pictures)
    digest = data.digest
    data.train.inputs.zero_()
    assert load(pictures).digest == digest


def test_what_the_disk_cannot_hold_is_refused_before_anything_is_decoded(
    own: Path, pictures: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(pictures)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: usage._replace(free=2**10))
    refused(pictures, r"16 training images of 8 x 8 pixels.*FPNAS_DATA")
    assert decoded == []


def test_a_folder_that_cannot_be_written(own: Path, pictures: Path) -> None:
    own.parent.mkdir()
    own.write_text("a file")
    refused(pictures, "a folder that can hold decoded images")
