"""`Gathered`: gradients of slices, added to the weights' own where they belong (ours).

torch's backward of `weight[:c]` makes a tensor of the whole weight's size, zeros beside the slice, for each
architecture that is run, and adds it up. Here a layer runs on a leaf that is the slice; after the backward pass that
leaf's gradient is added to the slice of the weight's. The sums are the same, term by term. Only first derivatives go
this way.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Piece:
    """A slice of a weight as a leaf of its own."""

    weight: Tensor
    index: tuple[slice, ...]
    leaf: Tensor


class Gathered:
    """The slices that layers took since `add_up` was last called."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []

    def take(self, weight: Tensor, index: tuple[slice, ...]) -> Tensor:
        """The slice as a leaf of its own. It is dense: torch would copy one with gaps in the forward pass, again in the
        backward pass, and its gradient."""
        last = weight.dim() == 4 and weight.is_contiguous(memory_format=torch.channels_last)
        dense = torch.channels_last if last else torch.contiguous_format
        leaf = weight.detach()[index].contiguous(memory_format=dense).requires_grad_()
        self._pieces.append(Piece(weight, index, leaf))
        return leaf

    def hold(self) -> list[Piece]:
        """The slices so far, which `add_up` passes over until they are taken back."""
        held, self._pieces = self._pieces, []
        return held

    def take_back(self, pieces: list[Piece]) -> None:
        """Slices that were held."""
        self._pieces += pieces

    @torch.no_grad()
    def add_up(self) -> None:
        """Adds the slices' gradients to those of their weights, and forgets the slices; without a backward pass there
        are none to add."""
        pieces, self._pieces = [piece for piece in self._pieces if piece.leaf.grad is not None], []
        for piece in pieces:
            if piece.weight.grad is None:
                piece.weight.grad = torch.zeros_like(piece.weight)
        gradients = [piece.leaf.grad for piece in pieces if piece.leaf.grad is not None]
        wholes = [piece.weight.grad[piece.index] for piece in pieces if piece.weight.grad is not None]
        if wholes:
            torch._foreach_add_(wholes, gradients)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
