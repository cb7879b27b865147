"""Which codes are one network, and the distribution under which each distinct network is as probable as another (ours).

Two codes are one network where they differ only in choices that have no effect: a bypassed block's kernel, activation
and splits, the layers beyond a depth. Drawn uniformly, codes favour networks with such parts, by the product of the
idle choices' options: of the codes of `tiny` under 3 M multiply-adds at 32 px 0.4 % run a block in each group, of the
distinct networks 27 %. An option that idles choices is therefore weighted by one over the number of distinct settings
of these; all other options count 1. No joint table is needed, since what is idle may take any value.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from fpnas.elastic import Supernet
from fpnas.elastic.base import ElasticModule
from fpnas.elastic.dims import Dim, choices_in, resolve
from fpnas.elastic.submodules import Condition, parts_of, satisfy
from fpnas.space import Choice, Option


def distinct_logits(supernet: Supernet) -> Float64[Tensor, "V O"]:
    """The logits of the uniform distribution over distinct networks, a row a choice; 0 in the padding.

    Exact where each choice is idled by one other at a time, or by several that idle each other's in turn (a block
    within a depth); otherwise near it.
    """
    choices = supernet.space.choices
    readers = _readers(supernet)
    idled: dict[tuple[str, Option], list[Choice]] = {(c.name, option): [] for c in choices for option in c.options}
    for other in choices:
        for choice in _everywhere(readers[other]):
            for option in () if choice == other else choice.options:
                if all(reader.idle(other, {choice.name: option}) for reader in readers[other]):
                    idled[choice.name, option].append(other)
    # What idles others is settled after these: the number of distinct settings of a choice is the sum of its weights.
    weights: dict[str, list[float]] = {}
    order = sorted(choices, key=lambda choice: max(len(idled[choice.name, option]) for option in choice.options))
    for choice in order:
        weights[choice.name] = []
        for option in choice.options:
            settings = 1.0
            for other in idled[choice.name, option]:
                settings *= sum(weights.get(other.name, [1.0] * len(other.options)))
            weights[choice.name].append(1 / settings)
    logits = torch.zeros(len(choices), max(supernet.space.cardinalities), dtype=torch.float64)
    for row, choice in enumerate(choices):
        logits[row, : len(choice.options)] = torch.tensor(weights[choice.name], dtype=torch.float64).log()
    return logits


def canonical(supernet: Supernet) -> Callable[[Int64[Tensor, "K V"]], Int64[Tensor, "K V"]]:
    """A function, codes -> codes of the same networks, with the first option of each choice that has no effect."""
    choices = supernet.space.choices
    readers = _readers(supernet)
    # Whether a choice has an effect depends on those that its readers read, and on those that say whether they run.
    concerned = [
        [v for v, other in enumerate(choices) if other != choice and any(other in r.choices for r in readers[choice])]
        for choice in choices
    ]

    def simplest(codes: Tensor) -> Tensor:
        found = codes.clone()
        for row, (choice, columns) in enumerate(zip(choices, concerned, strict=True)):
            if not columns:
                continue  # it runs whatever the others are
            kinds, back = codes[:, columns].unique(dim=0, return_inverse=True)
            idle: list[bool] = []
            for kind in kinds.tolist():
                fixed = {choices[v].name: choices[v].options[index] for v, index in zip(columns, kind, strict=True)}
                idle.append(all(reader.idle(choice, fixed) for reader in readers[choice]))
            found[torch.tensor(idle)[back], row] = 0
        return found

    return simplest


@dataclass(frozen=True)
class _Reader:
    """An argument of a layer or structure, and when that runs."""

    dim: Dim
    conditions: tuple[Condition, ...]

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """Those that have a say in its value or in whether it runs."""
        dims = self.dim, *(dim for dim, _ in self.conditions)
        return tuple(dict.fromkeys(choice for dim in dims for choice in choices_in(dim)))

    def idle(self, choice: Choice, fixed: Mapping[str, Option]) -> bool:
        """Whether `choice` has no effect here under `fixed`: it doesn't run, or its argument doesn't change."""
        return satisfy(self.conditions, fixed) is None or not any(
            len({resolve(self.dim, {**pick, choice.name: option}) for option in choice.options}) > 1
            for pick in _picks([own for own in choices_in(self.dim) if own != choice], fixed)
        )


def _readers(supernet: Supernet) -> dict[Choice, list[_Reader]]:
    """Of each choice, the different arguments that read it."""
    found: dict[Choice, dict[_Reader, None]] = {choice: {} for choice in supernet.space.choices}
    for part in parts_of(supernet.module):
        if isinstance(part.module, ElasticModule):
            for dim in part.module.dims.values():
                for choice in choices_in(dim):
                    found[choice][_Reader(dim, part.conditions)] = None
    return {choice: list(readers) for choice, readers in found.items()}


def _everywhere(readers: Sequence[_Reader]) -> list[Choice]:
    """The choices that have a say at each of the readers: no other can idle what these read."""
    return [choice for choice in readers[0].choices if all(choice in reader.choices for reader in readers[1:])]


def _picks(choices: Sequence[Choice], fixed: Mapping[str, Option]) -> Iterator[dict[str, Option]]:
    names = [choice.name for choice in choices]
    options = [(fixed[choice.name],) if choice.name in fixed else choice.options for choice in choices]
    return (dict(zip(names, picked, strict=True)) for picked in itertools.product(*options))
