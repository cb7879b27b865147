"""`Memory`: what all architectures scored so far say about alpha (ours; eq. 7 uses the K of one step and forgets them).

With a uniform prior, the posterior over architectures is P(A|X,y) ~ P(y|X,A)^(1/T). The member of P(A|alpha)'s family
nearest to it has for logits the least-squares coefficients of log P(y|X,A) / T on the cells' options, and one step of
the natural gradient leads there (conjugate-computation variational inference, Khan & Lin 2017). So alpha is read off a
ridge regression on past scores:

    y_i = intercept + sum_v main[v, a_iv] + batch[step_i] + noise_i

Scores come in as sums, one step after another, and older ones fade; no architecture is kept. What the main effects
leave over is shared out among the options of all cells once some are joint, shrunk by how seldom these were seen.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from fpnas.distribution import ArchDistribution
from fpnas.errors import InputError
from fpnas.space import SearchSpace

RIDGES = tuple(10.0 ** (power / 2) for power in range(-5, 8))
"""Candidates of the ridge, the variance of the noise over that of a main effect: 0.003 to 3,162."""

_FREE = 1e-6
"""The share of the ridge that holds the intercept: as good as none."""

_SUMS = ("ridge", "count", "gram", "moment", "power", "cells")


class Memory:
    """Sums over past scores, and the logits that explain them.

    Letters: V choices, F options of all choices and the intercept, C cells, S options of the largest cell, K
    architectures of a step.

    Args:
        space: the space.
        batch_effect: variance of what a step's scores share (its validation batch), that of one score's noise being 1.
        half_life: steps after which a score counts half; `math.inf` where scores never age.
        interaction: prior variance of a joint cell's own effect, that of a main effect being 1.

    Raises:
        InputError: a number out of range.
    """

    def __init__(
        self,
        space: SearchSpace,
        batch_effect: float = 4.0,
        half_life: float = math.inf,
        interaction: float = 0.1,
    ) -> None:
        if not (batch_effect >= 0 and half_life > 0 and interaction >= 0):
            got = f"batch effect {batch_effect:g}, half-life {half_life:g}, interaction {interaction:g}"
            raise InputError("variances of 0 or more and a half-life above 0", got, "correct them")
        self.space = space
        self.batch_effect, self.half_life, self.interaction = batch_effect, half_life, interaction
        sizes = space.cardinalities
        self._offsets = torch.tensor([sum(sizes[:index]) for index in range(len(sizes))])
        width = sum(sizes) + 1
        self.ridge = 1.0
        self.count = 0.0
        self.gram = torch.zeros(width, width, dtype=torch.float64)
        self.moment = torch.zeros(width, dtype=torch.float64)
        self.power = 0.0
        self.cells: tuple[Tensor, Tensor, Tensor] | None = None

    @torch.no_grad()
    def add(self, distribution: ArchDistribution, codes: Int64[Tensor, "K V"], scores: Float64[Tensor, " K"]) -> None:
        """Takes in a step: its architectures and their log-likelihoods in nats over the temperature.

        Architectures that diverged have no likelihood and are left out.
        """
        finite = scores.isfinite()
        codes, y = codes[finite], scores[finite].double()
        if not len(codes):
            return
        z = torch.zeros(len(codes), len(self.moment), dtype=torch.float64)
        z.scatter_(1, codes + self._offsets, 1.0)
        z[:, -1] = 1.0
        # The whitened rows of a random effect: each less a share of the step's mean, all of it for a great effect.
        share = 1 - 1 / math.sqrt(1 + len(y) * self.batch_effect)
        z, y = z - share * z.mean(dim=0), y - share * y.mean()
        fade = 2.0 ** (-1 / self.half_life)
        self.count = fade * self.count + len(y)
        self.power = fade * self.power + float(y @ y)
        self.gram = fade * self.gram + z.T @ z
        self.moment = fade * self.moment + z.T @ y
        if any(len(cell) > 1 for cell in distribution.partition):
            self._add_to_cells(distribution, codes, z, y, fade)

    @torch.no_grad()
    def logits(self, distribution: ArchDistribution) -> Float64[Tensor, "C S"]:
        """The logits, in the cells of `distribution`, nearest to the posterior; 0 in the padding."""
        main = self._main()
        table = torch.zeros_like(distribution.logits)
        for number, cell in enumerate(distribution.partition):
            total = torch.zeros([1] * len(cell), dtype=table.dtype)
            for axis, index in enumerate(cell):
                start, size = int(self._offsets[index]), self.space.cardinalities[index]
                total = total + main[start : start + size].reshape([-1 if a == axis else 1 for a in range(len(cell))])
            table[number, : total.numel()] = total.flatten()
        if self.cells is not None and self.interaction:
            seen, y, z = self.cells
            own = (y - z @ main) / (seen + self.ridge / self.interaction)
            table += own.reshape(table.shape) / len(table)  # what is left over is one sum: each cell takes its part
        return torch.where(distribution.is_option, table, 0.0)

    def settings(self) -> dict[str, Any]:
        """What decides its course, plain JSON."""
        return {
            "batch_effect": self.batch_effect,
            "half_life": self.half_life if math.isfinite(self.half_life) else None,
            "interaction": self.interaction,
        }

    def state_dict(self) -> dict[str, Any]:
        """The sums."""
        return {name: getattr(self, name) for name in _SUMS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        for name in _SUMS:
            setattr(self, name, state[name])

    def _add_to_cells(self, distribution: ArchDistribution, codes: Tensor, z: Tensor, y: Tensor, fade: float) -> None:
        """For each option of each cell: how often it was seen, and the sums of y and z where it was."""
        cells, options = distribution.logits.shape
        if self.cells is None:
            seen = torch.zeros(cells * options, dtype=torch.float64)
            self.cells = seen, torch.zeros_like(seen), torch.zeros(len(seen), z.shape[1], dtype=torch.float64)
        rows = distribution.cell_codes(codes) + torch.arange(cells) * options
        sums: list[Tensor] = []
        for total, each in zip(self.cells, (torch.ones_like(y), y, z), strict=True):
            faded = fade * total
            for column in rows.T:
                faded.index_add_(0, column, each)
            sums.append(faded)
        self.cells = sums[0], sums[1], sums[2]

    def _main(self) -> Float64[Tensor, " F"]:
        """The main effects and the intercept, under the ridge that makes the scores the most probable.

        With the variances' common scale profiled out, log evidence = -n/2 log(residual) - log det / 2 + constant.
        """
        penalty = torch.ones(len(self.moment), dtype=torch.float64)
        penalty[-1] = math.sqrt(_FREE)
        # In the coordinates z / penalty the prior is a multiple of the identity: one decomposition does for all ridges.
        values, vectors = torch.linalg.eigh(self.gram / penalty[:, None] / penalty)
        values, moment = values.clamp_min(0.0), vectors.T @ (self.moment / penalty)
        grid = torch.tensor(RIDGES, dtype=torch.float64)[:, None]
        residual = (self.power - (moment**2 / (values + grid)).sum(dim=1)).clamp_min(1e-12 * max(self.power, 1e-300))
        log_det = (values / grid).log1p().sum(dim=1)
        self.ridge = RIDGES[int((-self.count / 2 * residual.log() - log_det / 2).argmax())]
        return vectors @ (moment / (values + self.ridge)) / penalty
