"""Soft picks: every choice has a weight for each option, and layers mix (DARTS's mixed operation, FBNetV2's masks).

Options that run (kernels, activations, branches, depths) are all run and their outputs summed by weight. Widths run at
their largest under a mask, the weighted sum of the 0/1 masks of each width (Wan et al. 2020, eq. 4). A derived width,
such as in_channels * expansion, is mixed by the product of its choices' weights. At one-hot weights all of this is the
hard pick.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fpnas.elastic.dims import Dim, Joined, choices_in, largest, resolve


class Mixture:
    """The weights of a soft pick, and what follows from them for each argument; worked out once a pick.

    Args:
        weights: choice -> weights of its options, summing to 1, with their graph.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.weights = weights
        self._of: dict[Dim, dict[Any, Tensor]] = {}
        self._masks: dict[tuple[Dim, int, torch.dtype], Tensor] = {}

    def of(self, dim: Dim) -> dict[Any, Tensor]:
        """Each value that `dim` can take, and its weight, a scalar."""
        if dim not in self._of:
            choices = choices_in(dim)
            found: dict[Any, Tensor] = {}
            for codes in itertools.product(*(range(len(choice.options)) for choice in choices)):
                arch = {choice.name: choice.options[code] for choice, code in zip(choices, codes, strict=True)}
                weight = torch.ones(())
                for choice, code in zip(choices, codes, strict=True):
                    weight = weight * self.weights[choice.name][code]
                value = resolve(dim, arch)
                found[value] = found[value] + weight if value in found else weight
            self._of[dim] = found
        return self._of[dim]

    def mask(self, dim: Dim, like: Tensor, axis: int) -> Tensor:
        """The weight of each channel of `like` along `axis`: that of all widths that reach it."""
        if isinstance(dim, Joined):
            sizes = [largest(part) for part in dim.arguments]
            rows = zip(dim.arguments, like.split(sizes, axis), strict=True)
            return torch.cat([self.mask(part, piece, axis) for part, piece in rows])
        width, key = like.shape[axis], (dim, like.shape[axis], like.dtype)
        if key not in self._masks:
            values = self.of(dim)
            reach = torch.arange(width)[:, None] < torch.tensor(list(values))
            self._masks[key] = (reach.double() @ torch.stack(list(values.values())).double()).to(like)
        return self._masks[key].reshape([-1] + [1] * (like.dim() - 1 - axis % like.dim()))


def fit_channels(x: Tensor, width: int) -> Tensor:
    """(N, C, H, W) with `width` channels: cut, or padded with zeros."""
    if x.shape[1] >= width:
        return x[:, :width]
    return F.pad(x, (0, 0, 0, 0, 0, width - x.shape[1]))
