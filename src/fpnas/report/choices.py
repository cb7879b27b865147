"""distribution.jsonl: how probable each option of each choice was at the end of each epoch, and what was sampled.

A cell's logits are those of the product of its choices' options, the last choice varying fastest (see `distribution`);
a choice's own probabilities are the sums over the others. Costs and scores come with each epoch's samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fpnas.report.reading import Column, Json, mapping, number, read_lines, sequence

MAX_CHOICES = 10_000
MAX_OPTIONS = 1_000_000
COLUMNS = 40
"""Columns of a heat map at most."""


@dataclass(frozen=True)
class ChoiceHistory:
    """One choice: its options and their probabilities, (epochs, options)."""

    name: str
    options: tuple[str, ...]
    probability: Column

    @property
    def group(self) -> str:
        """The part of the name before the last dot."""
        return self.name.rpartition(".")[0] or self.name

    @property
    def variable(self) -> str:
        """The part after it."""
        return self.name.rpartition(".")[2]


def _none() -> Column:
    return np.zeros(0)


@dataclass(frozen=True)
class Samples:
    """All sampled architectures whose score and cost are known.

    Args:
        epoch, cost, score: of each; score is the mean log-likelihood an image, on the batch of its step.
        codes: of those that no other of the same epoch beats in both, by index; the others' aren't kept.
        total: how many were sampled in all.
    """

    epoch: Column = field(default_factory=_none)
    cost: Column = field(default_factory=_none)
    score: Column = field(default_factory=_none)
    codes: dict[int, tuple[int, ...]] = field(default_factory=dict[int, tuple[int, ...]])
    total: int = 0


@dataclass(frozen=True)
class History:
    """distribution.jsonl.

    Args:
        epochs: the epochs that follow, (E,).
        choices: each with E rows.
        samples: of all epochs.
    """

    epochs: Column = field(default_factory=_none)
    choices: tuple[ChoiceHistory, ...] = ()
    samples: Samples = field(default_factory=Samples)


def read_history(path: Path, problems: list[str]) -> History:
    """distribution.jsonl of a run, as far as it can be read."""
    epochs: list[float] = []
    tables: list[list[Column]] = []
    options: dict[str, list[str]] = {}
    parts: list[tuple[Column, Column, Column]] = []
    codes_kept: dict[int, tuple[int, ...]] = {}
    kept = total = odd = 0
    for line in read_lines(path, problems):
        choices = mapping(line.get("choices"))
        named = {name: [str(option) for option in sequence(given)] for name, given in choices.items()}
        table = None if options and named != options else _marginals(line, [len(labels) for labels in named.values()])
        if table is None:
            odd += 1
        else:
            options = named
            epochs.append(number(line.get("epoch")))
            tables.append(table)
        epoch, cost, score, codes = _sampled(line)
        total += len(codes)
        known = np.flatnonzero(np.isfinite(cost) & np.isfinite(score))
        parts.append((np.full(len(known), epoch), cost[known], score[known]))
        for index in front(cost[known], score[known]):
            codes_kept[kept + index] = _code(codes[int(known[index])])
        kept += len(known)
    if odd:
        problems.append(f"{odd} lines of {path.name} hold logits that don't fit their choices; they aren't shown")
    histories = tuple(
        ChoiceHistory(name, tuple(labels), np.stack([table[index] for table in tables]))
        for index, (name, labels) in enumerate(options.items())
    )
    epoch, cost, score = map(np.concatenate, zip(*parts, strict=True)) if parts else [np.zeros(0)] * 3
    return History(np.array(epochs), histories, Samples(epoch, cost, score, codes_kept, total))


def front(cost: Column, score: Column) -> list[int]:
    """Indices of the points that no other beats in both, by rising cost (the Pareto front)."""
    order = np.lexsort((-score, cost))
    best = np.maximum.accumulate(score[order]) if len(order) else score
    keep = np.ones(len(order), dtype=bool)
    keep[1:] = score[order][1:] > best[:-1]
    return [int(index) for index in order[keep]]


def _marginals(line: Json, cards: list[int]) -> list[Column] | None:
    """The probabilities of each choice's options; None where partition, logits and options don't fit."""
    partition, logits = sequence(line.get("partition")), sequence(line.get("logits"))
    if not 0 < len(cards) <= MAX_CHOICES or len(partition) != len(logits):
        return None
    table: list[Column] = [np.zeros(0)] * len(cards)
    seen: list[int] = []
    for cell, row in zip(partition, logits, strict=True):
        members = [index for index in sequence(cell) if isinstance(index, int) and 0 <= index < len(cards)]
        shape = [cards[index] for index in members]
        if len(members) != len(sequence(cell)) or math.prod(shape) != len(sequence(row)) or len(row) > MAX_OPTIONS:
            return None
        values = np.array([number(value) for value in row])
        if not len(values) or not np.isfinite(values).all():
            return None
        weights = np.exp(values - values.max())
        joint = (weights / weights.sum()).reshape(shape)
        for axis, index in enumerate(members):
            table[index] = joint.sum(axis=tuple(other for other in range(len(members)) if other != axis))
        seen += members
    return table if sorted(seen) == list(range(len(cards))) else None


def _sampled(line: Json) -> tuple[float, Column, Column, list[Any]]:
    """Epoch, costs, scores and codes (as they came) of a line's samples, cut to the shortest of the lists."""
    samples = mapping(line.get("samples"))
    codes = sequence(samples.get("codes"))
    cost, score = _column(samples.get("cost")), _column(samples.get("score"))
    count = min(len(codes), len(cost), len(score))
    return number(line.get("epoch")), cost[:count], score[:count], codes[:count]


def _column(value: Any) -> Column:
    """A list of numbers, NaN for what is none; the quick way first, as there may be a million."""
    try:
        column = np.array(sequence(value), dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        column = np.array([number(item) for item in sequence(value)])
    return column if column.ndim == 1 else np.zeros(0)


def _code(row: Any) -> tuple[int, ...]:
    return tuple(code for code in sequence(row) if isinstance(code, int) and 0 <= code < MAX_OPTIONS)


def thin(history: History, columns: int = COLUMNS) -> tuple[list[Any], list[int]]:
    """At most so many epochs, first and last among them, and their indices."""
    picked = np.unique(np.linspace(0, len(history.epochs) - 1, columns).astype(np.int64)).tolist()
    return [history.epochs[index] for index in picked], picked
