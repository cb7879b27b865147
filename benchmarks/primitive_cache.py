"""What oneDNN's cache of compiled convolutions is worth to a search on a CPU, in time and in memory.

Each random architecture has convolutions of other widths, and oneDNN compiles each shape anew unless it still holds it.
torch lets it hold 1,024; `fpnas` asks for 16,384 (ONEDNN_PRIMITIVE_CACHE_CAPACITY, which oneDNN reads once, so each
capacity is measured in processes of its own; these take turns). A step trains the weights on K random architectures and
scores them; the first quarter of the steps is left out of the times, as every shape is new there.

    python benchmarks/primitive_cache.py [--space tiny] [--image-size 28] [--steps 80] [--rounds 2] [--json]
                                         [--results FILE.md]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import results_file

CAPACITIES = (1024, 4096, 16384)
K = 8


def measure(space: str, image_size: int, steps: int) -> dict[str, float]:
    """Processor milliseconds a sample, and the process's greatest memory in MB."""
    import torch

    import fpnas
    from fpnas.spaces import SPACES
    from fpnas.streams import generator

    torch.set_num_threads(1)
    data = fpnas.data.load("fashion-mnist", image_size=image_size)
    task = fpnas.SupernetEvaluator(SPACES[space](data.num_classes, data.in_channels), data)
    uniform = fpnas.ArchDistribution(task.space)
    times: list[float] = []
    for step in range(steps):
        codes = uniform.sample(K, generator(step, "primitive cache"))
        start = time.process_time()
        task.learn(codes, 0.0)
        task.score(codes)
        times.append(time.process_time() - start)
    kept = times[steps // 4 :]
    return {
        "ms_a_sample": 1000 * statistics.fmean(kept) / K,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="tiny")
    parser.add_argument("--image-size", type=int, default=28)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(asked.space, asked.image_size, asked.steps)))
        return
    found: dict[int, list[dict[str, float]]] = {capacity: [] for capacity in CAPACITIES}
    for _ in range(asked.rounds):
        for capacity in CAPACITIES:
            command = [sys.executable, __file__, "--one", "--space", asked.space, "--steps", str(asked.steps)]
            command += ["--image-size", str(asked.image_size)]
            environment = {**os.environ, "ONEDNN_PRIMITIVE_CACHE_CAPACITY": str(capacity)}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            found[capacity].append(json.loads(done.stdout.splitlines()[-1]))
    means = {
        capacity: {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}
        for capacity, rows in found.items()
    }
    if asked.json:
        print(json.dumps(means))
        return
    base = means[CAPACITIES[0]]["ms_a_sample"]
    rows = [
        (f"{capacity:,}", f"{row['ms_a_sample']:.1f}", f"{row['ms_a_sample'] / base:.2f}", f"{row['peak_mb']:,.0f}")
        for capacity, row in means.items()
    ]
    text = [
        *results_file.head(
            "oneDNN's cache of compiled convolutions",
            f"`{asked.space}` at {asked.image_size} px, batch 64; {K} random architectures a step, trained on and"
            " scored; processor time of one thread, without the first quarter of the steps",
        ),
        *results_file.table(["capacity", "ms a sample", "of torch's default", "peak memory, MB"], rows),
    ]
    print("\n".join(text))
    results_file.write(asked.results, text)


if __name__ == "__main__":
    main()
