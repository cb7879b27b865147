"""The submodules of a supernet, each in its place: under which conditions it runs, and architectures that show it.

One walk serves whatever counts or compares something; the caller says what to do at each place.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from torch import nn

from fpnas.elastic.base import ElasticStructure
from fpnas.elastic.checks import stays_whole
from fpnas.elastic.dims import Dim, choices_in, resolve
from fpnas.errors import SupernetError
from fpnas.space import Option, SearchSpace

Condition = tuple[Dim, frozenset[Any]]
"""A `Dim` and the values of it under which something runs."""


@dataclass(frozen=True)
class Part:
    """A module in its place; a module that has several names is a part under each.

    Args:
        path: its name within the module that was walked, "" for that itself.
        module: itself.
        conditions: all must hold for it to run.
        above: the ids of the modules that hold it, from the outermost in.
    """

    path: str
    module: nn.Module
    conditions: tuple[Condition, ...] = ()
    above: tuple[int, ...] = ()

    def runs(self, arch: Mapping[str, Option]) -> bool:
        """Whether it runs under `arch`."""
        return holds(self.conditions, arch)


def holds(conditions: Sequence[Condition], arch: Mapping[str, Option]) -> bool:
    """Whether all conditions hold under `arch`."""
    return all(resolve(dim, arch) in values for dim, values in conditions)


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is one in the extracted network, or holds no other."""
    return stays_whole(module) or next(module.children(), None) is None


def parts_of(module: nn.Module, whole: Callable[[nn.Module], bool] = is_leaf) -> Iterator[Part]:
    """The module itself and all within, each before what it holds; `whole` says into which not to look."""
    return _walk(Part("", module), whole)


def _walk(part: Part, whole: Callable[[nn.Module], bool]) -> Iterator[Part]:
    yield part
    if not whole(part.module):
        for child in children(part):
            yield from _walk(child, whole)


def children(part: Part) -> Iterator[Part]:
    """The parts that a part holds itself."""
    module, above = part.module, (*part.above, id(part.module))
    for local, child in _members(module):
        condition = module.condition(local) if isinstance(module, ElasticStructure) else None
        conditions = part.conditions if condition is None else (*part.conditions, condition)
        yield Part(f"{part.path}.{local}" if part.path else local, child, conditions, above)


def _members(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The children, under each of their names; those in a list or dict of modules count as the module's own."""
    for local, child in module._modules.items():  # pyright: ignore[reportPrivateUsage]
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from ((f"{local}.{key}", member) for key, member in _members(child))
        elif child is not None:
            yield local, child


def showing(space: SearchSpace, parts: Sequence[Part], seen: Container[str]) -> Iterator[Mapping[str, Option]]:
    """Architectures that between them run each part, then two that can contradict them: one at the small end of the
    choices, and one at mixed ends. `seen` holds the paths of the parts that have run, and grows meanwhile."""
    yield from _covering(space, parts, seen)
    yield space.decode([0] * len(space))
    yield space.decode([(n - 1) * (position % 2) for position, n in enumerate(space.cardinalities)])


def _covering(space: SearchSpace, parts: Sequence[Part], seen: Container[str]) -> Iterator[Mapping[str, Option]]:
    """Greedily, as many parts as agree and aren't seen yet."""
    waiting = {part.path: part.conditions for part in parts}
    while waiting:
        fixed: dict[str, Option] = {}
        aimed_at: set[str] = set()
        for path, conditions in waiting.items():
            pick = satisfy(conditions, fixed)
            if pick is not None:
                fixed.update(pick)
            if pick is not None or not fixed:
                aimed_at.add(path)  # where not even one alone can be satisfied, it never runs
        yield {choice.name: fixed.get(choice.name, choice.options[-1]) for choice in space.choices}
        # What was aimed at and still isn't seen is a module that forward doesn't call.
        waiting = {path: c for path, c in waiting.items() if path not in seen and path not in aimed_at}


def satisfy(conditions: Sequence[Condition], fixed: Mapping[str, Option]) -> dict[str, Option] | None:
    """Options that make all conditions hold and agree with `fixed`, or None."""
    if not conditions:
        return {}
    (dim, values), *rest = conditions
    choices = choices_in(dim)
    options = [(fixed[choice.name],) if choice.name in fixed else choice.options for choice in choices]
    for picked in itertools.product(*options):
        pick = {choice.name: option for choice, option in zip(choices, picked, strict=True)}
        if resolve(dim, pick) in values:
            more = satisfy(rest, {**fixed, **pick})
            if more is not None:
                return {**pick, **more}
    return None


class Called(Protocol):
    """A call of a module, seen while those with the ids `callers` were running, from the outermost in."""

    callers: tuple[int, ...]


Call = TypeVar("Call", bound=Called)


def dealt(
    parts: Iterable[Part],
    calls: Mapping[int, Sequence[Call]],
    arch: Mapping[str, Option],
    alike: Callable[[Call], object],
) -> Iterator[tuple[Part, list[Call]]]:
    """The parts that run under `arch`, each with its share of its module's calls in one forward pass of that.

    Args:
        parts: all that were looked at.
        calls: of each module, by its id, in order.
        arch: the architecture that ran.
        alike: equal for calls that may be exchanged.

    Raises:
        SupernetError: a module ran where its conditions forbid it, or the calls of one that has several names can't be
            told apart.
    """
    places: dict[int, list[Part]] = {}
    for part in parts:
        places.setdefault(id(part.module), []).append(part)
    for identity, group in places.items():
        found = list(calls.get(identity, []))
        running = [part for part in group if part.runs(arch)]
        if not running and found:
            got = f"{group[0].path!r}, which ran under {dict(arch)}"
            raise SupernetError("layers that run only when the structures above them say so", got, "use a Switch")
        if len(running) == 1:
            yield running[0], found
            continue
        if {call.callers for call in found} - {part.above for part in running}:
            got = f"{_names(running)}, one layer, called by none of the modules above"
            raise SupernetError("a shared layer that the modules which hold it call", got, "call it under one name")
        for above in dict.fromkeys(part.above for part in running):
            here = [part for part in running if part.above == above]
            yield from _evenly(here, [call for call in found if call.callers == above], alike)


def _evenly(parts: list[Part], calls: list[Call], alike: Callable[[Call], object]) -> Iterator[tuple[Part, list[Call]]]:
    """As many calls each, or one each in order."""
    share, left = divmod(len(calls), len(parts))
    if left or not (share == 1 or len(parts) == 1 or all(alike(call) == alike(calls[0]) for call in calls)):
        got = f"{_names(parts)}: one layer with {len(calls)} calls"
        raise SupernetError("calls of a shared layer that can be told apart", got, "call it under one name")
    for number, part in enumerate(parts):
        yield part, calls[number * share : (number + 1) * share]


def _names(parts: list[Part]) -> str:
    return " and ".join(repr(part.path) for part in parts)
