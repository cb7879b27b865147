"""How good is an architecture, beside random ones of its cost? Trains it by a pool's recipe, or looks it up there.

    python benchmarks/ground/appraise.py ARCH.json ... [--pool cifar10-tiny-3M] [--seed 0] [--json]

Says its accuracy on the test images, its percentile in the pool, of how many random networks the best would be expected
to be as good, and how far below the pool's best it lies. An ARCH.json is that of a search's folder, or any JSON object
with its choices. nasbench-macro-40M, -50M and -60M are bands of a known table, where nothing is trained.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import ground
import numpy as np
import torch
from standing import Standing, standing

import fpnas
from fpnas import InputError
from fpnas.space import Arch

MACRO = {f"nasbench-macro-{target}M": 1e6 * target for target in (40, 50, 60)}
"""Bands of NAS-Bench-Macro's table, by their targets."""


@dataclass(frozen=True)
class Appraisal:
    """Of an architecture: its standing by test accuracy, its cost, and what the training took (0: looked up)."""

    arch: Arch
    flops: int
    standing: Standing
    train_seconds: float

    def to_json(self) -> dict[str, Any]:
        """As --json prints it."""
        return {**asdict(self.standing), "flops": self.flops, "train_seconds": round(self.train_seconds, 1)}


def appraise(pool: str, choices: Mapping[str, Any], seed: int = 0) -> Appraisal:
    """Of one architecture.

    Raises:
        InputError: no such pool, an architecture of another space, or one that costs more than the pool's networks.
    """
    if pool in MACRO:
        return _from_table(pool, choices)
    if pool not in ground.POOLS:
        raise InputError("a pool", repr(pool), f"choose one of {', '.join([*ground.POOLS, *MACRO])}")
    asked = ground.POOLS[pool]
    if not asked.path.exists():
        raise InputError(f"{asked.path}", "no such file", "run benchmarks/ground/make_pools.py")
    space = ground.supernet(asked).space
    arch = ground.plain(space.decode(space.encode(Arch.from_mapping(choices))), space)
    flops = round(float(ground.costs(asked)[0](torch.tensor([space.encode(arch)]))))
    _refuse_dear(flops, asked.target)
    rows = ground.read(asked.path)[1]
    known = next((row for row in rows if (row.arch, row.seed) == (arch, seed)), None)
    row = ground.trained(asked, arch, seed) if known is None else known
    among = [other.test for other in rows if other.seed == 0 and other.arch != arch]
    return Appraisal(arch, flops, standing(row.test, among), 0.0 if known else row.seconds or 0.0)


def _refuse_dear(flops: int, target: float) -> None:
    if flops > target:
        got = f"{flops:,}"
        raise InputError(f"a network of at most {target:,.0f} multiply-adds", got, "choose a pool of its own cost")


@lru_cache(maxsize=1)
def _macro() -> tuple[fpnas.tables.KnownTable, dict[tuple[int, ...], float], np.ndarray]:
    """The table, the mean accuracy in per cent of each architecture's codes, and all codes."""
    table = fpnas.tables.load(ground.SHARED / "data" / "nas-bench-macro_cifar10.npz")
    codes = np.stack(np.unravel_index(np.arange(table.space.size), table.space.cardinalities), axis=1)
    rows = torch.from_numpy(codes)
    # Each rotation sees one of the three runs: their mean is the mean of all.
    truth = torch.stack([rotation.reward(rows) for rotation in table.rotations]).mean(dim=0) * 100
    return table, {tuple(row): value for row, value in zip(codes.tolist(), truth.tolist(), strict=True)}, codes


def macro_band(pool: str) -> dict[tuple[int, ...], float]:
    """Codes and accuracy of all networks of a band."""
    table, truth, codes = _macro()
    cost, target = table.cost("flops")(torch.from_numpy(codes)).numpy(), MACRO[pool]
    band = codes[(cost <= target) & (cost >= ground.BAND * target)]
    return {tuple(row): truth[tuple(row)] for row in band.tolist()}


def _from_table(pool: str, choices: Mapping[str, Any]) -> Appraisal:
    table, truth, _ = _macro()
    arch = Arch.from_mapping(choices)
    codes = tuple(table.space.encode(arch))
    flops = round(float(table.cost("flops")(torch.tensor([codes]))))
    _refuse_dear(flops, MACRO[pool])
    among = [value for other, value in macro_band(pool).items() if other != codes]
    return Appraisal(arch, flops, standing(truth[codes], among), 0.0)


def read_choices(path: Path) -> Mapping[str, Any]:
    """Of an arch.json, or of a JSON object of choices."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError("an architecture as JSON", f"{path} ({error})", "give a search's arch.json") from None
    return found.get("choices", found) if isinstance(found, dict) else found


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archs", nargs="+", type=Path, metavar="ARCH.json")
    parser.add_argument("--pool", default="cifar10-tiny-3M", help=", ".join([*ground.POOLS, *MACRO]))
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(given)
    try:
        every = [read_choices(path) for path in asked.archs]
        found = [appraise(asked.pool, choices, asked.seed) for choices in every]
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if asked.json:
        rows = [appraisal.to_json() for appraisal in found]
        print(json.dumps(rows[0] if len(rows) == 1 else rows, indent=2))
        return 0
    for path, one in zip(asked.archs, found, strict=True):
        place = one.standing
        many = (
            "better than the best of any number of random ones"
            if place.best_of is None
            else f"as good as the best of {place.best_of} random ones"
        )
        gap = f"{abs(place.gap):.2f} points {'below' if place.gap >= 0 else 'above'} the pool's best"
        print(
            f"{path}: {place.accuracy:.2f} % at {one.flops / 1e6:.3f} M multiply-adds, percentile "
            f"{place.percentile:.0f} of {asked.pool}, {many}, {gap}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
