"""The operations whose latency is measured: which there are, and on which choices each depends.

An operation is the largest part of a module within which nothing is switched and which reads few choices: a
convolution with its norm and activation, a whole squeeze-excite, a linear layer. Beside these count the sums that
structures declare (`ElasticStructure.sums`), and what the forward of a plain module calls by itself, such as a
pooling, at the shapes that were seen.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any

import torch
from torch import nn

from fpnas.cost.latency import standalone
from fpnas.cost.latency.standalone import Shape, elastic_members, flat
from fpnas.cost.recorder import Call, TensorLike, recording
from fpnas.elastic import ElasticModule, ElasticStructure, Supernet
from fpnas.elastic.dims import Dim, choices_in, resolve
from fpnas.elastic.submodules import Condition, Part, children, holds, is_leaf, parts_of, satisfy
from fpnas.errors import SupernetError
from fpnas.space import Choice, Option

MAX_EXACT = 700
"""Combinations of a part's options up to which each is measured; above, wide choices are thinned."""

MAX_MEASURED = 100_000
"""Combinations of an operation's measured options that are too many."""

POINTS = 5
"""Options that are measured of a thinned choice; between them latency is interpolated."""


@dataclass(frozen=True)
class OperationSite:
    """An operation in its place.

    Args:
        template: its name, with a place for the value of each of `dims`.
        dims: what it depends on.
        build: makes it for an architecture.
        conditions: all must hold for it to run.
        repeats: how often it runs in a forward pass.
    """

    template: str
    dims: tuple[Dim, ...]
    build: standalone.Build = field(compare=False)
    conditions: tuple[Condition, ...] = ()
    repeats: int = 1

    @property
    def scope(self) -> tuple[Choice, ...]:
        """The choices on which its name depends."""
        return _choices_of(self.dims)

    @property
    def measured(self) -> list[tuple[Option, ...]]:
        """The options of each choice of the scope at which it is measured: all, or some where there are many.

        Raises:
            SupernetError: there are too many even so, as of a layer that reads many widths side by side.
        """
        found = _thinned(self.scope)
        if math.prod(len(row) for row in found) > MAX_MEASURED:
            got = f"one on {len(self.scope)}: {self.template}"
            fix = "set a budget of FLOPs or parameters, or let fewer widths vary"
            raise SupernetError("operations that hang on few choices", got, fix)
        return found

    @property
    def thinned(self) -> set[Choice]:
        """The choices of the scope that are measured at some of their options alone."""
        rows = zip(self.scope, self.measured, strict=True)
        return {choice for choice, kept in rows if len(kept) < len(choice.options)}

    def picks(self) -> Iterator[dict[str, Option] | None]:
        """The product of `measured`, in order; None for combinations under which it never runs.

        Of conditions on thinned choices nothing is asked: what lies between two measured options may run.
        """
        conditions = tuple(c for c in self.conditions if self.thinned.isdisjoint(choices_in(c[0])))
        names = [choice.name for choice in self.scope]
        for row in itertools.product(*self.measured):
            pick = dict(zip(names, row, strict=True))
            yield pick if satisfy(conditions, pick) is not None else None

    def name(self, arch: Mapping[str, Option]) -> str:
        """Its name under an architecture."""
        return self.template.format(*(resolve(dim, arch) for dim in self.dims))

    def runs(self, arch: Mapping[str, Option]) -> bool:
        """Whether it runs under `arch`."""
        return holds(self.conditions, arch)


@dataclass(frozen=True)
class Operation:
    """An operation to measure: its name, and how to make it for a batch size and a device."""

    name: str
    build: Callable[[int, torch.device], standalone.Runnable] = field(compare=False)


def operation_sites(supernet: Supernet, input_shape: tuple[int, ...]) -> tuple[OperationSite, ...]:
    """All operations of a supernet at an input shape (C, H, W).

    Raises:
        InputError: the supernet can't take `input_shape`.
        SupernetError: an operation can't be called by itself.
    """
    seen: dict[str, _Seen] = {}
    with recording(supernet, input_shape, alike=attrgetter("arguments", "options"), functions=True) as passes:
        for arch, part, calls in passes:
            if calls:
                seen.setdefault(part.path, _Seen(calls)).by_arch.append((arch, calls[0]))
    sites = [OperationSite(*standalone.of_empty_network())]
    for part in parts_of(supernet.module, _whole):
        sites += _sites_of(part, seen, supernet)
    return tuple(sites)


def distinct_operations(
    supernet: Supernet, sites: Sequence[OperationSite], arch: Mapping[str, Option] | None = None
) -> dict[str, Operation]:
    """The operations to measure, by name: those of the whole space, or those of one architecture."""
    found: dict[str, Operation] = {}
    rest = dict(supernet.arch)
    for site in dict.fromkeys(sites):
        for pick in site.picks() if arch is None else ([dict(arch)] if site.runs(arch) else []):
            if pick is not None and (name := site.name(pick)) not in found:
                found[name] = Operation(name, partial(site.build, rest | pick))
    return found


# ------------------------------------------------------------------------------------------ from modules to operations


def _whole(module: nn.Module) -> bool:
    """Whether a module is one operation: a leaf, or without switches inside and with few distinct arguments."""
    if is_leaf(module):
        return True
    if any(isinstance(member, ElasticStructure) for member in module.modules()):
        return False
    scope = _choices_of(dim for layer in elastic_members(module) for dim in layer.dims.values())
    return math.prod(len(options) for options in _thinned(scope)) <= MAX_EXACT


def _choices_of(dims: Iterable[Dim]) -> tuple[Choice, ...]:
    return tuple(dict.fromkeys(choice for dim in dims for choice in choices_in(dim)))


def _thinned(scope: Sequence[Choice]) -> list[tuple[Option, ...]]:
    options = [choice.options for choice in scope]
    if math.prod(len(row) for row in options) <= MAX_EXACT:
        return options
    return [_some(row) if all(isinstance(option, int | float) for option in row) else row for row in options]


def _some(options: tuple[Option, ...]) -> tuple[Option, ...]:
    """At most `POINTS` of them, evenly spread, both ends included."""
    if len(options) <= POINTS:
        return options
    return tuple(options[round(index * (len(options) - 1) / (POINTS - 1))] for index in range(POINTS))


@dataclass(frozen=True)
class _Seen:
    """Of a part: all its calls in the first forward pass that had one, and its first under each architecture."""

    first: list[Call]
    by_arch: list[tuple[Mapping[str, Option], Call]] = field(default_factory=list[tuple[Mapping[str, Option], Call]])


def _sites_of(part: Part, seen: Mapping[str, _Seen], supernet: Supernet) -> Iterator[OperationSite]:
    path, module, conditions = part.path, part.module, part.conditions
    if path not in seen:
        return  # no forward pass calls it: it is no part of any network
    first = seen[path].first
    if _whole(module):
        shapes = _input_shapes(module, seen[path].by_arch)
        if shapes is not None:
            yield OperationSite(*standalone.of_module(supernet, module, shapes), conditions, len(first))
            return
        if is_leaf(module):
            raise SupernetError("layers that take tensors or lists of them", f"{path} with others", "wrap it")
        for child in children(part):
            yield from _sites_of(child, seen, supernet)
    if not isinstance(module, ElasticStructure):
        for call in first:
            yield from (OperationSite(*standalone.of_function(function), conditions) for function in call.functions)
    elif module.sums is not None:
        happens, channels = module.sums
        shape = (channels, *first[0].output[2:])
        yield OperationSite(*standalone.of_sum(shape), (*conditions, (happens, frozenset({True}))))


def _input_shapes(module: nn.Module, calls: Sequence[tuple[Mapping[str, Option], Call]]) -> standalone.Inputs | None:
    """The shapes of the inputs, channels as a `Dim`; None where they can't be told.

    The channels are the width of the first elastic module that has one, on the first axis that agrees with it each
    time; of a leaf's inputs that vary otherwise, such as a state, another of its arguments.
    """
    rows = [list(flat(call.arguments)) for _, call in calls]
    if any(call.options for _, call in calls) or len({len(row) for row in rows}) > 1:
        return None
    width = next((member.width for member in elastic_members(module) if member.width is not None), None)
    others = module.dims.values() if isinstance(module, ElasticModule) else ()
    shapes: list[Shape | None] = []
    for column in zip(*rows, strict=True):
        if all(item is None for item in column):
            shapes.append(None)
            continue
        seen = [item.shape[1:] for item in column if isinstance(item, TensorLike)]
        if len(seen) < len(column) or len({len(shape) for shape in seen}) > 1:
            return None
        shape: Shape = seen[0]
        if width is not None:
            varies = is_leaf(module) and any(other != shape for other in seen)
            dims = [dim for dim in (width, *(others if varies else ())) if choices_in(dim)]
            wanted = [(dim, [resolve(dim, arch) for arch, _ in calls]) for dim in dims]
            fits = next((found for dim, row in wanted if (found := _with_channels(seen, dim, row)) is not None), None)
            if fits is None and (varies or (dims and not is_leaf(module))):
                return None
            shape = fits or shape
        shapes.append(shape)
    left = iter(shapes)
    arguments = calls[0][1].arguments
    return tuple([next(left) for _ in a] if isinstance(a, list | tuple) else next(left) for a in arguments)


def _with_channels(seen: Sequence[tuple[int, ...]], dim: Dim, wanted: Sequence[Any]) -> Shape | None:
    """The shape with `dim` on the first axis that has its value each time; None where there is none."""
    first = seen[0]
    for axis in range(len(first)) if len(first) != 2 else (1, 0):  # (tokens, features)
        if [shape[axis] for shape in seen] == wanted:
            return *first[:axis], dim, *first[axis + 1 :]
    return None
