"""A CSV of (file, label): the same data as class folders, however a spreadsheet writes it, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pictures import encoded, pets, picture, refused

from fpnas.data import load


def rows_of(folder: Path) -> list[tuple[str, str]]:
    """(file, label) of the images in class folders, in their order."""
    return [(str(file.relative_to(folder)), file.parent.name) for file in sorted(folder.glob("*/*.png"))]


@pytest.mark.parametrize(
    "head", [None, "file,label", "Image_Path,Class", "picture id,what", "file;label", "number,image,label"]
)
def test_it_is_the_same_data_as_the_folder(tmp_path: Path, head: str | None) -> None:
    folder = pets(tmp_path / "my pets")
    separator = ";" if head and ";" in head else ","
    number = ["7"] if head and "number" in head else []
    lines = [separator.join([*number, *row]) for row in rows_of(folder)]
    text = "\r\n".join([*([head] if head else []), *lines, "", ""])
    (folder / "labels.CSV").write_text(text, encoding="utf-8-sig")
    data, same = load(folder / "labels.CSV"), load(folder)
    assert (data.name, data.classes, data.heldout_from) == ("labels", ("cat", "dog"), "split")
    assert data.digest == same.digest


def test_absolute_paths_quotes_and_a_split(tmp_path: Path) -> None:
    pets(tmp_path / "a, b")
    rows = rows_of(tmp_path / "a, b")
    parts = ["Train"] * 4 + ["VALID"] * 2
    lines = [f'"{tmp_path / "a, b" / file}",{label},{parts[at % 6]}' for at, (file, label) in enumerate(rows)]
    (tmp_path / "x.csv").write_text("\n".join(lines))
    data = load(tmp_path / "x.csv")
    assert (data.heldout_from, data.train.labels.tolist()) == ("val", [0] * 4 + [1] * 4)
    assert data.heldout.labels.tolist() == [0, 0, 1, 1]
    assert torch.equal(data.heldout.inputs[0], torch.from_numpy(picture(8).transpose(2, 0, 1).copy()))


def test_classes_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for seed in range(6):
        (tmp_path / f"{seed}.png").write_bytes(encoded(picture(seed)))
    (tmp_path / "x.csv").write_text("".join(f"{seed}.png,{(10, 9, 100)[seed % 3]}\n" for seed in range(6)))
    assert load(tmp_path / "x.csv").classes == ("9", "10", "100")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "rows of file, label, split, got none in"),
        ("file,label\n", "rows of file, label, split, got none in"),
        ("cat/00000.png\n", "columns file, label, split, got 'cat/00000.png'"),
        ("a,b,c,d\n1,2,3,4\n", "columns file, label, split, got 'a, b, c, d' in"),
        ("cat/00000.png,cat\ndog/00001.png\n", "file, label in each row, got 'dog/00001.png' in line 2 of"),
        ("cat/00000.png,cat\ndog/00001.png,\n", "file, label in each row, got 'dog/00001.png,' in line 2 of"),
        ("cat/00000.png,cat\na,b.png,dog\n", "got 'a,b.png,dog' in line 2 of .*; mend the row, put quotes"),
        ("cat/00000.png,cat\ncat/../cat/00000.png,dog\n", "each file once, got .* in lines 1 and 2 of"),
        ("cat/00000.png,cat,train\ndog/00001.png,dog,tset\n", "train, val or test as split, got 'tset' in line 2"),
        ("cat/00000.png,cat,train\ndog/00001.png,dog,test\n", "classes that training has, got 'dog' in line 2"),
        ("cat/00000.png,cat,test\ndog/00001.png,dog,test\n", "training images, got 'x' with test alone"),
        ("cat/00000.png,cat\ndog/9.png,dog\ncat/00002.png,cat\ndog/00003.png,dog\n", "dog/9.png' .No such file"),
        ('cat/00000.png,"cat\n', "a CSV file of file, label, split, in UTF-8, got"),
        ("cat/00000.png,c\xe9t\n", "a CSV file of file, label, split, in UTF-8, got"),
        ("cat/00000.png,cat\ncat/00002.png,cat\n", "training images of at least two classes"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, words: str) -> None:
    pets(tmp_path)
    (tmp_path / "x.csv").write_bytes(text.encode("latin-1"))
    refused(tmp_path / "x.csv", words)
