"""Latency in ms as a cost model: a sum over operations, each looked up in a table that was measured beforehand.

Nothing is timed here: `measure` does that, and the shell hands it a clock and keeps the tables.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fpnas.cost.latency.latency_table import LatencyTable
from fpnas.cost.latency.operations import OperationSite, distinct_operations, operation_sites
from fpnas.cost.models import SummedCost
from fpnas.cost.tables import AdditiveCost, sum_of_shares
from fpnas.elastic import Supernet
from fpnas.space import Choice, Option, SearchSpace


class AdditiveLatency(SummedCost):
    """A latency in ms that is a sum of tables over the choices of a space."""

    name = "ms"

    def __init__(self, space: SearchSpace, table: AdditiveCost, device: str) -> None:
        super().__init__(space, table)
        self.device = device


class Latency(AdditiveLatency):
    """Milliseconds of a forward pass of the extracted network: eval mode, no gradient, float32, channels_last.

    Device, batch size and threads are those of the table. Where a part of the supernet has more than
    `operations.MAX_EXACT` variants, its wide choices are measured at `operations.POINTS` options and interpolated
    linearly between these.

    Args:
        supernet: the supernet; the meta device will do.
        input_shape: of one example, (C, H, W).
        table: with the latency of every operation; `fpnas.latency_table` measures it.

    Raises:
        InputError: the table lacks an operation, or the supernet can't take `input_shape`.
    """

    def __init__(self, supernet: Supernet, input_shape: tuple[int, ...], table: LatencyTable) -> None:
        sites = operation_sites(supernet, input_shape)
        self.used = table.only(distinct_operations(supernet, sites))
        """The part of the table that this model reads, which is enough to make it again."""
        ms = {site: site.repeats * _over_scope(site, self.used.operations) for site in dict.fromkeys(sites)}
        shares = ((site.scope, ms[site], site.conditions) for site in sites)
        super().__init__(supernet.space, sum_of_shares(supernet.space, shares), table.device)

    @property
    def digest(self) -> str:
        """Of the numbers: equal digests are equal models of one space and input."""
        lines = [f"batch {self.used.batch_size}"]
        lines += [f"{name}\t{ms.hex()}" for name, ms in sorted(self.used.operations.items())]
        return hashlib.blake2b("\n".join(lines).encode(), digest_size=8).hexdigest()


def arch_latency(
    supernet: Supernet, arch: Mapping[str, Option], input_shape: tuple[int, ...], table: LatencyTable
) -> list[tuple[str, int, float]]:
    """The operations of one architecture: name, how often it runs, and the ms of all its runs.

    Interpolated where `Latency` would, if the table allows that; else the table must hold the operation itself.

    Raises:
        InputError: the table lacks one.
    """
    sites = [site for site in operation_sites(supernet, input_shape) if site.runs(arch)]
    counts: dict[str, int] = {}
    ms = dict(table.operations)
    for site in sites:
        name = site.name(arch)
        counts[name] = counts.get(name, 0) + site.repeats
        if site.thinned and all(pick is None or site.name(pick) in table.operations for pick in site.picks()):
            place = tuple(choice.index(arch[choice.name]) for choice in site.scope)
            ms[name] = float(_over_scope(site, table.operations)[place])
    replace(table, operations=ms).only(counts)
    return [(name, count, count * ms[name]) for name, count in counts.items()]


def _over_scope(site: OperationSite, ms: Mapping[str, float]) -> NDArray[np.float64]:
    """The ms over the product of the scope's options, interpolated where not all of them are measured."""
    measured = site.measured
    rows = [0.0 if pick is None else ms[site.name(pick)] for pick in site.picks()]
    table = np.array(rows).reshape([len(options) for options in measured])
    for axis, (choice, options) in enumerate(zip(site.scope, measured, strict=True)):
        if len(options) < len(choice.options):
            table = np.moveaxis(np.tensordot(_weights(choice, options), table, axes=(1, axis)), 0, axis)
    return table


def _weights(choice: Choice, measured: Sequence[Option]) -> NDArray[np.float64]:
    """(options, measured): each option as a mean of its measured neighbours, linear in its value."""
    values, points = np.array(choice.options, dtype=np.float64), np.array(measured, dtype=np.float64)
    order = np.argsort(points)
    hats = [np.interp(values, points[order], np.eye(len(points))[number][order]) for number in range(len(points))]
    return np.stack(hats, axis=1)
