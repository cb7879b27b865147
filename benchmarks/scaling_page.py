"""The tables of docs/scaling.md, from the parts of a step that `scaling.py` measured.

A step of N ranks by data: compute / N + K + 1 numbers + one all-reduce of the weights. By architectures: compute, of
which the rank with the most has ceil(K / N) of K architectures, and the same all-reduce. A ring sends each rank
2 (N - 1) / N times the weights' bytes, so an all-reduce is t(2) * 2 (N - 1) / N over the same links, and every number
takes log2(N) times that of two ranks. Input is read by each rank: its part, or by architectures all of it.

Efficiency is the time of one rank over that of N on N times the images: what other links and faster ranks make of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import results_file

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
RANKS = (1, 2, 8, 64, 512)
IMAGES = 64
"""A rank's images, where the batch grows with the ranks."""
LINKS = {"10 Gbit/s": 1.25e9, "100 Gbit/s": 12.5e9, "400 Gbit/s": 50e9}
"""Bytes a second between two ranks of a ring."""
FASTER = (1, 10, 30)
"""Times as fast as the rank that was measured."""


@dataclass(frozen=True)
class Parts:
    """A step of one rank, measured.

    Args:
        weights: numbers that travel in the all-reduce, 4 bytes each.
        samples: K.
        batch_size: images a step, of either half.
        step: seconds of a step on one rank.
        reduce: of an all-reduce of the weights between two ranks.
        number: of an all-reduce of one number between two ranks.
        input: of reading and normalizing a batch.
    """

    weights: int
    samples: int
    batch_size: int
    step: float
    reduce: float
    number: float
    input: float


def reduce_seconds(parts: Parts, ranks: int) -> float:
    """The flat all-reduce of a step on a ring."""
    return parts.reduce * 2 * (ranks - 1) / ranks


def ring_seconds(weights: int, ranks: int, link: float) -> float:
    """The same over links of so many bytes a second."""
    return 4 * weights * 2 * (ranks - 1) / ranks / link


def efficiency(parts: Parts, ranks: int, link: float, faster: float = 1.0) -> float:
    """The share of a step of `ranks` ranks, `IMAGES` images each, split by data, that is spent on images.

    Args:
        parts: what was measured.
        ranks: how many.
        link: bytes a second.
        faster: how many times as fast as measured a rank computes; numbers take as long as measured.
    """
    compute = parts.step * IMAGES / parts.batch_size / faster
    numbers = (parts.samples + 1) * parts.number * math.log2(ranks)
    return compute / (compute + numbers + ring_seconds(parts.weights, ranks, link))


def efficiencies(parts: Parts, ranks: int = 64) -> str:
    """Of ranks as fast as measured and faster, over links of several speeds."""
    rows = [
        [
            "as measured" if faster == 1 else f"{faster} times as fast",
            f"{parts.step * IMAGES / parts.batch_size / faster:.3f}",
            *(f"{100 * efficiency(parts, ranks, link, faster):.0f} %" for link in LINKS.values()),
        ]
        for faster in FASTER
    ]
    return "\n".join(results_file.table(["a rank", "its step, s", *LINKS], rows))


def by_data(parts: Parts, ranks: int, growth: float = 1.0) -> float:
    """Seconds of a step whose images the ranks split, of a batch `growth` times that measured."""
    scalars = 0.0 if ranks == 1 else (parts.samples + 1) * parts.number * math.log2(ranks)
    return parts.step * growth / ranks + scalars + reduce_seconds(parts, ranks)


def by_architectures(parts: Parts, ranks: int) -> float:
    """Seconds of a step whose K architectures the ranks split, each on the whole batch."""
    scalars = 0.0 if ranks == 1 else 2 * parts.number * math.log2(ranks)
    share = math.ceil(parts.samples / ranks) / parts.samples
    compute = parts.step - 2 * parts.input
    return 2 * parts.input + compute * share + scalars + reduce_seconds(parts, ranks)


def derived(parts: Parts) -> str:
    """Seconds a step for each number of ranks; "-" where a rank would have too little to do."""
    rows: list[list[str]] = []
    for ranks in RANKS:
        fits = parts.batch_size >= 2 * ranks
        rows.append(
            [
                str(ranks),
                f"{by_data(parts, ranks):.3f}" if fits else "-",
                f"{by_architectures(parts, ranks):.3f}" if ranks <= parts.samples else "-",
                f"{by_data(parts, ranks, ranks * IMAGES / parts.batch_size):.3f}",
                f"{ranks * IMAGES:,}",
                f"{4 * parts.weights * 2 * (ranks - 1) / ranks / 1e6:.1f}",
            ]
        )
    head = [
        "ranks",
        f"by data, batch {parts.batch_size}, s",
        f"by architectures, batch {parts.batch_size}, s",
        f"by data, {IMAGES} images a rank, s",
        "batch",
        "sent by each rank, MB",
    ]
    return "\n".join(results_file.table(head, rows))


def measured_table(measured: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """What the script printed."""
    rows = [[name.replace("_", " "), str(value)] for name, value in {**facts, **measured}.items()]
    return "\n".join(results_file.table(["what", "measured"], rows))


def write(parts: Parts, measured: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Writes the page's tables."""
    tables = {"measured": measured_table(measured, facts), "derived": derived(parts)}
    tables["efficiency"] = efficiencies(parts)
    PAGE.write_text(results_file.filled(PAGE.read_text(), tables))
