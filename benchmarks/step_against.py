"""Is a step of a search as fast as in another checkout? Processes of either take turns on one thread.

    python benchmarks/step_against.py OTHER [--rounds 5] [--steps 60] [--results FILE.md]

Each process times steps of the posterior on `tiny`, made-up images of 32 px in batches of 64, behind 20 steps that
don't count, and how long `import fpnas` takes beyond torch. Printed are medians over the processes, and their ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import results_file

ROOT = Path(__file__).resolve().parents[1]
WORKER = """
import json, sys, time
import torch
began = time.perf_counter()
import fpnas
imported = time.perf_counter() - began
torch.set_num_threads(1)
draws = torch.Generator().manual_seed(0)
def images(count):
    return fpnas.data.ImageSet(torch.randint(256, (count, 3, 32, 32), generator=draws, dtype=torch.uint8),
                               torch.arange(count) % 10)
data = fpnas.data.ImageData.of("made-up", images(4000), images(100), classes=tuple("0123456789"), heldout_from="test")
supernet = fpnas.spaces.tiny()
task = fpnas.SupernetEvaluator(supernet, data, batch_size=64)
budget = fpnas.Budget(fpnas.Flops(supernet, (3, 32, 32)), target=3e6)
make = getattr(fpnas.methods, "fpnas_posterior", None) or fpnas.methods.fpnas
search = make(task, budget, epochs=20)
taken = []
for number in range(20 + int(sys.argv[1])):
    began = time.perf_counter()
    search.step()
    taken.append(time.perf_counter() - began)
print(json.dumps([sorted(taken[20:])[len(taken[20:]) // 2], imported]))
"""


def timed(checkout: Path, steps: int) -> tuple[float, float]:
    """Median seconds of a step, and those of the import, in a process of that checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(steps)],
        env=environment,
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    )
    step, imported = json.loads(done.stdout.splitlines()[-1])
    return step, imported


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--results", type=Path)
    asked = parser.parse_args()
    sides = {"this checkout": ROOT, "the other": asked.other.resolve()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for number in range(asked.rounds):
        for name in sorted(sides, reverse=bool(number % 2)):
            found[name].append(timed(sides[name], asked.steps))
    mine, theirs = found.values()
    rows = [
        [
            what,
            *(f"{statistics.median(row[at] for row in side):.4f}" for side in (mine, theirs)),
            f"{statistics.median(a[at] / b[at] for a, b in zip(mine, theirs, strict=True)):.3f}",
        ]
        for at, what in ((0, "a step, s"), (1, "import fpnas beyond torch, s"))
    ]
    other = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=asked.other, capture_output=True, text=True, check=True
    ).stdout.strip()
    lines = [
        *results_file.head(
            f"A step of a search against commit {other}",
            f"{asked.rounds} processes of each, in turn, one thread, {asked.steps} steps each; medians",
        ),
        *results_file.table(["what", "here", f"at {other}", "ratio: median of the pairs'"], rows),
    ]
    print("\n".join(lines))
    results_file.write(asked.results, lines)


if __name__ == "__main__":
    main()
