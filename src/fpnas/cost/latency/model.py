"""Latency in ms as a cost model: a sum over operations, each looked up in a table that was measured beforehand.

Nothing is timed here: `measure` does that, and the shell hands it a clock and keeps the tables.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fpnas.cost.latency.latency_table import Fit, LatencyTable
from fpnas.cost.latency.operations import OperationSite, distinct_operations, operation_sites
from fpnas.cost.models import FromTables
from fpnas.cost.tables import AdditiveCost, sum_of_shares
from fpnas.elastic import Supernet
from fpnas.space import Choice, Option, SearchSpace


class AdditiveLatency(FromTables[AdditiveCost]):
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
        self.fit = self.used.fit(self.used.operations)
        factor, constant = self.fit.factor, self.fit.constant
        shares = ((site.scope, factor * ms[site], site.conditions) for site in sites)
        fitted = [((), constant, ())] if constant else []
        super().__init__(supernet.space, sum_of_shares(supernet.space, [*shares, *fitted]), table.device)

    @property
    def digest(self) -> str:
        """Of the numbers: equal digests are equal models of one space and input."""
        lines = [f"batch {self.used.batch_size}"]
        lines += [f"{name}\t{ms.hex()}" for name, ms in sorted(self.used.operations.items())]
        if self.fit != Fit():
            lines.append(f"{self.fit.factor.hex()} * sum + {self.fit.constant.hex()}")
        return hashlib.blake2b("\n".join(lines).encode(), digest_size=8).hexdigest()


def arch_latency(
    supernet: Supernet, arch: Mapping[str, Option], input_shape: tuple[int, ...], table: LatencyTable
) -> list[tuple[str, int, float]]:
    """The operations of one architecture: name, how often it runs, and the ms of all its runs.

    Interpolated where `Latency` would, if the table allows that; else the table must hold the operation itself. Where
    the table has a fit for the space, ms are times its factor, and its constant comes last.

    Raises:
        InputError: the table lacks one.
    """
    everywhere = operation_sites(supernet, input_shape)
    sites = [site for site in everywhere if site.runs(arch)]
    counts: dict[str, int] = {}
    ms = dict(table.operations)
    for site in sites:
        name = site.name(arch)
        counts[name] = counts.get(name, 0) + site.repeats
        if site.thinned and all(pick is None or site.name(pick) in table.operations for pick in site.picks()):
            place = tuple(choice.index(arch[choice.name]) for choice in site.scope)
            ms[name] = float(_over_scope(site, table.operations)[place])
    replace(table, operations=ms).only(counts)
    fit = table.fit(distinct_operations(supernet, everywhere)) if table.fits else Fit()
    rows = [(name, count, fit.factor * count * ms[name]) for name, count in counts.items()]
    return rows + ([("the rest, fitted to whole networks", 1, fit.constant)] if fit.constant else [])


def fitted(sums: Sequence[float], whole: Sequence[float]) -> Fit:
    """The factor and the constant, of 0 or more, with the least squared relative error.

    Args:
        sums: ms of each network, summed.
        whole: ms of each, measured.
    """
    summed, real = np.array(sums), np.array(whole)
    if not len(sums) or not (summed > 0).all() or not (real > 0).all():
        return Fit()
    share = summed / real
    ones = np.ones_like(share)
    if np.ptp(summed) > 0.1 * summed.mean():
        factor, constant = np.linalg.lstsq(np.stack([share, 1 / real], axis=1), ones, rcond=None)[0]
        if factor > 0 and constant >= 0:
            return Fit(float(factor), float(constant), len(sums))
    return Fit(float(share.sum() / (share**2).sum()), 0.0, len(sums))


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
