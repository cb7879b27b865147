"""Sampled networks that begin alike are run together as far as they do (ours).

A supernet whose module is a chain of stages runs the K networks of a step as a tree: what the next network shares with
the present one, from the inputs on, is kept rather than run again. Batch statistics included, its output is the same;
its gradient is the sum of those that come back from all networks behind it, so it runs backwards once, after the last
of them. One network at a time is in memory, since what is kept is a part of the present one. In a young search this
saves the stem and some first blocks, the parts with the largest maps; in an old one, all but the blocks still open.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from fpnas.elastic import ElasticModule, Stage, Supernet
from fpnas.elastic.dims import Dim, choices_in, resolve
from fpnas.elastic.gathered import Gathered, Piece
from fpnas.elastic.submodules import Condition, holds, parts_of
from fpnas.space import Option

Choices = Mapping[str, Option]


@dataclass(frozen=True)
class Visit:
    """A network of the tree: which of the architectures it is, and how many stages it shares with the one before."""

    numbers: tuple[int, ...]
    shared: int


class Chain:
    """A supernet's stages, and what of an architecture each depends on."""

    def __init__(self, supernet: Supernet) -> None:
        self.supernet = supernet
        self.stages: Sequence[Stage] = supernet.stages()
        self._reads = [_Reads(stage.modules) for stage in self.stages]

    def visits(self, archs: Sequence[Choices]) -> list[Visit]:
        """Each network once, those that begin alike next to each other."""
        return list(self._split(archs, range(len(archs)), 0)) if archs else []

    def _split(self, archs: Sequence[Choices], numbers: Sequence[int], depth: int) -> Iterator[Visit]:
        if len(numbers) == 1 or depth == len(self.stages):
            yield Visit(tuple(numbers), 0)
            return
        groups: dict[Hashable, list[int]] = {}
        for number in numbers:
            groups.setdefault(self._reads[depth].of(archs[number]), []).append(number)
        for place, group in enumerate(groups.values()):
            for index, visit in enumerate(self._split(archs, group, depth + 1)):
                yield Visit(visit.numbers, depth) if place and not index else visit


class _Reads:
    """Equal for two architectures under which a stage computes the same."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._dims: list[tuple[tuple[Condition, ...], tuple[Dim, ...]]] = []
        for module in modules:
            for part in parts_of(module, whole=lambda _: False):
                if isinstance(part.module, ElasticModule):
                    dims = tuple(dim for dim in part.module.dims.values() if choices_in(dim))
                    self._dims += [(part.conditions, dims)] if dims else []
        read = [dim for conditions, dims in self._dims for dim in (*dims, *(when for when, _ in conditions))]
        self._names = tuple(dict.fromkeys(choice.name for dim in read for choice in choices_in(dim)))
        self._known: dict[tuple[Option, ...], Hashable] = {}

    def of(self, arch: Choices) -> Hashable:
        key = tuple(arch[name] for name in self._names)
        if key not in self._known:
            self._known[key] = tuple(
                tuple(resolve(dim, arch) for dim in dims) if holds(conditions, arch) else None
                for conditions, dims in self._dims
            )
        return self._known[key]


@dataclass(frozen=True)
class _Cut:
    """Where networks part: the output of the stages before, and a leaf in its place for what follows."""

    depth: int
    output: Tensor
    leaf: Tensor
    pieces: list[Piece]


class Walk:
    """Runs the networks of a tree, one after another.

    Args:
        chain: of the supernet.
        archs: what to run.
        inputs: a batch.
        gathered: of the gradients of slices, where gradients are wanted; None runs without a graph.
        context: entered around each run, such as an autocast.

    Attributes:
        leaves: hold gradients that have yet to go through what networks share; to be scaled with those of the weights.
    """

    def __init__(
        self,
        chain: Chain,
        archs: Sequence[Choices],
        inputs: Tensor,
        gathered: Gathered | None,
        context: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self.chain, self.archs, self.inputs = chain, archs, inputs
        self.gathered, self.context = gathered, context
        self.visits = chain.visits(archs)
        self.leaves: list[Tensor] = []
        self._cuts: list[_Cut] = []

    def __iter__(self) -> Iterator[tuple[tuple[int, ...], Tensor]]:
        """The numbers of architectures that are one network, and its outputs; whoever wants gradients calls backward on
        a function of these before the next."""
        for index, visit in enumerate(self.visits):
            yield visit.numbers, self._run(index)
            if self.gathered is not None:
                self.gathered.add_up()
            self._leave(self.visits[index + 1].shared if index + 1 < len(self.visits) else 0)

    def _run(self, index: int) -> Tensor:
        self.chain.supernet.select(self.archs[self.visits[index].numbers[0]])
        start = self._cuts[-1].depth if self._cuts else 0
        x = self._cuts[-1].leaf if self._cuts else self.inputs
        ends = self._ends(index)
        with self.context():
            for depth, stage in enumerate(self.chain.stages[start:], start=start + 1):
                x = stage.run(x)
                if depth in ends:
                    x = self._cut(depth, x)
        return x

    def _ends(self, index: int) -> set[int]:
        """The depths at which networks yet to come part from this one, beyond where it parted from the one before."""
        ends, least = set[int](), math.inf
        for later in self.visits[index + 1 :]:
            least = min(least, later.shared)
            if least <= self.visits[index].shared:
                break
            ends.add(int(least))
        return ends

    def _cut(self, depth: int, output: Tensor) -> Tensor:
        leaf = output
        if self.gathered is not None and output.requires_grad:
            leaf = output.detach().requires_grad_()
            self.leaves.append(leaf)
        self._cuts.append(_Cut(depth, output, leaf, [] if self.gathered is None else self.gathered.hold()))
        return leaf

    def _leave(self, depth: int) -> None:
        """Forgets what is deeper; what came back to it goes through what networks shared."""
        while self._cuts and self._cuts[-1].depth > depth:
            cut = self._cuts.pop()
            if self.gathered is None or cut.leaf is cut.output:
                continue
            self.leaves.pop()
            self.gathered.take_back(cut.pieces)
            if cut.leaf.grad is not None:
                cut.output.backward(cut.leaf.grad)
            self.gathered.add_up()
