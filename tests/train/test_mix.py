"""Mixup and CutMix against the pixels themselves: what share of each image is whose, and that targets say so."""

from __future__ import annotations

import torch
from torch import Tensor

from fpnas.streams import generator
from fpnas.train.mix import mixed

COUNT, CLASSES = 12, 5


def constant_images(size: int = 20) -> tuple[Tensor, Tensor]:
    """Image i is i + 1 in every pixel, so a pixel tells where it came from."""
    values = torch.arange(1.0, COUNT + 1)
    return values[:, None, None, None].expand(COUNT, 1, size, size).contiguous(), torch.arange(COUNT) % CLASSES


def mixes(number: int, **alphas: float) -> list[tuple[Tensor, Tensor]]:
    images, labels = constant_images()
    settings = {"mixup": 0.0, "cutmix": 0.0, **alphas}
    return [mixed(images, labels, CLASSES, **settings, stream=generator(0, step)) for step in range(number)]


def target_of(own: int, partner: int, lam: float) -> list[float]:
    target = [0.0] * CLASSES
    target[own] += lam
    target[partner] += 1 - lam
    return target


def test_mixup_is_a_weighted_sum_of_two_images_and_of_their_labels() -> None:
    """Image i has a 1 in pixel i and 0 elsewhere, so a mix tells whose it is, and by how much."""
    images, labels = torch.eye(COUNT)[:, None, None, :], torch.arange(COUNT) % CLASSES
    lams = []
    for step in range(60):
        found, targets = mixed(images, labels, CLASSES, mixup=0.5, cutmix=0.0, stream=generator(0, step))
        rows = found[:, 0, 0]
        torch.testing.assert_close(rows.sum(dim=1), torch.ones(COUNT))
        torch.testing.assert_close(rows.sum(dim=0), torch.ones(COUNT))  # partners are a permutation
        others = rows.clone().fill_diagonal_(0)
        lam = next(rows[i, i].item() for i in range(COUNT) if others[i].any())
        for number, row in enumerate(others):
            partner = int(row.argmax()) if row.any() else number
            expected = target_of(int(labels[number]), int(labels[partner]), lam)
            torch.testing.assert_close(targets[number], torch.tensor(expected))
            assert (row > 0).sum() <= 1
        lams.append(lam)
    assert 0.4 < sum(lams) / len(lams) < 0.6
    assert min(lams) < 0.1 < 0.9 < max(lams), "Beta(1/2, 1/2) is widest at its ends"


def test_cutmix_pastes_one_box_and_targets_are_the_shares_of_pixels() -> None:
    images, labels = constant_images()
    shares = []
    for found, targets in mixes(60, cutmix=1.0):
        boxes = set()
        for number in range(COUNT):
            pixels = found[number, 0]
            own = pixels == number + 1
            strange = pixels[~own].unique()
            assert len(strange) <= 1
            lam = own.double().mean().item()
            partner = int(strange[0]) - 1 if len(strange) else number
            hand = target_of(int(labels[number]), int(labels[partner]), lam)
            torch.testing.assert_close(targets[number], torch.tensor(hand), atol=1e-6, rtol=0)
            if len(strange):
                rows, columns = (~own).any(dim=1).nonzero().flatten(), (~own).any(dim=0).nonzero().flatten()
                box = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
                assert (~own).sum() == (box[1] - box[0]) * (box[3] - box[2])
                boxes.add(box)
                shares.append(1 - lam)
        assert len(boxes) <= 1, "one box for the whole batch"
    assert 0.2 < sum(shares) / len(shares) < 0.5
    assert torch.equal(images, constant_images()[0]), "the images that came are left as they were"


def test_a_coin_decides_where_both_are_wanted() -> None:
    pasted = 0
    for found, _ in mixes(100, mixup=1.0, cutmix=1.0):
        pasted += torch.equal(found, found.round())
    assert 35 < pasted < 65


def test_draws_are_the_streams_alone() -> None:
    images, labels = constant_images()
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        found.append(mixed(images, labels, CLASSES, mixup=0.3, cutmix=0.3, stream=generator(4)))
        assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
