"""The warning of held-out images that training has too: it finds copies, and is silent about ordinary photographs."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import encoded, picture, write_folder
from PIL import Image

from fpnas.data import load
from fpnas.data.duplicates import SMALLEST, nearly_equal

TRASHNET = Path(__file__).parents[3] / "shared" / "data" / "trashnet"


def scene(seed: int) -> Image.Image:
    """Something like a photograph: a few soft patches, 96 x 80 pixels."""
    return Image.fromarray(picture(seed, 5, 6)).resize((96, 80), Image.Resampling.BICUBIC)


def folder(place: Path, part: str, contents: list[bytes]) -> None:
    write_folder(place / part, contents, [number % 2 for number in range(len(contents))], ("cat", "dog"), "jpg")


def test_copies_that_were_saved_again_are_found_and_two_are_named(tmp_path: Path) -> None:
    folder(tmp_path, "train", [encoded(scene(seed), "JPEG", quality=95) for seed in range(12)])
    again = [encoded(scene(seed).resize((84, 70)), "JPEG", quality=70) for seed in (3, 4, 5, 6)]
    folder(tmp_path, "test", [*again, *(encoded(scene(seed), "JPEG") for seed in (50, 51, 52, 53))])
    with pytest.warns(UserWarning, match="nearly equal") as heard:
        load(tmp_path, image_size=64)
    (message,) = (str(each.message) for each in heard)
    assert message.startswith("4 of 8 held-out images are nearly equal to training images, so the accuracy on them")
    test, train = tmp_path / "test", tmp_path / "train"
    assert f"'{test / 'cat' / '00000.jpg'}' to '{train / 'dog' / '00003.jpg'}', '" in message
    assert message.endswith("; remove them from one of the parts")
    assert message.count(".jpg") == 4


def test_where_fpnas_cut_the_images_it_points_to_split_by(tmp_path: Path) -> None:
    contents = [encoded(scene(seed // 2), "JPEG", quality=70 + 20 * (seed % 2)) for seed in range(40)]
    write_folder(tmp_path / "photos", contents, [seed // 20 for seed in range(40)], ("cat", "dog"), "jpg")
    with pytest.warns(UserWarning, match=r"nearly equal .*; give --split-by FILE \(split_by=\) that puts such images"):
        load(tmp_path / "photos")
    files = sorted((tmp_path / "photos").glob("*/*"))
    for size, words in ((2, None), (3, "; put such images into one group")):
        rows = [f"{file.relative_to(tmp_path)},{at // size}" for at, file in enumerate(files)]
        (tmp_path / "groups.csv").write_text("\n".join(rows))
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            load(tmp_path / "photos", split_by=tmp_path / "groups.csv")
        assert [str(each.message).endswith(words or "") for each in heard] == ([] if words is None else [True])


def test_pictures_on_a_sparse_background_are_not_taken_for_equal() -> None:
    train = torch.full((6, 3, 40, 40), 255, dtype=torch.uint8)
    heldout = train.clone()
    for number in range(6):
        train[number, :, 10:20, 4 + 4 * number : 8 + 4 * number] = 0
        heldout[number, :, 20:30, 4 + 4 * number : 8 + 4 * number] = 0
    assert [len(found) for found in nearly_equal(train, heldout)] == [0, 0]
    heldout[4] = train[2]
    assert [found.tolist() for found in nearly_equal(train, heldout)] == [[2], [4]]
    shades = torch.stack([torch.full((3, 40, 40), 30 * n, dtype=torch.uint8) for n in range(6)])  # one hash for all
    assert [found.tolist() for found in nearly_equal(shades[1:], shades[[5, 0]] + 2)] == [[4], [0]]


def test_against_the_distances_of_all_pairs() -> None:
    draws = np.random.default_rng(0)
    scenes = np.stack([np.asarray(scene(seed).resize((48, 48))) for seed in range(60)])
    noisy = (scenes[20:50] + draws.normal(0, 3, (30, 48, 48, 3))).clip(0, 255).astype(np.uint8)
    train, heldout = (torch.from_numpy(each).permute(0, 3, 1, 2).contiguous() for each in (scenes[:40], noisy))
    found = set(zip(*(each.tolist() for each in nearly_equal(train, heldout)), strict=True))
    rms = (train[None].double() - heldout[:, None].double()).square().mean((2, 3, 4)).sqrt()
    near = {(int(t), int(h)) for h, t in (rms <= 12).nonzero()}
    assert near == {(20 + number, number) for number in range(20)}
    assert found <= near
    assert len(found) >= 15


def test_small_images_are_not_compared() -> None:
    same = torch.zeros(4, 1, SMALLEST - 1, SMALLEST - 1, dtype=torch.uint8)
    assert [len(found) for found in nearly_equal(same, same)] == [0, 0]


@pytest.mark.skipif(not TRASHNET.is_dir(), reason="shared/data/trashnet is not here")
def test_no_warning_on_ordinary_photographs() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(TRASHNET, image_size=64)
