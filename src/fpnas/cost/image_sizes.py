"""The size of the input as one more choice of a search: the space with it, and what networks cost at each size.

A cost over sizes has the tables of each size side by side, so that whatever is exact for one size is so for all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from fpnas.cost.elimination import Factor
from fpnas.cost.latency import Latency, LatencyTable
from fpnas.cost.models import CostModel, FromTables, Tabled
from fpnas.cost.tables import AdditiveCost, MaxCost
from fpnas.errors import InputError
from fpnas.space import Choice, SearchSpace

SIZE = "input.size"
"""The choice of the input's size, pixels a side."""


def known_sizes(sizes: Iterable[int]) -> tuple[int, ...]:
    """The sizes, rising.

    Raises:
        InputError: fewer than two, one twice, or none of a pixel or more.
    """
    found = tuple(sorted(sizes))
    if len(found) < 2 or len(set(found)) < len(found) or found[0] < 1:
        got = ", ".join(map(str, found)) or "none"
        raise InputError("two different image sizes or more, such as 48, 64 and 96", got, "of one give the image size")
    return found


def with_sizes(space: SearchSpace, sizes: Iterable[int]) -> SearchSpace:
    """The space with the size of the input as its first choice; `InputError` as in `known_sizes`."""
    return SearchSpace([Choice(SIZE, known_sizes(sizes)), *space.choices])


class AtSizes(FromTables[AdditiveCost | MaxCost]):
    """The cost of an architecture and its input's size, of which each has tables of its own.

    Args:
        models: size in pixels -> the cost model of networks at that size, all of one kind and one supernet.

    Raises:
        InputError: fewer than two sizes, or a cost that isn't known from tables.

    Example:
        >>> from fpnas import Flops, spaces
        >>> net = spaces.tiny(in_channels=3)
        >>> cost = AtSizes({size: Flops(net, (3, size, size)) for size in (48, 64)})
        >>> cost.of({"input.size": 48, **net.arch}) == Flops(net, (3, 48, 48)).of(net.arch)
        True
    """

    def __init__(self, models: Mapping[int, CostModel]) -> None:
        self.models = {size: models[size] for size in known_sizes(models)}
        first = next(iter(self.models.values()))
        space, self.name = with_sizes(first.space, models), first.name
        super().__init__(space, _beside_each_other(space, [_table(model) for model in self.models.values()]))


class LatencyAtSizes(AtSizes):
    """Milliseconds at each size.

    Args:
        models: see `AtSizes`; their tables were measured under the same conditions.
    """

    def __init__(self, models: Mapping[int, Latency]) -> None:
        super().__init__(models)
        ordered = [models[size] for size in known_sizes(models)]
        tables = [model.used for model in ordered]
        operations = {name: ms for table in tables for name, ms in table.operations.items()}
        fits = {key: fit for table in tables for key, fit in table.fits.items()}
        self.used: LatencyTable = replace(tables[0], operations=operations, fits=fits)
        """What the models read, which is enough to make them again."""
        self.digest = hashlib.blake2b("\n".join(model.digest for model in ordered).encode(), digest_size=8).hexdigest()
        """Of the numbers, as that of `Latency`."""


def over_sizes(make: Callable[[int], CostModel], sizes: Iterable[int]) -> AtSizes:
    """The cost over sizes of what `make` makes for one."""
    models = {size: make(size) for size in sizes}
    latencies = {size: model for size, model in models.items() if isinstance(model, Latency)}
    return LatencyAtSizes(latencies) if len(latencies) == len(models) > 0 else AtSizes(models)


def at_one_size(cost: CostModel) -> CostModel:
    """The model itself, of a cost over sizes that of the largest."""
    return [*cost.models.values()][-1] if isinstance(cost, AtSizes) else cost


def _table(model: CostModel) -> AdditiveCost | MaxCost:
    table = model.table if isinstance(model, Tabled) else None
    if not isinstance(table, AdditiveCost | MaxCost):
        raise InputError("a cost that is known from tables, for several image sizes", model.name, "take one size")
    return table


def _beside_each_other(space: SearchSpace, tables: Sequence[AdditiveCost | MaxCost]) -> AdditiveCost | MaxCost:
    """One table of all sizes: each factor reads the size as well, and at other sizes than its own is 0."""
    factors: list[Factor] = []
    for number, table in enumerate(tables):
        for factor in (*table.factors, Factor((), np.asarray(table.constant))):
            whole = np.zeros((len(tables), *factor.table.shape))
            whole[number] = factor.table
            factors.append(Factor((0, *(variable + 1 for variable in factor.scope)), whole))
    sums = [table for table in tables if isinstance(table, AdditiveCost)]
    if len(sums) == len(tables):
        return AdditiveCost(space, factors)
    peaks = [table for table in tables if isinstance(table, MaxCost)]
    beside = [AdditiveCost(peak.space, []) if peak.beside is None else peak.beside for peak in peaks]
    on_top = _beside_each_other(space, beside)
    assert isinstance(on_top, AdditiveCost)
    return MaxCost(space, factors, beside=on_top)
