"""How long does a search step take on two ranks of one thread, and of what is that time made?

    python benchmarks/scaling.py [--json] [--space fbnetv2-f] [--image-size 64] [--batch-size 64] [--page]

Processes started by torchrun, gloo between them, take the same steps on the same global batch, K fixed:

* two_rank_ratio: seconds a step of two ranks that split the images, over those of one rank; one thread a rank;
* two_rank_ratio_architectures: the same where the ranks split the K architectures;
* compute, all-reduce and input seconds of a step, measured apart, and the step's numbers that travel.

The runs take turns, so that what else the machine does meets all of them alike. `--page` puts the parts, and what
follows from them for 8, 64 and 512 ranks, into the tables of docs/scaling.md.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import scaling_page
import speed
import torch

import fpnas
from fpnas import parallel

WAYS = {"one": (1, "data"), "data": (2, "data"), "architectures": (2, "architectures")}
"""Ranks, and what they split."""


def steps_of(options: Namespace, split: str) -> dict[str, float]:
    """On a rank: median seconds of a step, and those of its parts."""
    data = speed.images(options, 1280)
    with parallel.ranks():
        warm = speed.fresh(options, data)
        task = fpnas.SupernetEvaluator(warm.supernet, data, batch_size=options.batch_size, split=split)  # pyright: ignore
        codes = speed.codes_of(warm.supernet.space, options.samples)
        seconds: list[float] = []
        for _ in range(options.steps + 1):
            parallel.anywhere(False)  # all begin together
            start = time.perf_counter()
            task.train_step(codes, 0.0)
            task.score(codes)
            seconds.append(time.perf_counter() - start)
        weights = sum(parameter.numel() for parameter in warm.supernet.parameters())
        return {
            "step": statistics.median(seconds[1:]),
            "reduce": _median(lambda: parallel.all_reduce_sum(torch.zeros(weights)), 5),
            "number": _median(lambda: parallel.all_reduce_sum(torch.zeros(1, dtype=torch.float64)), 20),
            "input": _median(lambda: speed.batch_of(data, options.batch_size), 5),
            "weights": weights,
        }


def _median(work: Any, times: int) -> float:
    found: list[float] = []
    for _ in range(times + 1):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return statistics.median(found[1:])


def started(way: str, folder: Path) -> dict[str, float]:
    """What rank 0 of a torchrun measured."""
    ranks, split = WAYS[way]
    out = folder / "measured.json"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    arguments = [argument for argument in sys.argv[1:] if argument not in ("--json", "--page")]
    command = [*torchrun, __file__, *arguments, "--split", split, "--out", str(out)]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=sys.stderr)
    return json.loads(out.read_text())


def main() -> int:
    parser = speed.parser(__doc__)
    parser.add_argument("--samples", type=int, default=8, help="K")
    parser.add_argument("--steps", type=int, default=3, help="timed in each run")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each way, in turn")
    parser.add_argument("--page", action="store_true", help="write the tables of docs/scaling.md")
    parser.add_argument("--split", choices=("data", "architectures"), default=None, help="be a rank: for torchrun")
    parser.add_argument("--out", type=Path, default=None, help="where rank 0 writes, for torchrun")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.split is not None:
        measured = steps_of(options, options.split)
        if int(os.environ["RANK"]) == 0:
            options.out.write_text(json.dumps(measured))
        return 0
    rounds: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            for way, found in rounds.items():
                found.append(started(way, Path(folder)))

    def least(way: str, name: str) -> float:
        return min(found[name] for found in rounds[way])

    parts = scaling_page.Parts(
        weights=int(least("one", "weights")),
        samples=options.samples,
        batch_size=options.batch_size,
        step=least("one", "step"),
        reduce=least("data", "reduce"),
        number=least("data", "number"),
        input=least("one", "input"),
    )
    measured = {
        "two_rank_ratio": round(least("data", "step") / least("one", "step"), 4),
        "two_rank_ratio_architectures": round(least("architectures", "step") / least("one", "step"), 4),
        "step_seconds": round(parts.step, 4),
        "reduce_seconds": round(parts.reduce, 5),
        "number_seconds": round(parts.number, 6),
        "input_seconds": round(parts.input, 5),
        "reduce_mb": round(4 * parts.weights / 1e6, 1),
    }
    facts = {
        "space": options.space,
        "image_size": options.image_size,
        "batch_size": options.batch_size,
        "num_samples": options.samples,
        "rounds": options.rounds,
        "threads_a_rank": 1,
    }
    wanted = {"two_rank_ratio": 0.55, "two_rank_ratio_architectures": 0.55}
    speed.show("Two ranks beside one", facts, measured, options, wanted)
    if options.page:
        scaling_page.write(parts, measured, facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
