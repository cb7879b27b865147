"""Which example goes where, and when: a search's two halves, a held-out split, and the order of batches in an epoch.

All three deal in indices, are pure functions of a seed, and hold no stream that a checkpoint would have to save.
"""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Int64
from torch import Tensor

from fpnas.data.labelled import LabelledSet
from fpnas.errors import InputError
from fpnas.streams import generator


def _by_class(labels: Int64[Tensor, " n"], seed: int, purpose: str) -> Int64[Tensor, " n"]:
    """All indices, class after class, in random order within each class."""
    labels = labels.cpu()
    shuffled = torch.randperm(len(labels), generator=generator(seed, "data", purpose))
    return shuffled[labels[shuffled].argsort(stable=True)]


def halves(train: LabelledSet, seed: int) -> tuple[Int64[Tensor, " a"], Int64[Tensor, " b"]]:
    """Cuts the training examples in two, class by class: one half for the weights, one for the architecture.

    The halves are disjoint and cover all; of each class, and altogether, their sizes differ by at most one (so a
    class with a single example is in one half only). Where they are grouped the halves are as even as whole groups
    allow. Sorted indices.

    Raises:
        InputError: fewer than two examples, or groups.
    """
    if len(train) < 2:
        raise InputError("at least two training examples to cut in halves", str(len(train)), "give more")
    if train.groups is not None:
        return split_by_groups(train.labels, train.groups, 0.5, seed, "halves")
    order = _by_class(train.labels, seed, "halves")
    # Dealing out the examples in turn gives the odd one of a class now to the one half and now to the other.
    return order[0::2].sort().values, order[1::2].sort().values


def stratified_split(
    labels: Int64[Tensor, " n"], fraction: float, seed: int, groups: Int64[Tensor, " n"] | None = None
) -> tuple[Int64[Tensor, " kept"], Int64[Tensor, " held"]]:
    """Cuts off about `fraction` of the examples, class by class, where a data set has none that are held out.

    A class gives its share rounded down or up, such that the total is right; it always keeps at least one. Where the
    examples are grouped, the shares are as near to that as whole groups allow. Sorted indices.

    Raises:
        InputError: a fraction outside 0..1, or too few examples or groups to hold one out.
    """
    if not 0 < fraction < 1:
        raise InputError("a fraction between 0 and 1 to hold out", str(fraction), "give 0.2, say")
    if groups is not None:
        return split_by_groups(labels, groups, fraction, seed, "heldout")
    order = _by_class(labels, seed, "heldout")
    counts = torch.bincount(labels.cpu())
    # Rounding the running total, not each class: many small classes would otherwise all be rounded the same way.
    ends = (counts.cumsum(0) * fraction + 0.5).floor().long()
    shares = ends.diff(prepend=ends.new_zeros(1)).minimum((counts - 1).clamp(min=0))
    if int(shares.sum()) == 0:
        got = f"{len(labels)} examples in {int((counts > 0).sum())} classes"
        raise InputError(f"enough examples to hold out a fraction of {fraction}", got, "give more of each class")
    rank = torch.arange(len(order)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    is_held = rank < shares.repeat_interleave(counts)
    return order[~is_held].sort().values, order[is_held].sort().values


def split_by_groups(
    labels: Int64[Tensor, " n"], groups: Int64[Tensor, " n"], fraction: float, seed: int, purpose: str
) -> tuple[Int64[Tensor, " kept"], Int64[Tensor, " held"]]:
    """Cuts off whole groups, so that of each class about `fraction` of the examples is cut off. Sorted indices.

    Groups are gone through in random order, and again as long as that helps: one changes sides where the sum of squares
    of (share cut off - fraction) over the classes falls. A class keeps at least one group.

    Raises:
        InputError: no group can be cut off.
    """
    numbers = groups.cpu().unique(return_inverse=True)[1]
    labels = labels.cpu()
    count, classes = int(numbers.max()) + 1, int(labels.max()) + 1
    cells, sizes = (numbers * classes + labels).unique(return_counts=True)
    members: list[list[tuple[int, int]]] = [[] for _ in range(count)]  # of each group: how many of which classes
    for cell, size in zip(cells.tolist(), sizes.tolist(), strict=True):
        members[cell // classes].append((cell % classes, size))
    total = labels.bincount().tolist()
    cut_off, is_held = [0] * classes, [False] * count
    order = torch.randperm(count, generator=generator(seed, "data", purpose)).tolist()

    def change(group: int) -> float:
        """Of the sum of squares where the group changes sides; infinite where a class would have none that is kept."""
        found, step = 0.0, -1 if is_held[group] else 1
        for label, size in members[group]:
            if cut_off[label] + step * size == total[label]:
                return math.inf
            # (share + move - fraction)^2 - (share - fraction)^2
            move = step * size / total[label]
            found += move * (2 * (cut_off[label] / total[label] - fraction) + move)
        return found

    def move(group: int) -> None:
        for label, size in members[group]:
            cut_off[label] += -size if is_held[group] else size
        is_held[group] = not is_held[group]

    moved = True
    while moved:
        moved = False
        for group in order:
            if change(group) < -1e-12:
                move(group)
                moved = True
    if not any(is_held):  # few and large ones
        least = min(order, key=change)
        if change(least) == math.inf:
            got = f"{count} group{'s' * (count > 1)} of {int((labels.bincount() > 0).sum())} classes"
            fix = "give more groups, or leave --split-by out"
            raise InputError("two groups or more of a class, to split by", got, fix)
        move(least)
    held = torch.tensor(is_held)[numbers]
    return (~held).nonzero().flatten(), held.nonzero().flatten()


@final
class EpochOrder:
    """The batches of all epochs, in order: which examples step 0, 1, 2, ... takes.

    An epoch is a random permutation of the n examples, cut into ceil(n / batch_size) batches of nearly equal size: each
    example is seen once an epoch, and no batch is much smaller than the rest. A batch has at least two, which batch
    norms need; so where the batch size is 2 and n is odd, one batch has three. A batch size above n means n. Where two
    sizes occur oneDNN compiles each convolution once for either: batches of one size would leave examples out.

    `batch(step)` is a pure function of (seed, stream, step); the epoch's permutation is merely remembered.

    Args:
        n: how many examples there are.
        batch_size: the most examples in a batch.
        seed: the run's seed.
        stream: what the batches are for; other streams, and other epochs, have unrelated orders.

    Raises:
        InputError: fewer than two examples, or a batch size below two.
    """

    def __init__(self, n: int, batch_size: int, seed: int, stream: str) -> None:
        if n < 2:
            raise InputError("at least two examples to learn from", str(n), "give more")
        if batch_size < 2:
            raise InputError("a batch size of at least 2, which batch norms need", str(batch_size), "raise it")
        self.n = n
        self.batch_size = batch_size
        self.steps_per_epoch = min(-(-n // batch_size), n // 2)
        self._seed = seed
        self._stream = stream
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def epoch(self, step: int) -> int:
        """The epoch that a step is in, counted from 0."""
        return step // self.steps_per_epoch

    def batch(self, step: int) -> Int64[Tensor, " b"]:
        """The indices of a step's examples; steps count from 0 through all epochs."""
        assert step >= 0, f"step {step}"
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._order = torch.randperm(self.n, generator=generator(self._seed, "order", self._stream, epoch))
            self._epoch = epoch
        start = self.n * place // self.steps_per_epoch
        end = self.n * (place + 1) // self.steps_per_epoch
        return self._order[start:end].clone()
