"""Several targets from one search (ours), beside a search for each: what it costs, and what it loses.

On the small protocol of the paper's experiments. The shared search takes as many steps as one for a single target,
and a third of a step's networks from each target's distribution. All that is found is trained alike.

    python benchmarks/paper/targets.py [--seeds 5] [--results FILE.md]
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass

import torch
from judging import report, results_file, spread
from protocol import GROUND, Arm, Plan, begin, keep, kept, load, made_by, plan, supernet
from verdicts import verdict

import fpnas
from fpnas.search.multi_budget import name_of

TARGETS = (1.5e6, 3e6, 5e6)
LONGER = 1.0
"""Steps of the shared search over those of one."""
ALLOWED = 0.5
"""Points below its own search that a target of the shared one may be."""
ARM = Arm("several targets", "fpnas-posterior")


@dataclass(frozen=True)
class Outcome:
    """What a search took, and what it found for each of its targets."""

    samples: int
    seconds: float
    flops: tuple[int, ...]
    accuracy: tuple[float, ...]


def one(asked: Plan, targets: Sequence[float], seed: int) -> Outcome:
    """Searches, and trains what is found for each target; what is finished is read from --out."""
    folder = asked.out / "-".join(map(name_of, targets)) / f"seed-{seed}"
    record = folder / "outcome.json"
    source = made_by(asked, repr(tuple(targets)))
    if (finished := kept(record, source)) is not None:
        return Outcome(**finished)
    begin(record, source)
    torch.set_num_threads(1)
    data = load(asked, ARM, searching=True)
    net = supernet(ARM, asked.scale, data, seed)
    task = fpnas.SupernetEvaluator(net, data, batch_size=64, seed=seed)
    cost = fpnas.Flops(net, data.input_shape)
    budgets = [fpnas.Budget(cost, target) for target in targets]
    several = len(targets) > 1
    epochs = round(LONGER * asked.epochs) if several else asked.epochs
    search = fpnas.methods.fpnas_posterior(task, budgets if several else budgets[0], epochs=epochs, seed=seed)
    start = time.process_time()
    samples = fpnas.run(search, folder / "search").num_samples_total
    seconds = time.process_time() - start
    everything = load(asked, ARM, searching=False)
    flops: list[int] = []
    accuracy: list[float] = []
    for target, answer in zip(targets, search.front() or [search.answer()], strict=True):
        network = fpnas.from_scratch(supernet(ARM, asked.scale, everything, seed), answer.arch, seed)
        training = fpnas.Training(network, everything, recipe=GROUND.recipe, seed=seed)
        accuracy.append(fpnas.run(training, folder / f"train-{name_of(target)}").accuracy)
        flops.append(training.facts["flops"])
    found = Outcome(samples, seconds, tuple(flops), tuple(accuracy))
    keep(record, asdict(found), source)
    return found


def lines(own: Sequence[Sequence[Outcome]], shared: Sequence[Outcome]) -> list[str]:
    """The table, and what it says.

    Args:
        own: of each target, its searches by seed.
        shared: by seed.
    """
    head = ["target", "kFLOPs, own", "kFLOPs, shared", "accuracy, own, %", "accuracy, shared, %", "shared less own"]
    rows: list[list[str]] = []
    gaps: list[float] = []
    for index, (target, alone) in enumerate(zip(TARGETS, own, strict=True)):
        differences = [all_.accuracy[index] - one_.accuracy[0] for all_, one_ in zip(shared, alone, strict=True)]
        found = verdict(differences, margin=ALLOWED)
        gaps.append(found.mean)
        rows.append(
            [
                name_of(target),
                spread([one_.flops[0] / 1e3 for one_ in alone], 0),
                spread([all_.flops[index] / 1e3 for all_ in shared], 0),
                spread([one_.accuracy[0] for one_ in alone]),
                spread([all_.accuracy[index] for all_ in shared]),
                str(found),
            ]
        )
    samples = statistics.fmean(one_.samples for alone in own for one_ in alone)
    seconds = statistics.fmean(one_.seconds for alone in own for one_ in alone)
    many, longer = (statistics.fmean(getattr(all_, name) for all_ in shared) for name in ("samples", "seconds"))
    return [
        *results_file.table(head, rows),
        "",
        f'The last column: mean over the seeds and its 95 % interval; "no worse": above -{ALLOWED}. The lowest is '
        f"{min(gaps):+.2f}.",
        "",
        f"One search for all {len(TARGETS)}: {many:,.0f} samples, {many / samples:.2f} of those of one for one target"
        f" ({samples:,.0f}; 1.5 were allowed), and {many / samples / len(TARGETS):.2f} of those of one for each;"
        f" {longer:,.0f} s, {longer / seconds:.2f} of {seconds:,.0f} s.",
    ]


def main() -> None:
    asked, begun = plan("targets", __doc__), time.monotonic()
    if asked.scale != "small":
        raise SystemExit("targets.py: only --scale small: the paper has no such experiment")
    wanted = [TARGETS, *((target,) for target in TARGETS)]
    tasks = [(asked, targets, seed) for seed in range(asked.seeds) for targets in wanted]
    with ProcessPoolExecutor(asked.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        outcomes = list(pool.map(one, *zip(*tasks, strict=True)))
    by = {targets: [o for (_, t, _), o in zip(tasks, outcomes, strict=True) if t == targets] for targets in wanted}
    said = lines([by[target,] for target in TARGETS], by[TARGETS])
    report(asked, "targets", "Several targets from one search", said, (time.monotonic() - begun) / 60)


if __name__ == "__main__":
    main()
