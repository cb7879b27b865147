"""Folders of class folders: which images are taken in which order, and what is refused."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest
import torch
from pictures import encoded, pets, picture, refused, stacked, write_folder

from fpnas.data import load
from fpnas.data.readers import class_folder
from fpnas.data.request import Request


def test_classes_and_images_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    pets(tmp_path / "pets" / "train")
    pets(tmp_path / "pets" / "val", 4)
    data = load(tmp_path / "pets")
    assert (data.name, data.classes, data.heldout_from, data.skipped) == ("pets", ("cat", "dog"), "val", ())
    assert torch.equal(data.train.inputs, stacked([0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11]))
    assert data.train.labels.tolist() == [0] * 6 + [1] * 6
    assert torch.equal(data.heldout.inputs, stacked([0, 2, 1, 3]))
    pets(tmp_path / "pets" / "test", 6)
    assert (load(tmp_path / "pets").heldout_from, len(load(tmp_path / "pets").heldout)) == ("test", 6)


def test_without_parts_a_fifth_of_each_class_is_split_off(tmp_path: Path) -> None:
    data = load(pets(tmp_path, 20))
    assert (data.heldout_from, len(data.train), data.heldout.labels.tolist()) == ("split", 16, [0, 0, 1, 1])
    both = torch.cat([data.train.inputs, data.heldout.inputs])
    assert {image.numpy().tobytes() for image in both} == {image.numpy().tobytes() for image in stacked([*range(20)])}


@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", "JPG"), ("JPEG", "jpeg"), ("WEBP", "webp")])
def test_what_is_no_image_is_passed_over_and_folders_within_a_class_are_not(
    tmp_path: Path, kind: str, suffix: str
) -> None:
    pets(tmp_path, 12, kind, suffix)
    for name in ("README.txt", "cat/Thumbs.db", "cat/._00000.png", ".hidden/x.png", "cat/deep/er/x.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(encoded(picture(99)))
    (tmp_path / "cat" / "again").symlink_to(tmp_path, target_is_directory=True)  # circles aren't followed
    data = load(tmp_path)
    assert (len(data.train) + len(data.heldout), data.image_size, data.in_channels) == (13, 8, 3)
    assert data.classes == ("cat", "dog")


def test_the_list_of_many_images_takes_little_more_than_their_names(tmp_path: Path) -> None:
    for number in range(1000):
        path = tmp_path / "ab"[number % 2] / f"{number:04}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    tracemalloc.start()
    parts = class_folder.read(Request(tmp_path))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 1000 * (len(str(path)) + 100), len(parts.train.labels)


def test_names_with_spaces_accents_and_of_other_scripts(tmp_path: Path) -> None:
    place = tmp_path / "Meine Bilder ö"
    contents = [encoded(picture(seed)) for seed in range(12)]
    write_folder(place / "train", contents, [seed % 2 for seed in range(12)], ("犬 い", "caf\u00e9"))
    write_folder(place / "test", contents[:2], [0, 1], ("犬 い", "cafe\u0301"))  # as macOS writes the accent
    (place / "test" / "犬 い" / "Ж 1.PNG").write_bytes(contents[0])
    data = load(place)
    assert (data.name, data.classes, len(data.heldout)) == ("Meine Bilder ö", ("caf\u00e9", "犬 い"), 3)
    os.mkdir(os.fsencode(place / "train") + b"/caf\xe9")
    refused(place, r"class folders with names in UTF-8, got 'caf\\udce9' in")


@pytest.mark.parametrize("names", [("Train", "TEST"), ("TRAIN", "Validation"), ("train", "Valid"), ("Train", "Val")])
def test_parts_in_any_case(tmp_path: Path, names: tuple[str, str]) -> None:
    pets(tmp_path / names[0])
    pets(tmp_path / names[1], 4)
    data = load(tmp_path)
    assert (len(data.train), len(data.heldout), data.classes) == (12, 4, ("cat", "dog"))
    assert data.heldout_from == ("test" if names[1] == "TEST" else "val")


def test_two_folders_of_one_part(tmp_path: Path) -> None:
    for name in ("train", "valid", "Val"):
        pets(tmp_path / name)
    refused(tmp_path, "one folder of val images, got 'Val' and 'valid' in")


def test_links_are_followed_but_never_in_a_circle(tmp_path: Path) -> None:
    elsewhere = pets(tmp_path / "elsewhere")
    place = pets(tmp_path / "pets", 4)
    (place / "fox").symlink_to(elsewhere / "cat", target_is_directory=True)  # a class
    (place / "dog" / "more").symlink_to(elsewhere / "dog", target_is_directory=True)
    (place / "dog" / "one.png").symlink_to(elsewhere / "cat" / "00000.png")
    assert [len(files) for files in _by_class(place)] == [2, 2 + 6 + 1, 6]
    (elsewhere / "dog" / "back").symlink_to(place, target_is_directory=True)
    (elsewhere / "dog" / "again").symlink_to(elsewhere / "dog", target_is_directory=True)
    (place / "cat" / "self").symlink_to(place / "cat" / "self", target_is_directory=True)
    assert [len(files) for files in _by_class(place)] == [2, 2 + 6 + 1, 6]
    (place / "dog" / "gone.jpg").symlink_to(elsewhere / "nothing.jpg")
    refused(place, "got '.*/dog/gone.jpg' \\(No such file or directory\\)")
    assert load(place, skip_corrupt=True).skipped == (str(place / "dog" / "gone.jpg"),)


def _by_class(place: Path) -> list[list[int]]:
    data = load(place)
    labels = torch.cat([data.train.labels, data.heldout.labels]).tolist()
    return [[label for label in labels if label == number] for number in range(data.num_classes)]


def test_a_class_may_be_called_like_a_part(tmp_path: Path) -> None:
    pets(tmp_path)
    (tmp_path / "cat").rename(tmp_path / "train")
    assert load(tmp_path).classes == ("dog", "train")


@pytest.mark.parametrize(
    ("images", "folders", "words"),
    [
        ([], [], "which holds none of these"),
        ([], ["cat"], "which holds none of these"),
        (["1.png"], [], "a folder for each class, with images in it, got images without one"),
        (["cat/1.png", "dog/1.png"], ["emu"], r"images in every class folder, got none in '.*/emu'"),
        (["cat/1.png"], [], "training images of at least two classes, got 'cat' alone"),
        (["val/cat/1.png", "val/dog/1.png"], [], "training images, got '.*' with val alone; add 'train'"),
    ],
)
def test_folders_that_lack_something(tmp_path: Path, images: list[str], folders: list[str], words: str) -> None:
    for name in (*folders, *(str(Path(image).parent) for image in images)):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    for image in images:
        (tmp_path / image).write_bytes(encoded(picture(0)))
    refused(tmp_path, words)


def test_a_class_in_val_that_training_lacks(tmp_path: Path) -> None:
    pets(tmp_path / "train")
    pets(tmp_path / "val", 4)
    (tmp_path / "val" / "fox").mkdir()
    (tmp_path / "val" / "dog").rename(tmp_path / "dog")
    assert load(tmp_path).heldout.labels.tolist() == [0, 0]  # it may lack one, and an empty folder says nothing
    (tmp_path / "val" / "fox" / "1.png").write_bytes(encoded(picture(0)))
    told = r"classes that training has, got 'fox' in '.*/val'; add training images"
    refused(tmp_path, told)
    pets(tmp_path / "test", 4)  # by which is judged then: a class of val alone would be an output that nothing trains
    refused(tmp_path, told)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("broken.png", encoded(picture(0))[:50]),
        ("photo.bmp", encoded(picture(0), "BMP")),
        ("photo.gif", encoded(picture(0), "GIF")),
        ("truncated.jpg", encoded(picture(0, 64, 64), "JPEG")[:1500]),  # its header is whole
    ],
)
def test_an_image_that_cannot_be_read_is_named_and_skipped_only_if_asked_for(
    tmp_path: Path, name: str, content: bytes
) -> None:
    pets(tmp_path)
    (tmp_path / "cat" / name).write_bytes(content)
    refused(tmp_path, f"images that can be read, got '{tmp_path}/cat/{name}' .*--skip-corrupt")
    for workers in (0, 2):
        data = load(tmp_path, skip_corrupt=True, workers=workers)
        assert data.skipped == (str(tmp_path / "cat" / name),)
        assert len(data.train) + len(data.heldout) == 12


def test_where_all_of_a_class_or_everything_is_broken(tmp_path: Path) -> None:
    pets(tmp_path / "train")
    pets(tmp_path / "val")
    for path in (tmp_path / "train" / "cat").iterdir():
        path.write_bytes(b"")
    refused(tmp_path, "training images of every class that is held out, got none of 'cat'", skip_corrupt=True)
    for path in (tmp_path / "train" / "dog").iterdir():
        path.write_bytes(b"")
    refused(tmp_path, "training images that can be read, got none", skip_corrupt=True)
