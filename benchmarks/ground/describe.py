"""What a pool is like: its accuracies, the spread between seeds, and what skipping blocks has to do with both.

python benchmarks/ground/describe.py [POOL ...] [--results FILE.md]
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import ground
import results_file
import torch
from standing import spearman

from fpnas.space import SearchSpace
from fpnas.streams import generator

DRAWS = 2_000_000


def skipped(space: SearchSpace, codes: torch.Tensor) -> torch.Tensor:
    """(K,), how many groups each architecture bypasses."""
    found = torch.zeros(len(codes), dtype=torch.long)
    for v, choice in enumerate(space.choices):
        if choice.name.endswith(".kernel"):
            found += codes[:, v] == choice.index(0)
    return found


def shares(pool: ground.Pool) -> dict[int, tuple[float, float]]:
    """By groups skipped: the share of uniform draws of codes in the band, and of the distinct networks there."""
    space, flops = ground.supernet(pool).space, ground.costs(pool)[0]
    stream = generator(0, "describe")
    codes = torch.stack([torch.randint(n, (DRAWS,), generator=stream) for n in space.cardinalities], dim=1)
    cost = flops(codes)
    codes = codes[(cost <= pool.target) & (cost >= ground.BAND * pool.target)]
    skips, weights = skipped(space, codes), 1 / ground.alike(space, codes)
    return {
        number: (float((skips == number).double().mean()), float(weights[skips == number].sum() / weights.sum()))
        for number in sorted(set(skips.tolist()))
    }


def lines(pool: ground.Pool) -> list[str]:
    """A section of the results."""
    comments, rows = ground.read(pool.path)
    first = {row.arch: row for row in rows if row.seed == 0}
    tests = [row.test for row in first.values()]
    twice = [row.test - first[row.arch].test for row in rows if row.seed == 1]
    space = ground.supernet(pool).space
    codes = torch.tensor([space.encode(arch) for arch in first])
    skips = skipped(space, codes).tolist()
    seeds = "not known yet"
    if len(twice) > 1:
        seeds = f"{math.sqrt(statistics.fmean(d * d for d in twice) / 2):.2f} points; the second less the first: "
        seeds += f"{statistics.fmean(twice):+.2f} ± {statistics.stdev(twice) / math.sqrt(len(twice)):.2f} on average"
    seconds = ground.mean_seconds(first.values())
    text = [
        f"## {pool.name}",
        "",
        *(f"* {line.removeprefix('# ')}" for line in comments),
        f"* {len(first)} of {pool.count} networks, {len(twice)} of {pool.twice} with a second seed; test accuracy "
        f"{statistics.fmean(tests):.2f} ± {statistics.stdev(tests):.2f} %, {min(tests):.2f} to {max(tests):.2f} %",
        f"* Standard deviation between two seeds of one network: {seeds}",
        "* Rank correlation with the test accuracy: of the held-back accuracy after each epoch "
        + ", ".join(f"{spearman([row.val[e] for row in first.values()], tests):.2f}" for e in range(len(rows[0].val)))
        + f"; of multiply-adds {spearman([row.flops for row in first.values()], tests):.2f}, of parameters "
        f"{spearman([row.params for row in first.values()], tests):.2f}, of groups that aren't skipped "
        f"{spearman([-n for n in skips], tests):.2f}",
        f"* Processor seconds of a training: {'not timed' if seconds is None else f'{seconds:.0f}'}",
        "",
    ]
    count = Counter(skips)
    cells = []
    for number, (drawn, distinct) in shares(pool).items():
        own = [test for test, n in zip(tests, skips, strict=True) if n == number]
        worth = f"{statistics.fmean(own):.2f}" if own else "-"
        cells.append([number, f"{drawn:.1%}", f"{distinct:.1%}", count[number], worth])
    head = ["groups skipped", "of codes in the band", "of distinct networks there", "in the pool", "test accuracy, %"]
    return [*text, *results_file.table(head, cells), ""]


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pools", nargs="*", metavar="POOL", help=f"of {', '.join(ground.POOLS)}; all there are")
    parser.add_argument("--results", type=Path)
    asked = parser.parse_args(given)
    names = asked.pools or [name for name, pool in ground.POOLS.items() if pool.path.exists()]
    text = [*results_file.head("The pools"), *(line for name in names for line in lines(ground.POOLS[name]))]
    print("\n".join(text))
    results_file.write(asked.results, text)


if __name__ == "__main__":
    main()
