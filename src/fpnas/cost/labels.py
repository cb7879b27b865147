"""The architecture of the least price within several sums: exact, by labels (partial architectures) in a race.

Cells of choices are decided one after another. Of all labels that look alike to the undecided rest only those stay that
no other beats in the price and in each sum. A label also goes when the rest must exceed a limit, or when it can't come
below the best price that is known: by a bound of Lagrange, prices plus multiples of the sums, which is exact for the
rest by dynamic programming. What must not exceed a limit at any place, such as memory, is an infinite price there;
where a sum comes on top of the greatest, a label carries both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fpnas.cost.elimination import Factor, Join, joined, least
from fpnas.cost.tables import AdditiveCost, MaxCost
from fpnas.space import SearchSpace

MAX_LABELS = 4_000_000
"""Labels in the race at which the search gives up."""

BEAM = 2_000
"""Labels of a first race, which finds a good architecture to beat."""

_CHUNK = 1_000_000
_STEPS = 60
_COMPARED = 256

Floats = NDArray[np.float64]
Codes = tuple[int, ...]


class TooManyLabels(Exception):
    """More than `MAX_LABELS` stay in the race."""


@dataclass(frozen=True)
class Limit:
    """What a table may come to at most."""

    table: AdditiveCost | MaxCost
    target: float

    def met(self, codes: NDArray[Any]) -> NDArray[np.bool_]:
        """Of each architecture, as everyone else computes its cost."""
        return (self.table(torch.from_numpy(codes)) <= self.target).numpy()


def cheapest(
    space: SearchSpace,
    cells: Sequence[tuple[int, ...]],
    price: Sequence[Factor],
    limits: Sequence[Limit],
    known: Codes | None = None,
) -> Codes | None:
    """The codes of the least price within all limits; None where nothing meets these.

    Args:
        space: of the architectures.
        cells: in the order in which they are decided; together all choices.
        price: summed.
        limits: all must be met.
        known: an architecture that meets them, to be beaten; where none is cheaper, the answer.

    Raises:
        TooManyLabels: exactness would take too much memory.
    """
    prices = [*price]
    for limit in limits:
        if isinstance(limit.table, MaxCost):
            most = limit.target - (0.0 if limit.table.beside is None else limit.table.beside.extreme(1)[0])
            if limit.table.constant > most:
                return None
            prices += limit.table.above(most)
    race = _Race(space, cells, prices, limits, known)
    if race.settled():
        return race.best
    race.run(BEAM)
    race.run(None)
    return race.best


class _Race:
    """The search, and the best architecture so far."""

    def __init__(
        self,
        space: SearchSpace,
        cells: Sequence[tuple[int, ...]],
        price: list[Factor],
        limits: Sequence[Limit],
        known: Codes | None,
    ) -> None:
        self.space, self.cells, self.price, self.limits = space, cells, price, limits
        self.sums = [(each.table, each.target) for each in limits if isinstance(each.table, AdditiveCost)]
        self.peaks: list[tuple[MaxCost, int, float]] = []
        """With sums on top: of each the number of its sum, and the target of both together."""
        for each in limits:
            if isinstance(each.table, MaxCost) and each.table.beside is not None:
                self.peaks.append((each.table, len(self.sums), each.target))
                low = least(space, each.table.factors, np.maximum, each.table.constant)[0]
                self.sums.append((each.table.beside, each.target - low))
        self.best: Codes | None = None
        self.best_price = math.inf
        self.multiples = np.zeros(len(self.sums))
        if known is not None:
            self._offer(np.array([known]), np.array([self._price_of(known)]))

    def _price_of(self, codes: Codes) -> float:
        return sum(float(factor.table[tuple(codes[v] for v in factor.scope)]) for factor in self.price)

    def _offer(self, codes: NDArray[np.int64], prices: Floats) -> None:
        met = np.isfinite(prices)
        for limit in self.limits:
            met &= limit.met(codes)
        if met.any():
            first = int(np.where(met, prices, np.inf).argmin())
            if prices[first] < self.best_price:
                self.best, self.best_price = tuple(codes[first].tolist()), float(prices[first])

    def _penalised(self, multiples: Floats) -> list[Factor]:
        """Prices and the sums, as shares of their targets, times their multiples."""
        found = [*self.price]
        for (table, target), multiple in zip(self.sums, multiples, strict=True):
            if multiple > 0:
                found += [Factor(f.scope, f.table * (multiple / target)) for f in table.factors]
        return found

    def settled(self) -> bool:
        """Looks for the multiples of the greatest bound, by subgradients; whether that bound leaves nothing to look
        for: the best is proved, or nothing meets the limits."""
        multiples, bound, stall = self.multiples.copy(), -math.inf, 0
        for _ in range(_STEPS if self.sums else 1):
            value, codes = least(self.space, self._penalised(multiples), np.add)
            if value == math.inf:
                return True
            row = np.array([codes])
            shares = [float(table(torch.from_numpy(row))) / target for table, target in self.sums]
            fixed = [table.constant / target for table, target in self.sums]
            low = value + float(multiples @ (np.array(fixed) - 1.0)) if self.sums else value
            self._offer(row, np.array([self._price_of(codes)]))
            if low > bound:
                bound, self.multiples, stall = low, multiples, 0
            else:
                stall += 1
            if not bound < self.best_price - _slack(self.best_price):
                return True
            slope = np.array(shares) - 1.0
            if not self.sums or not np.any(slope):
                break
            aim = self.best_price if math.isfinite(self.best_price) else bound + max(1.0, 0.1 * abs(bound))
            step = 0.5 ** (stall // 4) * (aim - low) / float(slope @ slope)
            multiples = np.maximum(multiples + step * slope, 0.0)
        return False

    def run(self, beam: int | None) -> None:
        """Decides all cells; with a beam only so many labels stay, the most promising."""
        space, cells = self.space, self.cells
        price = _Plan(space, cells, self.price)
        bound = _Plan(space, cells, self._penalised(self.multiples))
        plans = [_Plan(space, cells, table.factors) for table, _ in self.sums]
        peak_plans = [_Plan(space, cells, table.factors, np.maximum) for table, _, _ in self.peaks]
        targets = np.array([target for _, target in self.sums])
        slack = 1e-9 * np.maximum(1.0, np.abs(targets))
        codes = np.zeros((1, len(space)), dtype=np.int64)
        prices, costs = np.zeros(1), np.array([[table.constant for table, _ in self.sums]])
        peaks = np.array([[table.constant for table, _, _ in self.peaks]])
        for number, cell in enumerate(cells):
            options = np.array(list(np.ndindex(*(space.cardinalities[v] for v in cell))))
            limit = self.best_price - _slack(self.best_price)
            kept: list[tuple[NDArray[np.int64], Floats, Floats, Floats, Floats]] = []
            share = max(1, _CHUNK // len(options))
            for start in range(0, len(codes), share):
                part = slice(start, start + share)
                rows = np.repeat(codes[part], len(options), axis=0)
                rows[:, list(cell)] = np.tile(options, (len(codes[part]), 1))
                row_prices = price.added(number, rows, np.repeat(prices[part], len(options)))
                row_costs = np.repeat(costs[part], len(options), axis=0)
                row_peaks = np.repeat(peaks[part], len(options), axis=0)
                stays = np.ones(len(rows), dtype=bool)
                for index, plan in enumerate(plans):
                    row_costs[:, index] = plan.added(number, rows, row_costs[:, index])
                    stays &= row_costs[:, index] + plan.rest(number, rows) <= targets[index] + slack[index]
                for index, (plan, (_, own, target)) in enumerate(zip(peak_plans, self.peaks, strict=True)):
                    greatest = plan.added(number, rows, row_peaks[:, index])
                    row_peaks[:, index] = np.maximum(greatest, plan.rest(number, rows))  # what it comes to at least
                    both = row_peaks[:, index] + row_costs[:, own] + plans[own].rest(number, rows)
                    stays &= both <= target + slack[own]
                lows = row_prices + bound.rest(number, rows) + (row_costs / targets - 1.0) @ self.multiples
                stays &= lows < limit
                kept.append((rows[stays], row_prices[stays], row_costs[stays], row_peaks[stays], lows[stays]))
                if beam is None and sum(len(each[0]) for each in kept) > MAX_LABELS:
                    raise TooManyLabels
            if not any(len(each[0]) for each in kept):
                return
            codes = np.concatenate([each[0] for each in kept])
            prices, costs, peaks, lows = (
                np.concatenate(each) for each in zip(*(each[1:] for each in kept), strict=True)
            )
            every = (*plans, *peak_plans)
            frontier = sorted(set(price.frontiers[number]).union(*(plan.frontiers[number] for plan in every)))
            left = _undominated(codes[:, frontier], prices, np.concatenate([costs, peaks], axis=1))
            if beam is not None and len(left) > beam:
                left = left[np.argsort(lows[left], kind="stable")[:beam]]
            codes, prices, costs, peaks = codes[left], prices[left], costs[left], peaks[left]
        self._offer(codes, prices)


def _slack(value: float) -> float:
    return 1e-10 * max(1.0, abs(value)) if math.isfinite(value) else 0.0


class _Plan:
    """For each cell, in order: factors it completes, choices that later factors still read, the least of these."""

    def __init__(
        self, space: SearchSpace, cells: Sequence[tuple[int, ...]], factors: Sequence[Factor], join: Join = np.add
    ) -> None:
        self._join = join
        cell_of = {v: number for number, cell in enumerate(cells) for v in cell}
        last = [max(cell_of[v] for v in factor.scope) for factor in factors]
        self._completed = [[f for f, at in zip(factors, last, strict=True) if at == n] for n in range(len(cells))]
        self.frontiers: list[tuple[int, ...]] = []
        for number in range(len(cells)):
            open_factors = [f for f, at in zip(factors, last, strict=True) if at > number]
            self.frontiers.append(tuple(sorted({v for f in open_factors for v in f.scope if cell_of[v] <= number})))
        # Backwards: the least of the rest, for each setting of the frontier.
        self._rests: list[Floats] = [np.zeros(())] * len(cells)
        for number in range(len(cells) - 1, 0, -1):
            parts: list[tuple[tuple[int, ...], Floats]] = [(f.scope, f.table) for f in self._completed[number]]
            parts.append((self.frontiers[number], self._rests[number]))
            before = self.frontiers[number - 1]
            inner = tuple(sorted({v for scope, _ in parts for v in scope} - set(before)))
            scope = (*before, *inner)
            total = np.broadcast_to(joined(parts, scope, join), [space.cardinalities[v] for v in scope])
            self._rests[number - 1] = total.min(axis=tuple(range(len(before), len(scope)))) if inner else total

    def added(self, number: int, codes: NDArray[np.int64], sums: Floats) -> Floats:
        """The sums with what a cell completes."""
        for factor in self._completed[number]:
            sums = self._join(sums, factor.table[tuple(codes[:, v] for v in factor.scope)])
        return sums

    def rest(self, number: int, codes: NDArray[np.int64]) -> Floats:
        """What the cells after this one add at least."""
        return self._rests[number][tuple(codes[:, v] for v in self.frontiers[number])]


def _undominated(states: NDArray[np.int64], prices: Floats, costs: Floats) -> NDArray[np.int64]:
    """Indices of labels that hardly any other with the same state beats or equals in the price and in each cost: with
    one cost exactly those that none does, with more those that none of the best few does."""
    _, state = np.unique(states, axis=0, return_inverse=True) if states.shape[1] else (None, np.zeros(len(prices), int))
    state = state.ravel()
    order = np.lexsort((*costs.T, prices, state))
    state, costs = state[order], costs[order]
    keep = np.ones(len(order), dtype=bool)
    # Within a state, by rising price: a label stays if it is cheaper in some cost than each before it.
    starts = np.flatnonzero(np.r_[True, state[1:] != state[:-1]])
    for start, stop in zip(starts, np.r_[starts[1:], len(order)], strict=True):
        own = costs[start:stop]
        if own.shape[1] == 0:
            keep[start + 1 : stop] = False
        elif own.shape[1] == 1:
            keep[start + 1 : stop] = own[1:, 0] < np.minimum.accumulate(own[:, 0])[:-1]
        else:
            keep[start:stop] = _few_dominated(own)
    return order[keep]


def _few_dominated(costs: Floats) -> NDArray[np.bool_]:
    keep = np.ones(len(costs), dtype=bool)
    at = 0
    for _ in range(_COMPARED):
        left = np.flatnonzero(keep[at:])
        if len(left) < 2:
            break
        at += int(left[0])
        keep[at + 1 :] &= (costs[at + 1 :] < costs[at]).any(axis=1)
        at += 1
    return keep
