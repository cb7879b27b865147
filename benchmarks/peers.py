"""Seconds a step of fpnas beside NNI 3.0's one-shot strategies and nvidia-modelopt's AutoNAS, on one search space.

    python benchmarks/peers.py [--json] [--steps 120] [--rounds 1] [--env ~/.cache/fpnas/peers]

The space is that of `benchmarks/sides`, where each library's side is. The peers get an environment of their own, made
at the first call (a minute or two). Each side is a fresh process on the same images: float32, 2 threads, a batch of 64
and a second one where alpha is learnt, SGD with momentum; the clock runs from batch in hand to weights changed, and the
median step counts. Ratios are ours over theirs; of several rounds the least seconds of either count.

* weights_vs_...: K = 1, the weights alone, beside the peers that draw a path;
* step_vs_...: alpha and weights, at the K = 3 that lambda = 1/4 gives here, beside the peers that learn alpha;
* ..._channels_last: the same, with the peers put into channels-last too;
--memory-kept sets malloc in the peers' processes as `fpnas.allocator` does in ours.

* mib_...: the process's peak over what it held before the supernet.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import speed
import torch

from fpnas import allocator

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "sides" / "requirements.txt"


class Row(NamedTuple):
    """A comparison: our strategy, the peer's file and strategy, and the ratio to reach (as it comes, channels-last)."""

    ours: str
    side: str
    peer: str
    at_most: float
    at_most_channels_last: float


ROWS = (
    Row("weights", "nni_side", "single_path", 0.55, 1.0),
    Row("weights", "modelopt_side", "autonas", 0.55, 1.0),
    Row("whole", "nni_side", "darts", 0.2, 0.35),
    Row("whole", "nni_side", "gumbel", 0.2, 0.35),
    Row("whole", "nni_side", "proxyless", 0.4, 0.9),
)
NAMES = {"weights": "weights", "whole": "step"}

KEPT = {"MALLOC_MMAP_THRESHOLD_": str(allocator.MAPPED_ABOVE), "MALLOC_TRIM_THRESHOLD_": str(allocator.KEPT)}
"""`fpnas.allocator`'s settings, as variables."""

Found = Mapping[str, float]
"""What a side printed: seconds, seconds_mean, peak_mib."""


MIXED = ("darts", "gumbel")
"""Each step runs all candidates, so a few steps say what it takes; where paths are drawn, steps differ."""


def environment(folder: Path) -> Path:
    """The Python of the peers' environment, which is made where it isn't there or is another one."""
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != REQUIREMENTS.read_text():
        print(f"setting up {folder}", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "-qq", "install", "-r", REQUIREMENTS], check=True, stdout=sys.stderr)
        stamp.write_text(REQUIREMENTS.read_text())  # last: an install that was cut off starts again
    return python


def measured_by(python: str | Path, side: str, strategy: str, options: Namespace, images: Path, last: bool) -> Found:
    """What a side printed, run in a process of its own."""
    command = [str(python), "-W", "ignore", "-m", f"sides.{side}", "--images", str(images), "--strategy", strategy]
    steps = options.mixed_steps if strategy in MIXED else options.steps
    command += ["--steps", str(steps), "--batch-size", str(options.batch_size)]
    command += ["--threads", str(options.threads), *(["--channels-last"] if last else [])]
    kept = KEPT if options.memory_kept and side != "ours" else {}
    variables = {**os.environ, **kept, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent / "src")])}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=variables)
    return json.loads(done.stdout.splitlines()[-1])


def least(first: Found | None, second: Found) -> Found:
    """The least of each figure: what other work on the machine added is gone."""
    return second if first is None else {name: min(first[name], second[name]) for name in ("seconds", "peak_mib")}


def ratios(ours: Mapping[str, Found], theirs: Mapping[tuple[str, bool], Found]) -> tuple[dict[str, float], Found]:
    """What is printed, and the ratios to reach by the same names.

    Args:
        ours: by strategy.
        theirs: by strategy, and whether it was in channels-last.
    """
    measured: dict[str, float] = {}
    wanted: dict[str, float] = {}
    for last in (False, True):
        for row in ROWS:
            name = f"{NAMES[row.ours]}_vs_{row.peer}{'_channels_last' if last else ''}"
            measured[name] = round(ours[row.ours]["seconds"] / theirs[row.peer, last]["seconds"], 4)
            wanted[name] = row.at_most_channels_last if last else row.at_most
    for name, found in ours.items():
        measured[f"seconds_ours_{NAMES[name]}"] = round(found["seconds"], 5)
        measured[f"mib_ours_{NAMES[name]}"] = round(found["peak_mib"], 1)
    for (peer, last), found in theirs.items():
        measured[f"seconds_{peer}{'_channels_last' if last else ''}"] = round(found["seconds"], 5)
        measured[f"mib_{peer}{'_channels_last' if last else ''}"] = round(found["peak_mib"], 1)
    return measured, wanted


def main() -> int:
    parser = speed.parser(__doc__)
    parser.set_defaults(image_size=32)
    parser.add_argument("--steps", type=int, default=120, help="timed in each process")
    parser.add_argument("--mixed-steps", type=int, default=20, help="the same for peers that run all candidates")
    parser.add_argument("--rounds", type=int, default=1, help="processes of each kind")
    parser.add_argument("--memory-kept", action="store_true", help="the peers keep freed memory too")
    parser.add_argument(
        "--env", type=Path, default=Path.home() / ".cache" / "fpnas" / "peers", help="the peers' folder"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    python = environment(options.env)
    ours: dict[str, Found] = {}
    theirs: dict[tuple[str, bool], Found] = {}
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images.pt"
        data = speed.images(options)
        held: dict[str, Any] = {"images": data.train.inputs, "labels": data.train.labels}
        torch.save({**held, "mean": list(data.mean), "std": list(data.std)}, images)
        for _ in range(options.rounds):
            for name in NAMES:
                found = measured_by(sys.executable, "ours", name, options, images, True)
                ours[name] = least(ours.get(name), found)
            for row in ROWS:
                for last in (False, True):
                    found = measured_by(python, row.side, row.peer, options, images, last)
                    theirs[row.peer, last] = least(theirs.get((row.peer, last)), found)
    measured, wanted = ratios(ours, theirs)
    facts = {
        "space": "stem 16, six MBConv layers 16-16-24-24-40-40-80, kernel {3, 5} x expansion {1, 3, 6}, head 256",
        "image_size": options.image_size,
        "batch_size": options.batch_size,
        "data": data.name,
        "steps_timed": options.steps,
        "rounds": options.rounds,
        "peers_keep_memory": options.memory_kept,
        "peers": ", ".join(line for line in REQUIREMENTS.read_text().splitlines() if "==" in line),
    }
    speed.show("A step beside the peers' on one search space", facts, measured, options, wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
