"""What the settings that `fpnas` makes in its process are worth to a search on a CPU, in time and in memory.

Two of them: freed memory is kept for the next step rather than handed back to the kernel (`fpnas.allocator`), and
oneDNN holds the code of 16,384 shapes of convolution rather than torch's 1,024. Both take hold once a process, so each
arm is measured in processes of its own, and the arms take turns. A step trains the weights on K random architectures
and scores them; the first quarter of the steps is left out of the times, as every shape is new there.

    python benchmarks/process_settings.py [--space shared] [--image-size 32] [--samples 1] [--steps 160] [--rounds 2]

`shared` is the space of `peers.py`. Images are those of `speed`.
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

import results_file
import speed
import torch
from sides.ours import shared_space

import fpnas
from fpnas.spaces import SPACES
from fpnas.streams import generator

SHAPES = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
# glibc's default; that it is set at all leaves malloc alone.
NOT_KEPT = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=7"}
ARMS = {
    "torch's own": {SHAPES: "1024", **NOT_KEPT},
    "memory kept": {SHAPES: "1024"},
    "memory kept, 4,096 shapes": {SHAPES: "4096"},
    "memory kept, 16,384 shapes": {SHAPES: "16384"},
    "16,384 shapes alone": {SHAPES: "16384", **NOT_KEPT},
}


def measure(asked: argparse.Namespace) -> dict[str, float]:
    """Milliseconds a sample, and the process's greatest memory in MB."""
    torch.set_num_threads(asked.threads)
    data = speed.images(asked)
    supernet = shared_space() if asked.space == "shared" else SPACES[asked.space](data.num_classes, data.in_channels)
    task = fpnas.SupernetEvaluator(supernet, data, batch_size=asked.batch_size)
    uniform = fpnas.ArchDistribution(task.space)
    steps = asked.steps
    times: list[float] = []
    for step in range(steps):
        codes = uniform.sample(asked.samples, generator(step, "process settings"))
        start = time.perf_counter()
        task.train_step(codes, 0.0)
        task.score(codes)
        times.append(time.perf_counter() - start)
    kept = times[steps // 4 :]
    return {
        "ms_a_sample": 1000 * statistics.fmean(kept) / asked.samples,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    parser = speed.parser(__doc__)
    parser.set_defaults(space="shared", image_size=32)
    parser.add_argument("--samples", type=int, default=1, help="K")
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(asked)))
        return
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for _ in range(asked.rounds):
        for arm, settings in ARMS.items():
            done = subprocess.run(
                [sys.executable, __file__, "--one", *sys.argv[1:]],
                env={**os.environ, **settings},
                capture_output=True,
                text=True,
                check=True,
            )
            found[arm].append(json.loads(done.stdout.splitlines()[-1]))
    means = {arm: {key: statistics.fmean(row[key] for row in rows) for key in rows[0]} for arm, rows in found.items()}
    if asked.json:
        print(json.dumps(means))
        return
    torch.set_num_threads(asked.threads)  # for the head
    base = next(iter(means.values()))["ms_a_sample"]
    rows = [
        (arm, f"{row['ms_a_sample']:.1f}", f"{row['ms_a_sample'] / base:.2f}", f"{row['peak_mb']:,.0f}")
        for arm, row in means.items()
    ]
    text = [
        *results_file.head(
            "Settings of the process: memory that is kept, and oneDNN's cache of compiled convolutions",
            f"`{asked.space}` at {asked.image_size} px, batch {asked.batch_size}; K = {asked.samples} random a step,"
            f" trained on and scored; {asked.rounds} processes of {asked.steps} steps each, without the first quarter",
        ),
        *results_file.table(["arm", "ms a sample", "of torch's own", "peak memory, MB"], rows),
    ]
    print("\n".join(text))
    results_file.write(asked.results, text)


if __name__ == "__main__":
    main()
