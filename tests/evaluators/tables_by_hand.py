"""Tables for the tests: files written by hand, and their values as plain dictionaries."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import Any

SHARED = Path(__file__).parents[3] / "shared" / "data"
MACRO_JSON, MACRO_NPZ = SHARED / "nas-bench-macro_cifar10.json", SHARED / "nas-bench-macro_cifar10.npz"
ACCEL = SHARED / "accel-nasbench.npz"

CHOICES = {"a.kernel": (3, 5, 7), "a.act": ("relu", "swish"), "b.width": (8, 16, 24, 32)}


def accuracy(kernel: int, act: str, width: int, run: int) -> float:
    """Percent; the runs differ by noise that depends on the architecture."""
    noise = ((kernel * 7 + width * 3 + (act == "swish") * 5 + run * 11) % 10) / 10
    return 60 + 2 * kernel + 3 * (act == "swish") * (kernel == 5) + width / 4 + noise


def macs(kernel: int, act: str, width: int) -> float:
    """A sum over the choices."""
    return 100 + 10 * kernel + 5 * width + (act == "swish")


def milliseconds(kernel: int, act: str, width: int) -> float:
    """No sum."""
    return 1 + kernel * width / 100 + (act == "swish") / 8


def rows(runs: int = 3) -> list[dict[str, Any]]:
    """All 24 architectures, in an order that isn't that of the space."""
    found = [
        {
            "a.kernel": kernel,
            "a.act": act,
            "b.width": width,
            **{f"acc{run}": accuracy(kernel, act, width, run) for run in range(runs)},
            "macs": macs(kernel, act, width),
            "ms": milliseconds(kernel, act, width),
        }
        for kernel, act, width in itertools.product(*CHOICES.values())
    ]
    return found[13:] + found[:13]


def write_csv(path: Path, table: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return path


OPTIONS: dict[str, Any] = {"metric": ("acc0", "acc1", "acc2"), "cost_columns": ("macs", "ms")}
