"""Times the files of a pack on this device and writes times.json beside them; `fpnas latency read` makes a table of it.

Needs numpy and onnxruntime, nothing of fpnas:

    python measure.py [--threads 1] [--rounds 9] [--device NAME]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

CHUNK = 64
"""Files in memory at a time; they are run in turn."""


def session(file: Path, threads: int) -> tuple[Any, dict[str, Any]]:
    """A session of a file, and random inputs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    made = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    inputs = {each.name: random.standard_normal(each.shape, dtype=np.float32) for each in made.get_inputs()}
    return made, inputs


def measure(files: list[Path], threads: int, rounds: int) -> dict[str, float]:
    """Milliseconds of each file: the median of some rounds, after two that aren't timed."""
    found: dict[str, float] = {}
    for start in range(0, len(files), CHUNK):
        chunk = files[start : start + CHUNK]
        sessions = [session(file, threads) for file in chunk]
        rows: list[list[float]] = [[] for _ in chunk]
        for number in range(-2, rounds):
            for (made, inputs), row in zip(sessions, rows, strict=True):
                begun = time.perf_counter()
                made.run(None, inputs)
                if number >= 0:
                    row.append(1e3 * (time.perf_counter() - begun))
        found.update({file.name: statistics.median(row) for file, row in zip(chunk, rows, strict=True)})
        sys.stderr.write(f"{len(found)} of {len(files)} files\n")
    return found


def main() -> None:
    """Measures all files in this script's folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default=platform.node() or "unnamed", help="what the table calls it")
    flags = parser.parse_args()
    folder = Path(__file__).parent
    pack = json.loads((folder / "pack.json").read_text())
    found = {
        "format": "fpnas-times-1",
        "pack": pack["digest"],
        "device": flags.device,
        "threads": flags.threads,
        "version": onnxruntime.__version__,
        "ms": measure(sorted(folder.glob("*.onnx")), flags.threads, flags.rounds),
    }
    (folder / "times.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
