"""Predicted against measured RAM: random networks as int8 LiteRT files, `fpnas.Ram` beside TensorFlow Lite Micro's arena.

    python benchmarks/arena.py [--networks 10] [--spaces tiny,tiny-int8] [--image-size 64] [--out FOLDER]
        [--results FILE.md]

Run it with the Python of `make litert`'s environment, which has tflite-micro. The arena is what the runtime itself
counts: the head, which holds activations, and the tail, which holds what it notes about operators and tensors. Files
that lie in --out are not exported again.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import results_file
import torch

import fpnas
from fpnas.data import ImageSpec
from fpnas.shipping import to_litert, to_litert_int8
from fpnas.space import Arch

COUNT = """
import sys
from tflite_micro.python.tflite_micro import runtime
content = open(sys.argv[1], "rb").read()
recording = runtime.InterpreterConfig.kAllocationRecording
runtime.Interpreter.from_bytes(content, arena_size=16_000_000, intrepreter_config=recording).print_allocations()
"""
"""A process of its own: the runtime prints its counts from C++."""


def networks(space: str, count: int) -> list[Arch]:
    """Random ones; of more the first are the same."""
    sizes, draws = fpnas.spaces.SPACES[space](num_classes=6).space, random.Random(0)
    return [sizes.decode([draws.randrange(size) for size in sizes.cardinalities]) for _ in range(count)]


def exported(space: str, number: int, arch: Arch, size: int, out: Path) -> Path:
    """The int8 file; memory hangs on no weight."""
    path = out / f"{space}-{size}-{number}.tflite"
    if not path.exists():
        supernet, spec = fpnas.spaces.SPACES[space](num_classes=6), ImageSpec(size, 3, (0.5,) * 3, (0.25,) * 3, tuple("abcdef"))
        exact = to_litert(fpnas.from_scratch(supernet, arch, number).eval(), spec)
        images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        content = to_litert_int8(exact.content, spec, images).shipped.content
        path.write_bytes(content)
    return path


def arena(path: Path) -> tuple[int, int]:
    """Bytes of the head and of the tail."""
    done = subprocess.run([sys.executable, "-c", COUNT, str(path)], capture_output=True, text=True, check=True)
    found = dict(re.findall(r"Arena allocation (\w+) (\d+) bytes", done.stdout + done.stderr))
    return int(found["head"]), int(found["tail"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=10, help="of each space")
    parser.add_argument("--spaces", default="tiny,tiny-int8")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path("arena"))
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for space in options.spaces.split(","):
        for number, arch in enumerate(networks(space, options.networks)):
            path = exported(space, number, arch, options.image_size, options.out)
            print(path.name, *arena(path), flush=True)


if __name__ == "__main__":
    main()
