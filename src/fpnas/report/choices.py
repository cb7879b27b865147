"""distribution.jsonl: how probable each option of each choice was at the end of each epoch, and what was sampled.

A cell's logits are those of the product of its choices' options, the last choice varying fastest (see `distribution`);
a choice's own probabilities are the sums over the others. Costs and scores come with each epoch's samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Samples:
    """All sampled architectures whose score and cost are known.

    Args:
        epoch, cost, score: of each; score is the mean log-likelihood an image, on the batch of its step.
        codes: of those that no other of the same epoch beats in both, by index; the others' aren't kept.
        total: how many were sampled in all.
    """

    epoch: Column
    cost: Column
    score: Column
    codes: dict[int, tuple[int, ...]]
    total: int


@dataclass(frozen=True)
class History:
    """distribution.jsonl.

    Args:
        epochs: the epochs that follow, (E,).
        choices: each with E rows.
        samples: of all epochs.
    """

    epochs: Column
    choices: tuple[ChoiceHistory, ...]
    samples: Samples


def read_history(path: Path, arch: Json, problems: list[str]) -> History:
    """distribution.jsonl of a run whose arch.json is `arch`, as far as it can be read."""
    epochs: list[float] = []
    tables: list[list[Column]] = []
    names: list[str] = []
    options: list[list[str]] = []
    parts: list[tuple[Column, Column, Column]] = []
    codes_kept: dict[int, tuple[int, ...]] = {}
    kept = total = odd = 0
    for line in read_lines(path, problems):
        named = _named(line, names, options)
        cards = [len(labels) for labels in named[1]] or _guessed(line)
        table = None if names and named != (names, options) else _marginals(line, cards)
        if table is None or (tables and [len(row) for row in tables[0]] != [len(row) for row in table]):
            odd += 1
        else:
            names, options = named
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
    if tables and not names:
        problems.append(f"{path.name} doesn't name the options (an earlier version wrote it): they are numbered")
        winners = mapping(arch.get("choices"))
        names = list(winners) if len(winners) == len(tables[0]) else [f"choice {n + 1}" for n in range(len(tables[0]))]
        options = [[f"no. {n + 1}" for n in range(len(row))] for row in tables[0]]
    histories = (
        [
            ChoiceHistory(name, tuple(labels), np.stack([table[index] for table in tables]))
            for index, (name, labels) in enumerate(zip(names, options, strict=True))
        ]
        if tables
        else []
    )
    columns = [np.concatenate(column) if parts else np.zeros(0) for column in zip(*parts, strict=True)] if parts else []
    epoch, cost, score = columns or (np.zeros(0), np.zeros(0), np.zeros(0))
    return History(np.array(epochs), tuple(histories), Samples(epoch, cost, score, codes_kept, total))


def front(cost: Column, score: Column) -> list[int]:
    """Indices of the points that no other beats in both, by rising cost (the Pareto front)."""
    order = np.lexsort((-score, cost))
    best = np.maximum.accumulate(score[order]) if len(order) else score
    keep = np.ones(len(order), dtype=bool)
    keep[1:] = score[order][1:] > best[:-1]
    return [int(index) for index in order[keep]]


def _named(line: Json, names: list[str], options: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    found = mapping(line.get("choices"))
    labels = [[str(option) for option in sequence(value)] for value in found.values()]
    if found and len(found) <= MAX_CHOICES and all(labels):
        return list(found), labels
    return names, options


def _guessed(line: Json) -> list[int]:
    """The numbers of options where the log doesn't name these: from a factorised partition, else from the codes."""
    partition, logits = sequence(line.get("partition")), sequence(line.get("logits"))
    if all(len(sequence(cell)) == 1 for cell in partition):
        return [len(sequence(row)) for row in logits]
    codes = [_code(row) for row in sequence(mapping(line.get("samples")).get("codes"))]
    return [max(column) + 1 for column in zip(*codes, strict=False)]


def _marginals(line: Json, cards: list[int]) -> list[Column] | None:
    """The probabilities of each choice's options; None where partition, logits and options don't fit."""
    partition, logits = sequence(line.get("partition")), sequence(line.get("logits"))
    if not cards or len(partition) != len(logits):
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
