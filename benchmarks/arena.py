"""Predicted against measured RAM: random networks as int8 LiteRT files, `Ram` beside TensorFlow Lite Micro's arena.

    python benchmarks/arena.py [--networks tiny:10,tiny-int8:10,fbnetv2-f-int8:10] [--image-size 64] [--out FOLDER]
        [--results FILE.md]

Run it with the Python of `make litert`'s environment, which has tflite-micro. The arena is what the runtime itself
counts: the head, which holds activations, and the tail, which holds what it notes about operators and tensors. Files
that lie in --out are not exported again.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import results_file
import torch

import fpnas
from fpnas.data import ImageSpec
from fpnas.shipping import to_litert, to_litert_int8
from fpnas.shipping.litert_packed import arena_of
from fpnas.space import Arch

COUNT = """
import sys
from tflite_micro.python.tflite_micro import runtime
content = open(sys.argv[1], "rb").read()
recording = runtime.InterpreterConfig.kAllocationRecording
runtime.Interpreter.from_bytes(content, arena_size=16_000_000, intrepreter_config=recording).print_allocations()
"""
"""A process of its own: the runtime prints its counts from C++."""


def supernet_of(space: str) -> fpnas.Supernet:
    return fpnas.spaces.SPACES[space](num_classes=6)


def networks(space: str, count: int) -> list[Arch]:
    """Random ones; of more the first are the same."""
    sizes, draws = supernet_of(space).space, random.Random(0)
    return [sizes.decode([draws.randrange(size) for size in sizes.cardinalities]) for _ in range(count)]


def exported(space: str, number: int, arch: Arch, size: int, out: Path) -> Path:
    """The int8 file; memory hangs on no weight."""
    path = out / f"{space}-{size}-{number}.tflite"
    if not path.exists():
        spec = ImageSpec(size, 3, (0.5,) * 3, (0.25,) * 3, tuple("abcdef"))
        exact = to_litert(fpnas.from_scratch(supernet_of(space), arch, number).eval(), spec)
        images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        path.write_bytes(to_litert_int8(exact.content, spec, images).shipped.content)
    return path


def arena(path: Path) -> tuple[int, int]:
    """Bytes of the head and of the tail."""
    done = subprocess.run([sys.executable, "-c", COUNT, str(path)], capture_output=True, text=True, check=True)
    found = dict(re.findall(r"Arena allocation (\w+) (\d+) bytes", done.stdout + done.stderr))
    return int(found["head"]), int(found["tail"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--networks", default="tiny:10,tiny-int8:10,fbnetv2-f-int8:10", help="spaces, and how many of each"
    )
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--out", type=Path, default=results_file.ROOT / "runs" / "arena")
    parser.add_argument("--results", type=Path)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    rows: list[list[str]] = []
    errors: list[float] = []
    for space, count in (each.split(":") for each in asked.networks.split(",")):
        ram = fpnas.Ram(supernet_of(space), (3, asked.image_size, asked.image_size))
        for number, arch in enumerate(networks(space, int(count))):
            path = exported(space, number, arch, asked.image_size, asked.out)
            head, tail = arena(path)
            predicted, planned = ram.of(arch), arena_of(path.read_bytes())
            errors.append(100 * (predicted / (head + tail) - 1))
            cells = [f"{n:,}" for n in (predicted, head + tail, head, planned, tail)]
            rows.append([f"{space} {number}", *cells, f"{errors[-1]:+.2f}"])
            print(*rows[-1], flush=True)
    columns = ["network", "`Ram`", "arena", "its head", "plan in the file", "its tail", "`Ram` less arena, %"]
    mean = statistics.fmean(map(abs, errors))
    lines = [
        *results_file.head(
            "Predicted RAM against TensorFlow Lite Micro's arena",
            f"{len(rows)} random networks, {asked.image_size} px, 6 classes, int8; bytes",
            f"tflite-micro {version('tflite-micro')}, a 64-bit build: its tail is smaller on a 32-bit controller",
        ),
        *results_file.table(columns, rows),
        "",
        f"Mean error {mean:.2f} %, the greatest {max(map(abs, errors)):.2f} %.",
    ]
    print("\n".join(lines))
    results_file.write(asked.results, lines)


if __name__ == "__main__":
    main()
