"""Images of one group are on one side of every split: of held-out images, of a search's halves, of short trainings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import encoded, pets, picture, refused, write_folder

from fpnas import spaces
from fpnas.data import ImageSet, LabelledSet, halves, load, stratified_split
from fpnas.errors import InputError
from fpnas.evaluators import ProxyEvaluator, SupernetEvaluator

grouped = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 12)), min_size=2, max_size=60).map(torch.tensor)


@settings(deadline=None, max_examples=60)
@given(pairs=grouped, fraction=st.sampled_from([0.2, 0.5]), seed=st.integers(0, 99))
def test_no_group_is_on_both_sides_and_every_class_is_in_training(
    pairs: torch.Tensor, fraction: float, seed: int
) -> None:
    labels, groups = pairs.T
    try:
        kept, held = stratified_split(labels, fraction, seed, groups)
    except InputError:
        # Only where each group is all that there is of some class.
        alone = {int(groups[labels == label][0]) for label in labels if len(groups[labels == label].unique()) == 1}
        assert alone == set(groups.tolist())
        return
    assert torch.equal(torch.cat([kept, held]).sort().values, torch.arange(len(labels)))
    assert not set(groups[kept].tolist()) & set(groups[held].tolist())
    assert set(labels[kept].tolist()) == set(labels.tolist())
    assert len(held)
    assert torch.equal(held, stratified_split(labels, fraction, seed, groups)[1])


@pytest.mark.parametrize("folds", [2, 5])
def test_shares_of_classes_are_as_even_as_those_of_scikit_learn(folds: int) -> None:
    model_selection = pytest.importorskip("sklearn.model_selection", reason="scikit-learn is not installed")
    ours, theirs = list[float](), list[float]()
    for seed in range(8):
        draws = np.random.default_rng(seed)
        groups = draws.integers(0, 80, 600)
        labels = np.where(draws.random(600) < 0.2, draws.integers(0, 5, 600), draws.integers(0, 5, 80)[groups])

        def unevenness(held: np.ndarray, labels: np.ndarray = labels) -> float:
            shares = np.bincount(labels[held], minlength=5) / np.bincount(labels)
            return float(np.sqrt(np.mean((shares - 1 / folds) ** 2)))

        held = stratified_split(torch.tensor(labels), 1 / folds, seed, torch.tensor(groups))[1]
        other = model_selection.StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        ours.append(unevenness(held.numpy()))
        theirs.append(unevenness(next(other.split(labels, labels, groups))[1]))
    assert np.mean(ours) < 1.3 * np.mean(theirs)


def test_halves_keep_groups_together_and_random_seeds_differ() -> None:
    groups = torch.arange(400) // 5
    train = ImageSet(torch.zeros(400, 1, 1, 1, dtype=torch.uint8), torch.arange(400) % 4, groups)
    cuts = [halves(train, seed)[0] for seed in (0, 1)]
    assert not torch.equal(cuts[0], cuts[1])
    for cut in cuts:
        assert (groups[cut].bincount(minlength=80) % 5 == 0).all()
        assert len(cut) == 200
    assert torch.equal(train.subset(torch.tensor([7, 399])).groups, torch.tensor([1, 79]))
    assert torch.equal(train.resized(2).groups, groups)


def test_groups_that_are_no_numbers_or_too_few() -> None:
    with pytest.raises(InputError, match=r"groups as int64 of shape \(3,\), got torch.int64 of shape \(2,\)"):
        ImageSet(torch.zeros(3, 1, 1, 1, dtype=torch.uint8), torch.arange(3), torch.arange(2))
    with pytest.raises(InputError, match="two groups or more of a class, to split by, got 1 group of 2 classes"):
        stratified_split(torch.arange(8) % 2, 0.2, 0, torch.zeros(8).long())


OBJECTS = 10


def objects(folder: Path) -> Path:
    """Two classes, each of 10 objects of 3 photographs: an image's first pixel is its object's number."""
    pixels = [picture(seed, 16, 16) for seed in range(60)]
    for number, each in enumerate(pixels):
        each[0, 0] = number // 3
    write_folder(folder, [encoded(each) for each in pixels], [n // 30 for n in range(60)], ("cat", "dog"))
    files = sorted(folder.glob("*/*.png"))
    rows = [f"{file.relative_to(folder)},object {at // 3}" for at, file in enumerate(files)]
    (folder.parent / "objects.csv").write_text("\n".join(["image,group", *rows, "gone.jpg,object 99"]))
    return folder


def numbers(images: LabelledSet) -> set[int]:
    return set(images.inputs[:, 0, 0, 0].tolist())


def test_no_split_of_a_folder_cuts_an_object(tmp_path: Path) -> None:
    folder = objects(tmp_path / "photos")
    data = load(folder, split_by=tmp_path / "objects.csv")
    assert numbers(data.train) | numbers(data.heldout) == set(range(20))
    assert not numbers(data.train) & numbers(data.heldout)
    assert len(data.heldout) == 12
    assert numbers(load(folder).train) & numbers(load(folder).heldout), "without groups objects are cut"
    net = spaces.tiny(num_classes=2)
    short = ProxyEvaluator(net, data, steps=1)
    shared = SupernetEvaluator(net, data)
    for first, second in ((short._train, short._val), (shared._train, shared._val)):
        assert not numbers(data.train.subset(first)) & numbers(data.train.subset(second))
        assert len(first) + len(second) == 48
    assert short.settings()["split_by"] == shared.settings()["split_by"] == data.settings()["split_by"]
    assert data.settings()["split_by"].startswith("20 groups, ")
    assert "split_by" not in load(folder).settings()


def test_forms_of_paths_and_data_with_parts_of_their_own(tmp_path: Path) -> None:
    folder = objects(tmp_path / "photos")
    rows = (tmp_path / "objects.csv").read_text().splitlines()[1:]
    beside = "\n".join(f"photos/{row}" for row in rows)  # relative to the CSV
    absolute = "\n".join(f"{folder}/{row}" for row in rows)
    first = load(folder, split_by=tmp_path / "objects.csv").settings()
    for text in (beside, absolute):
        (tmp_path / "other.csv").write_text(text)
        assert load(folder, split_by=tmp_path / "other.csv").settings() == first
    listed = "\n".join(f"{row.split(',')[0]},{row.split('/')[0]}" for row in rows[:-1])
    (folder / "labels.csv").write_text(listed)
    assert load(folder / "labels.csv", split_by=tmp_path / "objects.csv").digest == first["data_digest"]
    parts = tmp_path / "parts"
    for part in ("train", "test"):
        objects(parts / part)
    every = [f"{file.relative_to(parts)}," for file in sorted(parts.glob("*/*/*.png"))]
    (tmp_path / "groups.csv").write_text("\n".join(f"{file}{at // 3}" for at, file in enumerate(every)))
    assert len(load(parts, split_by=tmp_path / "groups.csv").heldout) == 60
    (tmp_path / "groups.csv").write_text("\n".join(f"{file}{at % 60 // 3}" for at, file in enumerate(every)))
    told = "groups that are on one side .*, got 20 in training and in .test., such as .0.; move"
    refused(parts, told, split_by=tmp_path / "groups.csv")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, r"a CSV file of image, group, in UTF-8, got '.*g.csv' \(.*No such file"),
        ("cat/00000.png,1\n", "a group for each image, got none for 11 in '.*g.csv', such as 'cat/00002.png'; add"),
        ("cat/00000.png,1\ncat/00000.png,2\n", "one group for each image, got '1' and '2' for 'cat/00000.png' in"),
        ("cat/00000.png\n", "columns image, group, got 'cat/00000.png' in"),
        ("cat/00000.png,\n", "image, group in each row, got 'cat/00000.png,' in line 1"),
        ("*", "two groups or more of a class, to split by, got 1 group of 2 classes; give more groups"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    folder = pets(tmp_path / "pets")
    if text == "*":
        text = "".join(f"{file},1\n" for file in folder.glob("*/*"))
    if text is not None:
        (tmp_path / "g.csv").write_text(text)
    refused(folder, words, split_by=tmp_path / "g.csv")


def test_images_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text("a.png,1\n")
    refused("digits", "class folders or a CSV, for --split-by, got 'digits'", split_by=tmp_path / "g.csv")
