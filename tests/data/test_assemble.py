"""From what readers find to an `ImageData`: the same images in whatever form, sizes, channels, chosen classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import encoded, pets, picture, refused, write_folder, write_parquet
from PIL import Image

from fpnas.data import ImageData, ImageSet, from_dataset, load
from fpnas.errors import InputError

NAMES = ("ant", "bee", "cat", "dog", "emu", "fox")
LABELS = [label for label in range(6) for _ in range(10)]  # in the order of class folders


def forms(folder: Path, with_test: bool, **shape: int) -> dict[str, Path]:
    """The same images as class folders of PNG files, as parquet and as .npz."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    arrays: dict[str, Any] = {"classes": NAMES}
    for part, step in (("train", 1), ("test", 5)) if with_test else (("train", 1),):
        pictures = [picture(seed, **shape) for seed in range(0, 60, step)]
        labels = LABELS[::step]
        contents = [encoded(pixels) for pixels in pictures]
        write_folder(folder / "folder" / part if with_test else folder / "folder", contents, labels, NAMES)
        write_parquet(folder / "parquet" / f"{part}.parquet", contents, labels, NAMES)
        arrays |= {f"{part}_images": np.stack(pictures), f"{part}_labels": labels}
    np.savez(folder / "mine.npz", **arrays)
    return {"folder": folder / "folder", "parquet": folder / "parquet", "npz": folder / "mine.npz"}


def same(first: ImageData, second: ImageData) -> bool:
    facts = ("digest", "classes", "heldout_from", "mean", "std", "fit", "class_subset", "image_size")
    return all(getattr(first, fact) == getattr(second, fact) for fact in facts) and all(
        torch.equal(getattr(getattr(first, part), what), getattr(getattr(second, part), what))
        for part in ("train", "heldout")
        for what in ("inputs", "labels")
    )


@pytest.mark.parametrize("with_test", [True, False])
@pytest.mark.parametrize(
    "options",
    [{}, {"image_size": 5}, {"image_size": 20, "fit": "stretch"}, {"classes": 3, "classes_seed": 1}],
    ids=str,
)
def test_the_same_images_in_each_form_are_the_same_data(
    tmp_path: Path, with_test: bool, options: dict[str, Any]
) -> None:
    loaded = {form: load(path, **options) for form, path in forms(tmp_path, with_test, height=8, width=11).items()}
    assert same(loaded["folder"], loaded["parquet"])
    assert same(loaded["folder"], loaded["npz"])
    assert loaded["folder"].heldout_from == ("test" if with_test else "split")
    pairs = [(Image.fromarray(picture(seed, height=8, width=11)), label) for seed, label in enumerate(LABELS)]
    held_out = pairs[::5] if with_test else None
    assert same(loaded["folder"], from_dataset(pairs, held_out, class_names=NAMES, **options))


def test_other_pixels_or_labels_have_another_digest(tmp_path: Path) -> None:
    before = load(pets(tmp_path)).digest
    assert load(tmp_path, workers=0).digest == load(tmp_path, workers=3).digest == before
    assert load(tmp_path, image_size=9).digest != before
    (tmp_path / "cat" / "00000.png").write_bytes(encoded(picture(77)))
    assert load(tmp_path).digest != before


def test_mixed_sizes_take_the_median_of_the_shorter_sides(tmp_path: Path) -> None:
    sizes = [(6, 30), (30, 7), (8, 8), (20, 9), (40, 40)]
    contents = [encoded(picture(seed, *size)) for seed, size in enumerate(sizes)] * 2
    write_folder(tmp_path / "train", contents, [0] * 5 + [1] * 5, ("a", "b"))
    write_folder(tmp_path / "val", [encoded(picture(9, 50, 60))] * 2, [0, 1], ("a", "b"))
    data = load(tmp_path)
    assert data.train.inputs.shape == (10, 3, 8, 8)
    assert data.heldout.inputs.shape == (2, 3, 8, 8)
    assert torch.equal(data.train.inputs[2], torch.from_numpy(picture(2).transpose(2, 0, 1).copy()))
    whole = ImageSet(torch.from_numpy(picture(0, 6, 30).transpose(2, 0, 1).copy())[None], torch.tensor([0]))
    for fit in ("crop", "stretch"):
        assert torch.equal(load(tmp_path, fit=fit).train.inputs[0], whole.resized(8, fit).inputs[0])
    assert load(tmp_path, image_size=12).image_size == 12


def test_large_images_become_224_pixels_unless_more_are_asked_for(tmp_path: Path) -> None:
    pets(tmp_path, 6, "JPEG", "jpg", height=300, width=250)
    assert load(tmp_path).image_size == 224
    assert load(tmp_path, image_size=250).image_size == 250


def test_grey_training_images_make_a_grey_data_set_and_one_in_colour_an_rgb_one(tmp_path: Path) -> None:
    grey = [pets(tmp_path / part, 10, channels=1) for part in ("train", "val")]
    assert load(tmp_path).in_channels == 1
    (grey[1] / "cat" / "colour.png").write_bytes(encoded(picture(5)))
    assert load(tmp_path).in_channels == 1  # held-out images don't decide
    (grey[0] / "cat" / "colour.png").write_bytes(encoded(picture(5)))
    data = load(tmp_path)
    assert data.in_channels == 3
    assert torch.equal(data.train.inputs[0, 0], data.train.inputs[0, 2])
    assert torch.equal(data.train.inputs[5], torch.from_numpy(picture(5).transpose(2, 0, 1).copy()))


def test_statistics_are_of_the_training_images_alone(tmp_path: Path) -> None:
    pets(tmp_path / "train")
    pets(tmp_path / "test", 4)
    before = load(tmp_path)
    for path in (tmp_path / "test" / "cat").iterdir():
        path.write_bytes(encoded(np.zeros((8, 8, 3), np.uint8)))
    after = load(tmp_path)
    assert (after.mean, after.std) == (before.mean, before.std)
    assert after.digest != before.digest
    assert before.mean == pytest.approx((before.train.inputs.double() / 255).mean((0, 2, 3)).tolist())


def test_random_classes_by_seed(tmp_path: Path) -> None:
    folder = forms(tmp_path, with_test=True)["folder"]
    data = load(folder, classes=2)
    assert (data.num_classes, data.class_subset) == (2, "2 classes by seed 0")
    assert list(data.classes) == sorted(data.classes)
    whole = load(folder)
    for part, other in ((data.train, whole.train), (data.heldout, whole.heldout)):
        wanted = torch.tensor([whole.classes[label] in data.classes for label in other.labels.tolist()])
        assert torch.equal(part.inputs, other.inputs[wanted])
        named = [whole.classes[label] for label in other.labels[wanted].tolist()]
        assert [data.classes[label] for label in part.labels.tolist()] == named
    assert load(folder, classes=2).classes == data.classes
    chosen = {load(folder, classes=2, classes_seed=seed).classes for seed in range(20)}
    assert len(chosen) > 5  # of 15
    assert load(folder, classes=6).classes == NAMES
    refused(folder, "2 to 6 classes, as there are, got 7", classes=7)


def test_no_held_out_image_of_the_chosen_classes(tmp_path: Path) -> None:
    contents = [encoded(picture(seed)) for seed in range(60)]
    write_folder(tmp_path / "train", contents, LABELS, NAMES)
    write_folder(tmp_path / "val", contents[:1], [0], NAMES)
    seeds = (s for s in range(99) if "ant" not in load(tmp_path / "train", classes=2, classes_seed=s).classes)
    seed = next(seeds)
    refused(tmp_path, "held-out images of the chosen classes, got none", classes=2, classes_seed=seed)


def test_settings_tell_what_a_run_must_have_in_common(tmp_path: Path) -> None:
    pets(tmp_path / "pets", 20)
    (tmp_path / "pets" / "cat" / "x.png").write_bytes(b"")
    data = load(tmp_path / "pets", classes=2, skip_corrupt=True)
    assert data.settings() == {
        "data": "pets",
        "data_digest": data.digest,
        "image_size": 8,
        "fit": "crop",
        "class_subset": "2 classes by seed 0",
        "data_classes": ["cat", "dog"],
        "data_mean": list(data.mean),
        "data_std": list(data.std),
        "data_skipped": 1,
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fit": "squeeze"}, "a known fit, got 'squeeze'"),
        ({"workers": -1}, "0 to 256 workers, got -1"),
        ({"workers": 257}, "0 to 256 workers, got 257"),
        ({"image_size": 0}, "an image size of 1 to 1024, got 0"),
        ({"image_size": 1025}, "an image size of 1 to 1024, got 1025"),
        ({"classes": 1}, "at least two classes, got 1"),
    ],
)
def test_arguments_out_of_range(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    refused(pets(tmp_path), words, **options)
    with pytest.raises(InputError, match=words):
        from_dataset([(picture(0), 0), (picture(1), 1)], **options)
