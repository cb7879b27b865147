"""Does the latency that is summed from a table agree with the time that extracted networks take?

For each space: random architectures, spread evenly over the range of latencies that the table gives to many; the time
of each, a median over rounds in which every network runs once, so that drift of the machine hits all alike; and how
the two agree: Spearman's rank correlation, mean error in percent, and how far the sum is off on average. Also how long
measuring the table took, and pricing 10,000 architectures. For a space of many widths, in torch: what interpolation
adds.

    python benchmarks/latency_agreement.py [--runtime torch|onnxruntime|onnxruntime-int8] [--threads 1 2]
        [--spaces tiny:28:1 fbnetv2-f:128:3] [--archs 50] [--rounds 30] [--batch 1]
        [--wide fpnas-l0:224:3] [--interpolated 5] [--device cpu] [--clock wall] [--cache FOLDER] [--json]
        [--results FILE.md]

In onnxruntime the networks are ONNX graphs with the nodes that torch's exporter writes (a test compares them), which
would take ten seconds a network.

On a machine that others use, `--clock cpu` counts the processor time of the thread in both: what the others take then
doesn't count, though what they leave in the caches still does.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import results_file
import torch

import fpnas
from fpnas import parallel
from fpnas.cost.latency import Operation, OperationSite, distinct_operations, measure, operation_sites
from fpnas.cost.latency.standalone import Runnable
from fpnas.runner.latency_cache import device_name
from fpnas.runner.latency_runtimes import RUNTIMES, Runtime
from fpnas.space import Option

CANDIDATES = 4000
"""Random architectures of which the ones to run are taken, evenly spread in latency."""


def spread(latency: fpnas.Latency, count: int, seed: int) -> list[fpnas.Arch]:
    """Random architectures: the nearest one to each of `count` evenly spaced latencies."""
    space = latency.space
    random = torch.Generator().manual_seed(seed)
    codes = torch.stack([torch.randint(n, (CANDIDATES,), generator=random) for n in space.cardinalities], dim=1)
    ms = latency(codes)
    chosen: list[int] = []
    for wanted in torch.linspace(float(ms.min()), float(ms.max()), count):
        order = (ms - wanted).abs().argsort().tolist()
        chosen.append(next(index for index in order if index not in chosen))
    return [space.decode(codes[index].tolist()) for index in chosen]


CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.thread_time}


def run_times(networks: list[Runnable], rounds: int, clock: Callable[[], float]) -> np.ndarray:
    """Milliseconds of each network, the median over rounds; two rounds to warm up."""
    times: list[list[float]] = [[] for _ in networks]
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    with torch.no_grad():
        for number in range(-2, rounds):
            for (network, inputs), row in zip(networks, times, strict=True):
                network(*inputs)  # not timed: one network serves many images, and the one before it was another
                wait()
                started = clock()
                network(*inputs)
                wait()
                if number >= 0:
                    row.append(1e3 * (clock() - started))
    return np.array([statistics.median(row) for row in times])


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of the ranks (no ties among times)."""
    return float(np.corrcoef(first.argsort().argsort(), second.argsort().argsort())[0, 1])


def agreement(name: str, size: int, channels: int, threads: int, arguments: argparse.Namespace) -> dict[str, float]:
    """The figures of one space."""
    shape = (channels, size, size)
    with torch.device("meta"):
        supernet = fpnas.spaces.by_name(name)(in_channels=channels)
    started = time.perf_counter()
    table = fpnas.latency_table(
        supernet,
        shape,
        batch_size=arguments.batch,
        device=arguments.device,
        threads=threads,
        runtime=arguments.runtime,
        cache=arguments.cache,
        timer=_timer("cpu") if arguments.clock == "cpu" else None,
    )
    measuring = time.perf_counter() - started
    latency = fpnas.Latency(supernet, shape, table)
    archs = spread(latency, arguments.archs, arguments.seed)
    place = Runtime(arguments.runtime, arguments.device)
    with parallel.threads(threads):
        networks = [place.network(supernet, arch, (arguments.batch, *shape), threads) for arch in archs]
        real = run_times(networks, arguments.rounds, CLOCKS[arguments.clock])
    summed = np.array([latency.of(arch) for arch in archs])
    codes = torch.tensor([supernet.space.encode(arch) for arch in archs]).repeat(10_000 // len(archs) + 1, 1)[:10_000]
    pricing: list[float] = []
    for _ in range(5):
        started = time.perf_counter()
        latency(codes)
        pricing.append(1e3 * (time.perf_counter() - started))
    return {
        "spearman": spearman(real, summed),
        "mean_error_percent": float(100 * np.abs(summed / real - 1).mean()),
        "mean_offset_percent": float(100 * (summed / real - 1).mean()),
        "least_ms": float(real.min()),
        "greatest_ms": float(real.max()),
        "operations": float(len(table.operations)),
        "measuring_seconds": measuring,
        "pricing_10000_ms": min(pricing),
    }


def corners(site: OperationSite, arch: fpnas.Arch) -> list[tuple[float, fpnas.Arch]]:
    """The measured neighbours of an operation and their weights: interpolation written out."""
    found: list[tuple[float, dict[str, Option]]] = [(1.0, dict(arch))]
    for choice, measured in zip(site.scope, site.measured, strict=True):
        if choice not in site.thinned:
            continue
        value = float(arch[choice.name])
        low = max(float(option) for option in measured if float(option) <= value)
        high = min(float(option) for option in measured if float(option) >= value)
        share = 0.0 if high == low else (value - low) / (high - low)
        found = [
            (weight * part, {**pick, choice.name: choice.options[choice.index(option)]})
            for weight, pick in found
            for part, option in ((1 - share, low), (share, high))
            if part > 0
        ]
    return [(weight, fpnas.Arch(pick)) for weight, pick in found]


def interpolation(name: str, size: int, channels: int, arguments: argparse.Namespace) -> dict[str, float]:
    """By how much interpolated operations, and sums over networks, differ from measured ones."""
    with torch.device("meta"):
        supernet = fpnas.spaces.by_name(name)(in_channels=channels)
    sites = operation_sites(supernet, (channels, size, size))
    random = torch.Generator().manual_seed(arguments.seed)
    archs = [
        supernet.space.decode([int(torch.randint(n, (), generator=random)) for n in supernet.space.cardinalities])
        for _ in range(arguments.interpolated)
    ]
    wanted: dict[str, Operation] = {}
    for arch in archs:
        wanted |= distinct_operations(supernet, sites, arch)
        for site in sites:
            if site.runs(arch):
                for _, pick in corners(site, arch):
                    wanted.setdefault(site.name(pick), Operation(site.name(pick), partial(site.build, pick)))
    ms = measure(list(wanted.values()), _timer(arguments.clock), batch_size=arguments.batch, device=torch.device("cpu"))
    errors: list[float] = []
    whole: list[float] = []
    for arch in archs:
        running = [site for site in sites if site.runs(arch)]
        exact = [ms[site.name(arch)] for site in running]
        summed = [sum(weight * ms[site.name(pick)] for weight, pick in corners(site, arch)) for site in running]
        pairs = zip(running, exact, summed, strict=True)
        errors += [abs(near / true - 1) for site, true, near in pairs if site.thinned]
        whole.append(abs(sum(summed) / sum(exact) - 1))
    return {
        "interpolated_share": len(errors) / sum(site.runs(arch) for arch in archs for site in sites),
        "operation_error_percent": 100 * statistics.mean(errors),
        "network_error_percent": 100 * statistics.mean(whole),
    }


def _timer(name: str) -> Callable[[Callable[[], object]], float]:
    clock = CLOCKS[name]

    def timer(run: Callable[[], object]) -> float:
        started = clock()
        run()
        return clock() - started

    return timer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spaces", nargs="+", default=["tiny:28:1", "fbnetv2-f:128:3"], help="name:pixels:channels")
    parser.add_argument("--runtime", choices=RUNTIMES, default="torch", help="where operations and networks run")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="of the CPU; several are measured in turn")
    parser.add_argument("--wide", default="fpnas-l0:224:3", help="the space whose interpolation is checked")
    parser.add_argument("--interpolated", type=int, default=5, help="networks of it; 0 leaves the check out")
    parser.add_argument("--archs", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall", help="cpu: of the thread, on a busy machine")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=None, help="of tables; by default none: all is measured anew")
    parser.add_argument("--json", action="store_true", help="print one flat object and nothing else")
    parser.add_argument("--results", type=Path, default=None)
    arguments = parser.parse_args()
    if arguments.clock == "cpu" and (arguments.device == "cuda" or max(arguments.threads) > 1):
        parser.error("--clock cpu says nothing of a GPU or of several threads")
    torch.set_num_threads(1)
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if cores and max(arguments.threads) > len(cores):
        parser.error(f"--threads {max(arguments.threads)} on {len(cores)} cores")
    figures: dict[str, float] = {}
    head = [
        "space",
        "input",
        "threads",
        "operations",
        "measured in, s",
        "end to end, ms",
        "Spearman",
        "mean error",
        "mean offset",
    ]
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as fresh:
        arguments.cache = arguments.cache or Path(fresh)
        for text, threads in itertools.product(arguments.spaces, arguments.threads):
            name, size, channels = text.split(":")
            if cores and arguments.device == "cpu":
                os.sched_setaffinity(0, set(cores[-threads:]))  # a core a thread, so that nothing migrates
            found = agreement(name, int(size), int(channels), threads, arguments)
            several = f"threads{threads}_" if len(arguments.threads) > 1 else ""
            figures |= {f"{name.replace('-', '_')}_{several}{key}": value for key, value in found.items()}
            rows.append(
                [
                    name,
                    f"{channels} x {size} x {size}",
                    f"{threads}",
                    f"{found['operations']:.0f}",
                    f"{found['measuring_seconds']:.0f}",
                    f"{found['least_ms']:.2f} to {found['greatest_ms']:.2f}",
                    f"{found['spearman']:.3f}",
                    f"{found['mean_error_percent']:.1f} %",
                    f"{found['mean_offset_percent']:+.1f} %",
                    f"{found['pricing_10000_ms']:.1f}",
                ]
            )
            if not arguments.json:
                print(*rows[-1], sep=" | ", flush=True)
    lines = results_file.table([*head, "10,000 architectures, ms"], rows)
    if arguments.interpolated and arguments.device == "cpu" and arguments.runtime == "torch":
        torch.set_num_threads(1)
        name, size, channels = arguments.wide.split(":")
        found = interpolation(name, int(size), int(channels), arguments)
        figures |= {f"{name.replace('-', '_')}_{key}": value for key, value in found.items()}
        lines += [
            "",
            f"Interpolation, on {arguments.interpolated} random networks of {name} at {size} px:"
            f" {100 * found['interpolated_share']:.0f} % of their operations are interpolated, with a mean error of"
            f" {found['operation_error_percent']:.1f} %; that of a network's sum is"
            f" {found['network_error_percent']:.1f} %.",
        ]
        if not arguments.json:
            print(lines[-1], flush=True)
    if arguments.json:
        print(json.dumps(figures))
    load = os.getloadavg()[0]
    # Others' work lengthens a network's run of milliseconds more than the median of an operation's of microseconds.
    busy = ["Other work ran beside it, so the errors are too large and the offset too low"] if load > 1.5 else []
    head = results_file.head(
        "Latency from tables against the time of extracted networks",
        f"runtime {arguments.runtime}, batch {arguments.batch}; load average at the end {load:.1f}; clock:"
        f" {arguments.clock}",
        f"{arguments.archs} architectures a space, evenly spread over the latencies of {CANDIDATES:,} random ones (seed"
        f" {arguments.seed}); end to end: median of {arguments.rounds} rounds over all of them",
        *busy,
        "Summed: with the factor and the constant that eight other random networks gave the table",
        "Error: summed / end to end - 1; its mean size, and its mean (the offset)",
        machine=f"{device_name(arguments.device)} ({platform.machine()}, {os.cpu_count()} cores), threads"
        f" {', '.join(map(str, arguments.threads))}",
    )
    results_file.write(arguments.results, [*head, *lines])
    return 0


if __name__ == "__main__":
    sys.exit(main())
