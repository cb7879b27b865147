"""P(A|alpha): independent categorical tables, one for each cell of a partition of the choices (sections 1 and 3.3).

Singletons give the paper's factorised distribution (FD), groups its joint distribution (JD), and every partition in
between is a partial join; they are one class. All tables are rows of one padded matrix of logits, so sampling,
log-probability and entropy are a few tensor operations whatever the number of cells.

The distribution lives on the CPU in float64: it is small, its sums are differences of large numbers, and it must be the
same on every device and rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from fpnas.errors import InputError
from fpnas.space import Arch, SearchSpace

Partition = tuple[tuple[int, ...], ...]
"""Cells of choice indices that together hold every choice once."""


def singletons(space: SearchSpace) -> Partition:
    """The factorised partition: every choice by itself."""
    return tuple((index,) for index in range(len(space)))


def groups(space: SearchSpace) -> Partition:
    """The joint partition: the choices of a group share a table."""
    return tuple(space.groups.values())


class ArchDistribution(nn.Module):
    """A distribution over the architectures of a space; uniform when made.

    Letters: V choices, C cells, S options of the largest cell, K architectures. A cell's options are the product of its
    choices' options, the last choice varying fastest. A choice with one option has a logit (without effect).

    Args:
        space: the space.
        partition: cells of choice indices; the factorised partition by default.

    Raises:
        InputError: the cells don't hold each choice exactly once.
    """

    def __init__(self, space: SearchSpace, partition: Iterable[Sequence[int]] | None = None) -> None:
        super().__init__()
        cells = singletons(space) if partition is None else tuple(tuple(cell) for cell in partition)
        if sorted(index for cell in cells for index in cell) != list(range(len(space))):
            raise InputError(f"cells that hold each of {len(space)} choices once", str(cells), "use groups(space)")
        self.space = space
        self.partition: Partition = cells
        sizes = [math.prod(space.cardinalities[index] for index in cell) for cell in cells]
        self.cell_of = torch.empty(len(space), dtype=torch.long)
        self.stride_of = torch.empty(len(space), dtype=torch.long)
        for number, cell in enumerate(cells):
            stride = 1
            for index in reversed(cell):
                self.cell_of[index], self.stride_of[index] = number, stride
                stride *= space.cardinalities[index]
        self.options_of = torch.tensor(space.cardinalities)
        self.is_option = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]
        self.padding = torch.zeros(self.is_option.shape, dtype=torch.float64).masked_fill(~self.is_option, -torch.inf)
        self.last = torch.tensor(sizes) - 1
        self.logits = nn.Parameter(torch.zeros(len(cells), max(sizes), dtype=torch.float64))

    @property
    def num_logits(self) -> int:
        """How many logits are in use: alpha's size, padding aside."""
        return int(self.is_option.sum())

    @torch.no_grad()
    def set_logits(self, logits: Float64[Tensor, "C S"]) -> None:
        """Overwrites the logits, in place: an optimizer of them goes on."""
        self.logits.copy_(logits)

    def log_table(self) -> Float[Tensor, "C S"]:
        """Log-probability of each cell's options in nats, -inf in the padding."""
        return self._masked().log_softmax(dim=1)

    def _masked(self) -> Float[Tensor, "C S"]:
        return self.logits + self.padding  # a fifth of masked_fill's time

    def cell_codes(self, codes: Int64[Tensor, "K V"]) -> Int64[Tensor, "K C"]:
        """The option of each cell that the codes amount to."""
        cells = codes.new_zeros(codes.shape[0], len(self.partition))
        return cells.index_add_(1, self.cell_of, codes * self.stride_of)

    @torch.no_grad()
    def sample(self, num: int, generator: torch.Generator) -> Int64[Tensor, "K V"]:
        """Draws `num` architectures as codes, by inversion: one uniform number a cell."""
        # In place: where several tables are held at once, malloc gives their pages back and takes them anew at every
        # call, which costs more than the sums.
        cumulative = self._masked()
        torch.softmax(cumulative, dim=1, out=cumulative).cumsum_(dim=1)
        # Scaled by the row's own total and clamped: rounding must never draw from the padding.
        draws = torch.rand(num, len(self.partition), generator=generator, dtype=torch.float64) * cumulative[:, -1]
        cells = torch.searchsorted(cumulative, draws.T.contiguous(), right=True).T
        return self._spread(torch.minimum(cells, self.last))

    def log_prob(self, codes: Int64[Tensor, "K V"]) -> Float[Tensor, " K"]:
        """log P(A|alpha) of each architecture in nats, differentiable in the logits."""
        return self.log_table().gather(1, self.cell_codes(codes).T).sum(dim=0)

    def entropy(self) -> Float[Tensor, ""]:
        """H(P(A|alpha)) in nats: the sum over the cells, which are independent."""
        # H = log sum exp(z) - sum p z, and log sum exp(z) = z_m - log p_m at any m: one exponential a logit, not two.
        logits = self._masked()
        p = logits.softmax(dim=1)
        log_normalizer = logits.amax(dim=1) - p.amax(dim=1).log()
        return log_normalizer.sum() - torch.dot(p.flatten(), self.logits.flatten())

    @torch.no_grad()
    def mode(self) -> Arch:
        """The most probable architecture; on a tie, the first option."""
        return self.space.decode(self._spread(self.log_table().argmax(dim=1)[None])[0].tolist())

    @torch.no_grad()
    def joined(self, partition: Iterable[Sequence[int]] | None = None) -> ArchDistribution:
        """The same distribution over coarser cells, by default one for each group (FD -> JD at theta).

        Exact: a joint logit is the sum of its parts' log-probabilities, so probabilities, entropy and K don't jump.

        Raises:
            InputError: a present cell would be torn apart.
        """
        joint = ArchDistribution(self.space, groups(self.space) if partition is None else partition)
        log_table = self.log_table()
        table = torch.zeros_like(joint.logits)
        for number, cell in enumerate(joint.partition):
            parts = {int(self.cell_of[index]) for index in cell}
            if sorted(index for part in parts for index in self.partition[part]) != sorted(cell):
                raise InputError("cells that are unions of the present ones", str(cell), "join coarser cells")
            # All codes of the cell's choices, the other choices at 0: they don't enter these parts.
            options = int(joint.is_option[number].sum())
            codes = torch.arange(options)[:, None] // joint.stride_of % joint.options_of
            codes = torch.where(joint.cell_of == number, codes, 0)
            part_codes = self.cell_codes(codes)
            table[number, :options] = sum(log_table[part, part_codes[:, part]] for part in sorted(parts))
        joint.logits.copy_(table)
        return joint

    def _spread(self, cells: Int64[Tensor, "K C"]) -> Int64[Tensor, "K V"]:
        return cells[:, self.cell_of] // self.stride_of % self.options_of
