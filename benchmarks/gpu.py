"""What a GPU makes of a search: images a second beside plain networks, time in kernels, memory, and a whole run.

    python benchmarks/gpu.py [--json] [--space fbnetv2-f] [--image-size 128] [--batch-size 64] [--minutes 7.5]

* images_ratio: images a second of the supernet's forward and backward of one architecture over those of the same plain
  module; the median over architectures of their best times;
* step_images_ratio: the same of a whole step of K = 8 over 8 plain forward and backward and 8 forward passes;
* step_images_per_second: images that such a step learns from and scores, K times the batch; at_100m_per_second: the
  same work as images of a network of 100 M multiply-adds, forward and backward, which benchmarks/paper/full wants;
* kernel_share: the part of learning and scoring those 8 in which the GPU runs a kernel: seconds of kernels, which
  torch.profiler counts, over seconds of the same work without the profiler;
* memory_ratio: the GPU's peak of a search with the largest network among its K, over training that one alone;
* search_seconds, train_seconds, accuracy: a search on all training images at `--search-size` pixels and the training of
  what it found, both as long as the minutes allow; their logs are kept beside --results.

Parts that end are written to --out at once, and a part that fails leaves the others their turn: benchmarks/gpu.sh runs
this on a machine that is lent for minutes. `--device cpu` runs the same on a CPU, where kernel_share is null. Needs no
kornia and, with an .npz, no pyarrow.
"""

from __future__ import annotations

import io
import json
import statistics
import sys
import tempfile
import time
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
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
from fpnas.data import ImageData
from fpnas.errors import InputError
from fpnas.runner.progress import LineProgress
from fpnas.spaces import by_name

STEPS = 3
"""From which a pace is taken."""
OF_SEARCH = 0.4
"""The share of what is left that the search gets; the training has the rest."""


def step_figures(search: fpnas.Search, repeats: int) -> dict[str, float | None]:
    """step_images_per_second, at_100m_per_second, kernel_share: of learning and scoring, without alpha and logs."""
    task = search.evaluator
    assert isinstance(task, fpnas.SupernetEvaluator)
    codes = speed.codes_of(task.space, step_time.SAMPLES)

    def work() -> None:
        for _ in range(repeats):
            task.train_step(codes, 0.0)
            task.score(codes)

    work()
    seconds = speed.timed(work) / repeats
    forward = float(fpnas.Flops(task.supernet, task.data.input_shape)(codes).double().sum())
    return {
        "step_images_per_second": round(len(codes) * task.batch_size / seconds, 1),
        # A step is four forward passes of each network: three to learn, one to score.
        "at_100m_per_second": round(4 * forward * task.batch_size / seconds / (3 * 100e6), 1),
        "kernel_share": kernel_share(task.device, work, seconds * repeats),
    }


def kernel_share(device: str, work: Callable[[], None], seconds: float) -> float | None:
    """The part of `seconds`, which the work takes unwatched, in which the GPU is at work; None on a CPU."""
    if device == "cpu":
        return None
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        work()
        speed.wait()
    kernels = sum(event.time_range.elapsed_us() for event in profiled.events() if is_kernel(event))
    return round(kernels * 1e-6 / seconds, 4)


def is_kernel(event: Any) -> bool:
    """Whether a profiler's event is a kernel on the GPU, and neither a copy nor a mark around others."""
    marks = ("Memcpy", "Memset", "Optimizer.", "ProfilerStep")
    return event.device_type == DeviceType.CUDA and not event.is_user_annotation and not event.name.startswith(marks)


def speed_figures(options: Namespace) -> dict[str, Any]:
    """images_ratio, step_images_ratio, and those of `step_figures`."""
    data, size, device = speed.images(options), options.batch_size, options.device
    warm = speed.warmed(options, data, options.warm_steps)
    with torch.autocast(device, torch.bfloat16, enabled=options.precision == "bf16"):
        single = step_time.single(warm, data, size, options.steps, 3, time.perf_counter(), device)
        search = speed.search_of(warm, data, size, step_time.SAMPLES, "mean", device, options.precision)
        steps = [step_time.step_ratio(search, data, size, number) for number in range(max(2, options.steps // 4))]
    return {
        "images_ratio": round(1 / statistics.median(single), 4),
        "step_images_ratio": round(1 / statistics.median(steps), 4),
        **step_figures(search, max(1, options.steps // 10)),
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


def all_images(options: Namespace) -> ImageData:
    """Training and test images at the whole run's size; made up where there are none."""
    sized = Namespace(**{**vars(options), "image_size": options.search_size})
    if not options.data.exists():
        return speed.images(sized, options.search_images)
    return fpnas.data.load(options.data, image_size=options.search_size)


def epochs_within(make: Callable[[int], Any], seconds: float, most: int) -> int:
    """As many epochs, `most` at most, as so many seconds allow, by the pace of the first steps.

    Args:
        make: a job of so many epochs.
        seconds: that it may take; a quarter is kept back for what the first steps don't show.
        most: epochs.
    """
    longest = max(most, 2 * STEPS)
    job = make(longest)
    for _ in range(STEPS):
        job.step()  # kernels are chosen
    pace = speed.timed(lambda: [job.step() for _ in range(STEPS)]) / STEPS
    return max(1, min(most, int(0.75 * seconds / (pace * job.steps_total / longest))))


def whole(options: Namespace, until: float) -> tuple[dict[str, Any], str]:
    """Figures of a search and a training as a user runs them, and their log."""
    data, log = all_images(options), io.StringIO()
    where: dict[str, Any] = {"device": options.device, "precision": options.precision}
    supernet = by_name(options.space)(num_classes=data.num_classes, in_channels=data.in_channels)
    cost = fpnas.Flops(supernet, data.input_shape)
    least, most = cost.bounds()
    budget = fpnas.Budget(cost, least + (most - least) / 4)

    def search_of(epochs: int) -> fpnas.Search:
        fresh = by_name(options.space)(num_classes=data.num_classes, in_channels=data.in_channels)
        task = fpnas.SupernetEvaluator(fresh, data, batch_size=options.search_batch, **where)
        return fpnas.methods.fpnas_posterior(task, budget, epochs=epochs)

    def training_of(epochs: int, arch: Any) -> fpnas.Training:
        recipe = fpnas.Recipe(epochs=epochs, batch_size=options.search_batch, crop="pad", flip=True, lr=0.4)
        return fpnas.Training(fpnas.from_scratch(supernet, arch), data, recipe=recipe, **where)

    def run(job: Any, name: str) -> tuple[float, dict[str, Any]]:
        place = Path(folder) / name
        seconds = speed.timed(lambda: fpnas.run(job, place, progress=LineProgress(Console(file=log, width=160))))
        return round(seconds, 1), json.loads((place / "result.json").read_text())

    with tempfile.TemporaryDirectory() as folder:
        left = until - time.perf_counter()
        epochs = epochs_within(search_of, OF_SEARCH * left, options.search_epochs)
        search = search_of(epochs)
        seconds, found = run(search, "search")
        figures = {f"search_{name}": found[name] for name in ("steps", "num_samples_total", "entropy", "flops")}
        figures = {"search_seconds": seconds, "search_epochs": epochs, **figures}
        arch = search.answer().arch
        left = until - time.perf_counter()
        epochs = epochs_within(lambda epochs: training_of(epochs, arch), left, options.train_epochs)
        seconds, found = run(training_of(epochs, arch), "train")
        figures |= {"train_seconds": seconds, "train_epochs": epochs, "accuracy": round(found["accuracy"], 4)}
    return figures, log.getvalue()


def parser() -> ArgumentParser:
    made = speed.parser(__doc__)
    made.set_defaults(device="cuda", image_size=128)
    made.add_argument("--precision", choices=("fp32", "bf16"), default=None, help="bf16 on a GPU, fp32 on a CPU")
    made.add_argument("--minutes", type=float, default=7.5, help="for all of it")
    made.add_argument("--steps", type=int, default=20, help="architectures of images_ratio; the other parts follow")
    made.add_argument("--samples", type=int, default=14, help="K of memory_ratio")
    made.add_argument("--warm-steps", type=int, default=50, help="steps that alpha and weights have behind them")
    made.add_argument("--search-size", type=int, default=64, help="pixels a side of the whole run")
    made.add_argument("--search-images", type=int, default=50_000, help="of those that are made up")
    made.add_argument("--search-batch", type=int, default=256)
    made.add_argument("--search-epochs", type=int, default=30, help="at most; 0 leaves the whole run out")
    made.add_argument("--train-epochs", type=int, default=100, help="at most")
    made.add_argument("--out", type=Path, default=None, help="a JSON file, written after each part")
    return made


def main() -> int:
    options = parser().parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        error = InputError("a GPU that torch can use", "none", "run it where there is one, or give --device cpu")
        print(f"error: {error}", file=sys.stderr)
        return 2
    options.precision = options.precision or ("bf16" if options.device == "cuda" else "fp32")
    torch.set_num_threads(options.threads)
    until = time.perf_counter() + 60 * options.minutes
    measured: dict[str, Any] = {}
    log: list[str] = []

    def whole_figures(options: Namespace) -> dict[str, Any]:
        figures, text = whole(options, until)
        log.append(text)
        return figures

    parts = {"memory": memory_figures, "speed": speed_figures}
    if options.search_epochs:
        parts["whole"] = whole_figures
    for name, part in parts.items():
        begun = time.perf_counter()
        try:
            measured |= part(options)
        except Exception:  # what else there is to measure may still be measured
            traceback.print_exc()
            measured[f"{name}_failed"] = traceback.format_exc().splitlines()[-1]
        measured[f"{name}_part_took"] = round(time.perf_counter() - begun, 1)
        print(measured, file=sys.stderr, flush=True)
        if options.out:
            options.out.write_text(json.dumps(measured))
    names = ("space", "image_size", "batch_size", "precision", "steps", "search_size", "search_batch", "minutes")
    facts = {name: getattr(options, name) for name in names}
    facts |= {"data": speed.images(options, 100).name, "num_samples": options.samples}
    speed.show("A search on a GPU", facts, measured, options, {"memory_ratio": 1.15})
    if options.results and log:
        options.results.with_suffix(".log").write_text(log[0])
    return int(any(name.endswith("_failed") for name in measured))


if __name__ == "__main__":
    sys.exit(main())
