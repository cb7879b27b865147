"""Structures that choose what runs: one branch of several, or the first n of a chain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fpnas.elastic.base import ElasticStructure
from fpnas.elastic.dims import Dim, values_of
from fpnas.elastic.soft import Mixture, fit_channels
from fpnas.errors import SupernetError


class Switch(ElasticStructure):
    """Runs the branch that `on` names. Branches share no weights.

    Args:
        on: a `Dim` whose values, as text and with "_" for ".", are keys of `branches`.
        branches: value -> module, all taking the same input to outputs of the same shape.

    Raises:
        SupernetError: a value of `on` has no branch.
    """

    mixes = True

    def __init__(self, on: Dim, branches: Mapping[str, nn.Module]) -> None:
        super().__init__(on=on)
        self.branches = nn.ModuleDict({_key(value): branch for value, branch in branches.items()})
        without = [value for value in values_of(on) if _key(value) not in self.branches]
        if without:
            raise SupernetError(f"a branch for each of {list(values_of(on))}", f"none for {without[0]!r}", "add it")

    def forward(self, x: Tensor) -> Tensor:
        if self.mixture is not None:
            return self._mixed(x, self.mixture)
        return self.branches[_key(self.values["on"])](x)

    def _mixed(self, x: Tensor, mixture: Mixture) -> Tensor:
        """All branches, summed by weight; a branch that hands its input on is cut or padded to the others' width."""
        outputs: list[tuple[Tensor, Tensor]] = []
        width: int | None = None
        for value, weight in mixture.of(self.dims["on"]).items():
            branch = self.branches[_key(value)]
            y = branch(x)
            if not isinstance(branch, nn.Identity) or width is None:
                width = y.shape[1]
            outputs.append((y, weight.to(y)))
        return torch.stack([(y if y.dim() != 4 else fit_channels(y, width or 0)) * w for y, w in outputs]).sum(dim=0)

    def condition(self, child: str) -> tuple[Dim, frozenset[Any]] | None:
        key = child.removeprefix("branches.")
        return self.dims["on"], frozenset(value for value in values_of(self.dims["on"]) if _key(value) == key)


def _key(value: Any) -> str:
    """A module's name can't have a dot."""
    return str(value).replace(".", "_")


class Repeat(ElasticStructure):
    """Runs the first `times` of its blocks in a chain: variable depth.

    Raises:
        SupernetError: `times` can exceed the number of blocks, or be below 0.
    """

    mixes = True

    def __init__(self, times: Dim, blocks: Iterable[nn.Module]) -> None:
        super().__init__(times=times)
        self.blocks = nn.ModuleList(blocks)
        if not all(0 <= value <= len(self.blocks) for value in values_of(times)):
            raise SupernetError(f"0 to {len(self.blocks)} repeats", str(values_of(times)), "correct the options")

    def forward(self, x: Tensor) -> Tensor:
        if self.mixture is not None:
            depths = self.mixture.of(self.dims["times"])
            total = x * depths[0].to(x) if 0 in depths else None
            for number, block in enumerate(list(self.blocks)[: max(depths)], start=1):
                x = block(x)
                if number in depths:
                    total = x * depths[number].to(x) if total is None else total + x * depths[number].to(x)
            return x if total is None else total
        for block in list(self.blocks)[: self.values["times"]]:
            x = block(x)
        return x

    def condition(self, child: str) -> tuple[Dim, frozenset[Any]] | None:
        position = int(child.removeprefix("blocks."))
        return self.dims["times"], frozenset(value for value in values_of(self.dims["times"]) if value > position)
