"""Held-out images that are nearly equal to training images: copies, photographs saved again, frames of one film.

Two images are compared where their difference hashes are at most one bit apart: 64 bits, each saying whether one of
8 x 9 fields of an image is darker than its right neighbour. They count as nearly equal where their pixels differ by
little as well. Hashes alone take unlike pictures of the same sparse background for equal.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

SMALLEST = 32
"""Pixels a side below which images aren't compared: of small grey ones many are alike without being the same."""

LARGEST_RMS = 12.0
"""Of the pixels, 0 to 255. A JPEG saved again differs by 2 to 5, the nearest of unlike photographs by 15."""

_ROWS, _COLUMNS = 8, 9
_SAMPLED = 32
_AT_ONCE = 256
_HASHED_AT_ONCE, _HASHES_AT_ONCE = 1024, 4096
"""Images to hash, and hashes to look up."""
_MOST_ALIKE = 16
"""Training images that are compared of those with one hash."""


def nearly_equal(
    train: UInt8[Tensor, "n c h w"], heldout: UInt8[Tensor, "m c h w"]
) -> tuple[Int64[Tensor, " p"], Int64[Tensor, " p"]]:
    """Pairs of a training and a held-out image that are nearly equal, as indices: one for each such held-out image."""
    none = torch.empty(0, dtype=torch.int64)
    if train.shape[-1] < SMALLEST:
        return none, none
    known, wanted = _hashes(train), _hashes(heldout)
    order = known.argsort(kind="stable")
    known = known[order]
    near = np.concatenate([np.zeros(1, np.uint64), np.uint64(1) << np.arange(64, dtype=np.uint64)])
    pairs: list[tuple[Tensor, Tensor]] = []
    for start in range(0, len(wanted), _HASHES_AT_ONCE):
        candidates = wanted[start : start + _HASHES_AT_ONCE, None] ^ near
        first = np.searchsorted(known, candidates)
        counts = np.minimum(np.searchsorted(known, candidates, side="right") - first, _MOST_ALIKE)
        rows = torch.arange(start, start + len(counts)).repeat_interleave(torch.from_numpy(counts.sum(axis=1)))
        before = counts.cumsum().reshape(counts.shape) - counts
        places = (first - before).repeat(counts.ravel()) + np.arange(counts.sum())  # first, first + 1, ... of each
        pairs += zip(torch.from_numpy(order[places]).split(_AT_ONCE), rows.split(_AT_ONCE), strict=True)
    alike = [_are_near(train[a], heldout[b]) for a, b in pairs]
    of_train = torch.cat([none, *(a[near] for (a, _), near in zip(pairs, alike, strict=True))])
    of_heldout = torch.cat([none, *(b[near] for (_, b), near in zip(pairs, alike, strict=True))])
    is_first = torch.ones(len(of_heldout), dtype=torch.bool)
    is_first[1:] = of_heldout[1:] != of_heldout[:-1]
    return of_train[is_first], of_heldout[is_first]


def _are_near(images: Tensor, others: Tensor) -> Tensor:
    """(B,) bool, for each pair whether its pixels differ by little."""
    return (images.float() - others.float()).square().mean(dim=(1, 2, 3)) <= LARGEST_RMS**2


def _hashes(images: Tensor) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """(N,) difference hashes of the green channel, or of the only one; of large images, of every so many-th pixel."""
    step = max(1, images.shape[-1] // _SAMPLED)
    found: list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]] = []
    for part in images.split(_HASHED_AT_ONCE):
        values = part[:, part.shape[1] // 2, ::step, ::step].float()
        fields = _means(values.shape[1], _ROWS).T @ (values @ _means(values.shape[2], _COLUMNS))
        found.append(np.packbits((fields[:, :, 1:] > fields[:, :, :-1]).flatten(1).numpy(), axis=1))
    return np.concatenate(found).view(np.uint64)[:, 0]


def _means(size: int, parts: int) -> Tensor:
    """(size, parts), by which a row of pixels becomes the means of so many equal parts of it."""
    part = torch.arange(size) * parts // size
    weights = torch.nn.functional.one_hot(part, parts).float()
    return weights / weights.sum(0)
