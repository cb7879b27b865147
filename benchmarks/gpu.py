"""What a GPU makes of a search: images a second beside plain networks, time in kernels, memory, and a whole search.

    python benchmarks/gpu.py [--json] [--space fbnetv2-f] [--image-size 128] [--batch-size 64] [--data cifar10.npz]

* images_ratio: images a second of the supernet's forward and backward of one architecture over those of the same plain
  module; the median over architectures of their best times;
* step_images_ratio: the same of a whole step of K = 8 over 8 plain forward and backward and 8 forward passes;
* kernel_share: the part of learning and scoring those 8 in which the GPU runs a kernel: seconds of kernels, which
  torch.profiler counts, over seconds of the same work without the profiler;
* memory_ratio: the GPU's peak of a search with the largest network among its K, over training that one alone;
* search_seconds: a whole search on all training images at `--search-size` pixels, whose log is kept beside --results.

`--device cpu` runs the same on a CPU, where kernel_share is null. Needs neither kornia nor, with an .npz, pyarrow.
"""

from __future__ import annotations

import io
import json
import statistics
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import memory
import speed
import step_time
import torch
from rich.console import Console
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

import fpnas
from fpnas.errors import InputError
from fpnas.runner.progress import LineProgress
from fpnas.spaces import by_name


def kernel_share(search: fpnas.Search, repeats: int) -> float | None:
    """The part of learning and scoring in which the GPU is at work; None on a CPU."""
    task = search.evaluator
    assert isinstance(task, fpnas.SupernetEvaluator)
    codes = speed.codes_of(task.space, step_time.SAMPLES)

    def work() -> None:
        for _ in range(repeats):
            task.train_step(codes, 0.0)
            task.score(codes)

    work()
    seconds = speed.timed(work)
    if task.device == "cpu":
        return None
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        work()
        speed.wait()
    kernels = sum(event.time_range.elapsed_us() for event in profiled.events() if is_kernel(event))
    return kernels * 1e-6 / seconds


def is_kernel(event: Any) -> bool:
    """Whether a profiler's event is a kernel on the GPU, and neither a copy nor a mark around others."""
    marks = ("Memcpy", "Memset", "Optimizer.", "ProfilerStep")
    return event.device_type == DeviceType.CUDA and not event.is_user_annotation and not event.name.startswith(marks)


def speed_figures(options: Namespace) -> dict[str, Any]:
    """images_ratio, step_images_ratio, kernel_share."""
    data, size, device = speed.images(options), options.batch_size, options.device
    warm = speed.warmed(options, data, options.warm_steps)
    single = step_time.single(warm, data, size, options.steps, 3, time.perf_counter(), device)
    search = speed.search_of(warm, data, size, step_time.SAMPLES, "mean", device)
    steps = [step_time.step_ratio(search, data, size, number) for number in range(max(2, options.steps // 4))]
    share = kernel_share(search, max(1, options.steps // 10))
    return {
        "images_ratio": round(1 / statistics.median(single), 4),
        "step_images_ratio": round(1 / statistics.median(steps), 4),
        "kernel_share": None if share is None else round(share, 4),
    }


def memory_figures(options: Namespace) -> dict[str, Any]:
    """memory_ratio, and both peaks in MiB."""
    arch = memory.largest_of(options)
    alone, search = memory.of_largest(options, arch)[0], memory.of_search(options, arch)[0]
    return {
        "memory_ratio": round(search / alone, 4),
        "search_peak_mib": round(search, 1),
        "largest_peak_mib": round(alone, 1),
    }


def whole_search(options: Namespace) -> tuple[dict[str, Any], str]:
    """Figures of a search as a user runs it, and its log."""
    options = Namespace(**{**vars(options), "image_size": options.search_size})
    data = speed.images(options, options.search_images)
    supernet = by_name(options.space)(num_classes=data.num_classes, in_channels=data.in_channels)
    task = fpnas.SupernetEvaluator(supernet, data, batch_size=options.search_batch, device=options.device)
    cost = fpnas.Flops(supernet, data.input_shape)
    least, most = cost.bounds()
    search = fpnas.methods.fpnas_posterior(
        task, fpnas.Budget(cost, least + (most - least) / 4), epochs=options.search_epochs
    )
    log = io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        progress = LineProgress(Console(file=log, width=160))
        seconds = speed.timed(lambda: fpnas.run(search, Path(folder) / "run", progress=progress))
        result = json.loads((Path(folder) / "run" / "result.json").read_text())
    figures = {f"search_{name}": result[name] for name in ("steps", "num_samples_total", "entropy", "flops")}
    return {"search_seconds": round(seconds, 1), **figures}, log.getvalue()


def parser() -> ArgumentParser:
    made = speed.parser(__doc__)
    made.set_defaults(device="cuda", image_size=128)
    made.add_argument("--steps", type=int, default=20, help="architectures of images_ratio; the other parts follow")
    made.add_argument("--samples", type=int, default=14, help="K of memory_ratio")
    made.add_argument("--warm-steps", type=int, default=200, help="steps that alpha and weights have behind them")
    made.add_argument("--search-size", type=int, default=64, help="pixels a side of the whole search")
    made.add_argument("--search-images", type=int, default=50_000)
    made.add_argument("--search-batch", type=int, default=256)
    made.add_argument("--search-epochs", type=int, default=10, help="0 leaves it out")
    return made


def main() -> int:
    options = parser().parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        error = InputError("a GPU that torch can use", "none", "run it where there is one, or give --device cpu")
        print(f"error: {error}", file=sys.stderr)
        return 2
    torch.set_num_threads(options.threads)
    measured: dict[str, Any] = {}
    for part in (memory_figures, speed_figures):
        measured |= part(options)
        print(measured, file=sys.stderr, flush=True)  # a lent GPU may be gone before the search ends
    searched, log = whole_search(options) if options.search_epochs else ({}, "")
    facts = {
        "space": options.space,
        "image_size": options.image_size,
        "batch_size": options.batch_size,
        "data": speed.images(options, 100).name,
        "steps": options.steps,
        "num_samples": options.samples,
        "search_size": options.search_size,
        "search_batch": options.search_batch,
        "search_epochs": options.search_epochs,
    }
    wanted = {"memory_ratio": 1.15}
    speed.show("A search on a GPU", facts, {**measured, **searched}, options, wanted)
    if options.results and log:
        options.results.with_suffix(".log").write_text(log)
    return 0


if __name__ == "__main__":
    sys.exit(main())
