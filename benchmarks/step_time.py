"""What does a search step cost beside the plain networks that it samples?

    python benchmarks/step_time.py [--json] [--space fbnetv2-f] [--image-size 64] [--batch-size 64] [--threads 2]

Four answers, each from one process, both sides in turn on the same images, channels last:

* single_arch_ratio: the supernet's forward and backward of one architecture, its gradients in place, over that of the
  same plain module; the median over architectures of the ratio of their best times;
* step_ratio_mean, step_ratio_product: a whole step of K = 8 (sampling, learning, scoring, alpha, cost, optimizer) over
  8 plain forward and backward and 8 plain forward passes without graph of the architectures that it drew, under either
  likelihood of the weights' gradient; medians over steps;
* overhead_share: the part of a step, logs among it, that isn't spent in learning and scoring.

Alpha and weights have 200 steps on CIFAR-10 behind them, of a batch of 16 and K = 2, which runs/speed keeps. Each
architecture has run once on either side before it is timed, and who is timed first alternates.
"""

from __future__ import annotations

import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import speed
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor

import fpnas
from fpnas.data import ImageData
from fpnas.elastic import batch_statistics
from fpnas.evaluators.gradients import OnlineWeights
from fpnas.runner import Callback
from fpnas.runner.progress import LineProgress
from fpnas.streams import generator

SAMPLES = 8
WANTED = {"single_arch_ratio": 1.05, "step_ratio_mean": 1.05, "step_ratio_product": 0.65, "overhead_share": 0.02}


def in_turn(first: Callable[[], object], second: Callable[[], object], swapped: bool) -> tuple[float, float]:
    """Seconds of both, in this order or, `swapped`, in the other."""
    if not swapped:
        return speed.timed(first), speed.timed(second)
    after = speed.timed(second)
    return speed.timed(first), after


def supernet_learn(supernet: fpnas.Supernet, arch: Mapping[str, Any], images: Tensor, labels: Tensor) -> None:
    """What `SupernetEvaluator.train_step` does with one architecture, without the optimizer."""
    weights = OnlineWeights(supernet.parameters())
    with batch_statistics(supernet), supernet.gathering() as gathered:
        weights.add(F.cross_entropy(supernet.select(arch)(images), labels), 0.0)
        gathered.add_up()


def single(
    warm: speed.Warm, data: ImageData, batch_size: int, least: int, repeats: int, until: float, device: str = "cpu"
) -> list[float]:
    """Ratios, one an architecture: at least so many, and more while there is time."""
    supernet = warm.supernet.to(device).to(memory_format=torch.channels_last).train()  # pyright: ignore
    ratios: list[float] = []
    distribution = fpnas.ArchDistribution(supernet.space)
    distribution.set_logits(warm.alpha)
    images, labels = speed.batch_of(data, batch_size, device=device)
    while len(ratios) < least or (time.perf_counter() < until and len(ratios) < 3 * least):
        codes = distribution.sample(1, generator(0, "timed architectures", len(ratios)))
        arch = supernet.space.decode(codes[0].tolist())
        network = speed.plain_of(supernet, arch)
        ours = lambda arch=arch: supernet_learn(supernet, arch, images, labels)  # noqa: E731
        plain = lambda network=network: speed.plain_learn(network, images, labels)  # noqa: E731
        in_turn(ours, plain, False)
        pairs = [in_turn(ours, plain, bool((len(ratios) + number) % 2)) for number in range(repeats)]
        ratios.append(min(pair[0] for pair in pairs) / min(pair[1] for pair in pairs))
        supernet.zero_grad()
    return ratios


def step_ratio(search: fpnas.Search, data: ImageData, batch_size: int, number: int) -> float:
    """One step of the search over its architectures as plain networks."""
    task = search.evaluator
    assert isinstance(task, fpnas.SupernetEvaluator)
    codes = search.distribution.sample(SAMPLES, generator(search.seed, "architectures", search.steps_done)).tolist()
    archs = [task.space.decode(row) for row in codes]
    networks = [speed.plain_of(task.supernet, arch) for arch in archs]
    learn, score = (speed.batch_of(data, batch_size, 2 * number + part, task.device) for part in (0, 1))

    def plain() -> None:
        for network in networks:
            speed.plain_learn(network, *learn)
        with torch.no_grad():
            for network in networks:
                F.cross_entropy(network(score[0]), score[1])

    plain()
    for arch in archs:
        supernet_learn(task.supernet, arch, *learn)
    task.supernet.zero_grad()
    drawn: list[list[list[int]]] = []
    learning = task.train_step

    def spy(codes: Tensor, progress: float) -> Any:
        drawn.append(codes.tolist())
        return learning(codes, progress)

    task.train_step = spy
    ours, theirs = in_turn(search.step, plain, bool(number % 2))
    task.train_step = learning
    assert drawn == [codes], "the plain networks are those of the step"
    return ours / theirs


class Clock(Callback):
    """When steps ended, and how long the evaluator worked in each."""

    def __init__(self, task: fpnas.SupernetEvaluator) -> None:
        self.ends: list[float] = []
        self.inside: list[float] = []
        self._spent = 0.0
        task.train_step, task.score = self._counted(task.train_step), self._counted(task.score)

    def _counted(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            start = time.perf_counter()
            try:
                return work(*arguments)
            finally:
                self._spent += time.perf_counter() - start

        return counted

    def on_step(self, line: Mapping[str, Any]) -> None:
        del line
        self.ends.append(time.perf_counter())
        self.inside.append(self._spent)
        self._spent = 0.0

    def share(self) -> float:
        """The median share of a step outside the evaluator, from the end of the one before."""
        wholes = [end - start for start, end in zip(self.ends[:-1], self.ends[1:], strict=True)]
        return statistics.median(1 - spent / whole for spent, whole in zip(self.inside[1:], wholes, strict=True))


def overhead(search: fpnas.Search, steps: int) -> float:
    """Through the runner, with logs and progress as a user has them."""
    assert isinstance(search.evaluator, fpnas.SupernetEvaluator)
    clock = Clock(search.evaluator)
    with tempfile.TemporaryDirectory() as folder:
        progress = LineProgress(Console(file=io.StringIO()))
        last = search.steps_done + steps
        fpnas.run(search, Path(folder) / "run", max_steps=last, progress=progress, callbacks=[clock])
    return clock.share()


def main() -> int:
    parser = speed.parser(__doc__)
    parser.add_argument("--warm-steps", type=int, default=200, help="steps that alpha and weights have behind them")
    parser.add_argument("--architectures", type=int, default=20, help="the fewest for single_arch_ratio")
    parser.add_argument("--rounds", type=int, default=2, help="the fewest steps for each step_ratio")
    parser.add_argument("--seconds", type=float, default=200.0, help="go on measuring so long, from the start")
    options = parser.parse_args()
    start = time.perf_counter()
    torch.set_num_threads(options.threads)
    data = speed.images(options)
    warm = speed.warmed(options, data, options.warm_steps)
    warm_seconds = time.perf_counter() - start
    left = options.seconds - warm_seconds
    size, device = options.batch_size, options.device
    ratios = single(warm, data, size, options.architectures, 2, time.perf_counter() + 0.3 * left, device)
    searches = {name: speed.search_of(warm, data, size, SAMPLES, name, device) for name in ("mean", "product")}
    share = overhead(speed.search_of(warm, data, size, SAMPLES, "product", device), 4)
    steps: dict[str, list[float]] = {name: [] for name in searches}
    until, longest = start + options.seconds, 0.0
    while len(steps["mean"]) < options.rounds or time.perf_counter() + longest < until:
        began = time.perf_counter()
        for name, search in searches.items():
            steps[name].append(step_ratio(search, data, size, len(steps[name])))
        longest = max(longest, time.perf_counter() - began)
    measured = {
        "single_arch_ratio": round(statistics.median(ratios), 4),
        **{f"step_ratio_{name}": round(statistics.median(found), 4) for name, found in steps.items()},
        "overhead_share": round(share, 5),
    }
    facts = {
        "space": options.space,
        "image_size": options.image_size,
        "batch_size": options.batch_size,
        "data": data.name,
        "num_samples": SAMPLES,
        "warm_steps": options.warm_steps,
        "architectures": len(ratios),
        "steps_timed": len(steps["mean"]),
        "single_arch_least": round(min(ratios), 4),
        "single_arch_most": round(max(ratios), 4),
        "warm_seconds": round(warm_seconds, 1),
        "seconds": round(time.perf_counter() - start, 1),
    }
    speed.show("A search step beside the plain networks that it samples", facts, measured, options, WANTED)
    return 0


if __name__ == "__main__":
    sys.exit(main())
