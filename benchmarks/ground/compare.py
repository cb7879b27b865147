"""Every method on a pool at equal processor time, search and all trainings counted.

    python benchmarks/ground/compare.py [--pool cifar10-tiny-3M] [--arms NAME ...] [--seeds 5] [--results FILE.md]

The time of all is that of a search by short trainings (here the default) and one training. What is finished lies in
benchmarks/ground/runs/POOL.jsonl, a line a run with the digest of what made it: the package's code that searches and
trains, arms.py and ground.py, the pool's recipe. Runs of other code are left there and made anew, but for those of code
that `same.py` has found to take the same course, bit for bit. Percentiles are by test accuracy.
A verdict compares the default with an arm, seed by seed. Random networks and halving are draws from the pool; for a
verdict the pool is dealt out to the seeds, and each is compared with the mean of many draws from its own part, so that
the pool's chance counts.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import arms
import ground
import numpy as np
import results_file
import same
from standing import best_of, standing
from verdicts import verdict

from fpnas import InputError

RUNS_AT = Path(__file__).parent / "runs"
DRAWS = 2000
TIMED = 3
"""Networks of the pool whose training is timed here too."""

RULE, RIDGE, RANDOM, HALVING = "rule: depth, splits, width", "ridge on a few", "best of random", "successive halving"
OTHERS = (RULE, RIDGE, RANDOM, HALVING)
SEARCHES_WITH = (
    *("search", "evaluators", "cost", "estimators.py", "distribution.py", "memory.py", "gaussian.py", "space.py"),
    *("parallel.py", *ground.TRAINS),
)
"""The parts of the package that a search, and the training of its answer, consist of."""


@dataclass(frozen=True)
class Outcome:
    """A run of an arm: what it answered, what that is worth, what it took.

    Args:
        arm, seed: which run.
        arch: the answer.
        flops: of the answer.
        val, test: its accuracy in per cent, held-back and test images.
        search_seconds, train_seconds: of processor time, as they would be where the pool was made.
        speed: how many of these seconds passed in one second of the run, see `speed_here`.
        steps, samples, entropy, first_k, last_k: of the search, see `arms.Found`; 0 without one.
        source: the digest of the code.
    """

    arm: str
    seed: int
    arch: dict[str, Any]
    flops: int
    val: float
    test: float
    search_seconds: float
    train_seconds: float
    source: str
    speed: float = 1.0
    steps: int = 0
    samples: int = 0
    entropy: float = 0.0
    first_k: int = 0
    last_k: int = 0


def run(name: str, arm: str, seed: int, steps: int) -> Outcome:
    """One run of an arm that searches, or of one that trains by a rule."""
    pool = ground.POOLS[name]
    digest = source(pool, arm)  # of the code as it is when the run begins
    speed = speed_here(pool)
    if arm in arms.SEARCHES:
        found = arms.searched(pool, arm, seed, steps)
        row = ground.trained(pool, found.arch, seed)
        more = {key: getattr(found, key) for key in ("steps", "samples", "entropy", "first_k", "last_k")}
        seconds, trained = speed * found.seconds, row.seconds
    else:
        rows = first_seeds(pool)
        rng = np.random.default_rng(seed)
        few = [] if arm == RULE else [rows[n] for n in rng.choice(len(rows), ridge_networks(pool), replace=False)]
        last = ground.trained(pool, arms.by_ridge(pool, few, seed) if few else arms.by_rule(pool), seed)
        # What was trained to fit the ridge is there to be chosen too.
        row = max([*few, last], key=lambda row: row.val[-1])
        more, seconds, trained = {}, len(few) * training_seconds(pool) if few else 0.0, last.seconds
    trained = training_seconds(pool) if trained is None else speed * trained
    return Outcome(arm, seed, dict(row.arch), row.flops, row.val[-1], row.test, seconds, trained, digest, speed, **more)


@lru_cache
def speed_here(pool: ground.Pool) -> float:
    """How many times as fast as where the pool was made this process is; 1 where the pool doesn't say its seconds.

    Machines differ, and the pool's seconds are what a random network costs. So an epoch of each of the pool's first
    networks is trained here, and compared with what the pool says of it.
    """
    timed = [row for row in first_seeds(pool) if row.seconds is not None][:TIMED]
    short = pool.recipe.with_fields({"epochs": 1})
    here = [ground.train(pool, row.arch, row.seed, short).seconds or 0.0 for row in timed]
    there = [(row.seconds or 0.0) / pool.recipe.epochs for row in timed]
    return sum(there) / sum(here) if timed else 1.0


def source(pool: ground.Pool, arm: str) -> str:
    """A digest of all that a run of an arm hangs on."""
    here = Path(__file__).parent
    beside: list[Path | str] = [here / "arms.py", here / "ground.py", repr(pool)]
    return results_file.source(*SEARCHES_WITH, beside=[*beside, pool.path] if arm == RIDGE else beside)


def first_seeds(pool: ground.Pool) -> list[ground.Trained]:
    """A training of each network of the pool."""
    return [row for row in ground.read(pool.path)[1] if row.seed == 0]


def ridge_networks(pool: ground.Pool) -> int:
    """That the ridge is fitted to: all that the time allows but the last training."""
    return max(2, round(trainings(pool) - 1))


def trainings(pool: ground.Pool) -> float:
    """How many trainings all arms' time is worth: the default search's and one."""
    return default_seconds(pool) / training_seconds(pool) + 1


def training_seconds(pool: ground.Pool) -> float:
    """Of a training: as the pool has it, or the default's answers where the pool was made on a GPU."""
    return ground.mean_seconds(first_seeds(pool)) or statistics.fmean(row.train_seconds for row in _default(pool))


def default_seconds(pool: ground.Pool) -> float:
    """Of the default search, as finished runs took it."""
    return statistics.fmean(row.search_seconds for row in _default(pool))


def _default(pool: ground.Pool) -> list[Outcome]:
    """The default's finished runs."""
    done = [row for row in kept(RUNS_AT / f"{pool.name}.jsonl").values() if row.arm == arms.DEFAULT]
    if not done:
        raise InputError(f"finished runs of {arms.DEFAULT}", "none of this code", "run that arm first")
    return done


def kept(path: Path) -> dict[tuple[str, int], Outcome]:
    """Finished runs of this code, or of code that takes the same course."""
    if not path.exists():
        return {}
    rows = [Outcome(**json.loads(line)) for line in path.read_text().splitlines()]
    now = {
        arm: same.same_as(source(ground.POOLS[path.stem], arm), same.kept(arm, path.stem))
        for arm in {row.arm for row in rows}
    }
    return {(row.arm, row.seed): row for row in rows if row.source in now[row.arm]}


def steps_of(pool: ground.Pool, names: Sequence[str]) -> dict[str, int]:
    """The steps of each arm that take as long as the default's took; timed in turn, with nothing else running."""
    return {
        name: arms.default_steps(pool)
        if name == arms.DEFAULT
        else max(2, round(default_seconds(pool) / (speed_here(pool) * arms.seconds_a_step(pool, name))))
        for name in names
    }


def perform(pool: ground.Pool, names: Sequence[str], seeds: int, workers: int) -> None:
    """Runs what is missing, and keeps it as it goes. The default comes first: its time is everyone's."""
    path = RUNS_AT / f"{pool.name}.jsonl"
    path.parent.mkdir(exist_ok=True)
    for part in ([arms.DEFAULT], [name for name in names if name != arms.DEFAULT]):
        finished = kept(path)
        missing = [(name, seed) for seed in range(seeds) for name in part if (name, seed) not in finished]
        steps = {row.arm: row.steps for row in finished.values()}
        steps |= steps_of(pool, sorted({name for name, _ in missing if name in arms.SEARCHES and name not in steps}))
        tasks = [(pool.name, name, seed, steps.get(name, 0)) for name, seed in missing]
        for row in _all(tasks, workers):
            with path.open("a") as file:
                file.write(json.dumps(asdict(row)) + "\n")
            said = f"{row.arm}, seed {row.seed}: {row.test:.2f} % test at {row.flops / 1e6:.2f} M"
            print(f"{said}, {row.search_seconds:.0f} + {row.train_seconds:.0f} s", file=sys.stderr, flush=True)


def _all(tasks: Sequence[tuple[str, str, int, int]], workers: int) -> Iterator[Outcome]:
    """Their outcomes as they end; with one worker in this process."""
    if workers == 1:
        yield from (run(*task) for task in tasks)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as processes:
        for done in as_completed([processes.submit(run, *task) for task in tasks]):
            yield done.result()


def lines(pool: ground.Pool, names: Sequence[str], seeds: int) -> list[str]:
    """The table of what is finished."""
    rows, found = first_seeds(pool), kept(RUNS_AT / f"{pool.name}.jsonl")
    tests = [row.test for row in rows]
    head = ["arm", "seeds", "M multiply-adds", "search, s", "K, first to last", "entropy, nats", "best of"]
    head += ["test, %", "percentile: median (least)", "all, s", "first row less this, points"]
    default = {seed: found[arms.DEFAULT, seed].test for seed in range(seeds) if (arms.DEFAULT, seed) in found}
    cells: list[list[str]] = []
    for name in dict.fromkeys([arms.DEFAULT, *names]):
        own = [found[name, seed] for seed in range(seeds) if (name, seed) in found]
        if not own:
            continue
        places = [standing(row.test, tests).percentile for row in own]
        mean = statistics.fmean(row.test for row in own)
        gaps = [default[row.seed] - row.test for row in own if row.seed in default]
        many = best_of(mean, tests)
        searches = name in arms.SEARCHES
        cells.append([
            name, str(len(own)), f"{statistics.fmean(row.flops for row in own) / 1e6:.2f}",
            f"{statistics.fmean(row.search_seconds for row in own):,.0f}",
            f"{_mean(own, 'first_k'):.0f} to {_mean(own, 'last_k'):.0f}" if searches else "-",
            f"{_mean(own, 'entropy'):.1f}" if searches else "-", "beyond" if many is None else str(many),
            f"{mean:.2f} ± {_deviation([row.test for row in own]):.2f}",
            f"{statistics.median(places):.0f} ({min(places):.0f})",
            f"{statistics.fmean(row.search_seconds + row.train_seconds for row in own):,.0f}",
            "-" if name == arms.DEFAULT or not gaps else str(verdict(gaps)),
        ])  # fmt: skip
    for other in alike(pool):
        cells += [_of_pool(other, tests, default_seconds(pool), name, default) for name in (RANDOM, HALVING)]
    return results_file.table(head, cells)


def alike(pool: ground.Pool) -> list[ground.Pool]:
    """The pool, and those that differ from it by how their networks are drawn alone."""
    others = (other for other in ground.POOLS.values() if other.path.exists() and other != pool)
    here = (pool.data, pool.image_size, pool.target, pool.recipe, pool.space)
    return [pool, *(p for p in others if (p.data, p.image_size, p.target, p.recipe, p.space) == here)]


def _of_pool(
    pool: ground.Pool, tests: Sequence[float], seconds: float, name: str, default: dict[int, float]
) -> list[str]:
    """Random networks, or halving, by many draws from a pool; its place among `tests`."""
    rows, total = first_seeds(pool), pool.recipe.epochs
    each = training_seconds(pool)
    time = seconds / each + 1
    every = draws(rows, name, time, total, seed=0)
    found = [row.test for row, _ in every]
    epochs = statistics.fmean(spent for _, spent in every)
    spent = epochs / total * each
    gaps = gaps_to_pool(rows, name, time, total, default)
    return [
        f"{name} of {pool.name}: {epochs / total:.1f} trainings", f"{DRAWS} draws",
        f"{statistics.fmean(row.flops for row, _ in every) / 1e6:.2f}", "0", "-", "-",
        str(best_of(statistics.fmean(found), tests)), f"{statistics.fmean(found):.2f} ± {_deviation(found):.2f}",
        f"{statistics.median(standing(test, tests).percentile for test in found):.0f} (-)",
        f"{spent:,.0f}", str(verdict(gaps)) if gaps else "-",
    ]  # fmt: skip


def gaps_to_pool(
    rows: Sequence[ground.Trained], name: str, time: float, total: int, default: dict[int, float]
) -> list[float]:
    """The default's accuracy of each seed less the mean of many draws from the part of the pool that is dealt to it."""
    seeds = sorted(default)
    order = np.random.default_rng(0).permutation(len(rows))
    parts = [[rows[index] for index in order[number :: len(seeds)]] for number in range(len(seeds))]
    means = [
        statistics.fmean(row.test for row, _ in draws(part, name, time, total, seed))
        for seed, part in zip(seeds, parts, strict=True)
    ]
    return [default[seed] - mean for seed, mean in zip(seeds, means, strict=True)]


def draws(
    rows: Sequence[ground.Trained], name: str, time: float, total: int, seed: int
) -> list[tuple[ground.Trained, float]]:
    """What random networks, or halving, come to in the time of so many trainings, and the epochs spent: many times.

    Where the time is between two whole numbers of trainings, so many draws have the greater one that the mean is right.
    """
    rng = np.random.default_rng(seed)
    if name == HALVING:
        return [arms.halving(rows, time * total, rng) for _ in range(DRAWS)]
    sizes = np.floor(time) + (rng.random(DRAWS) < time - np.floor(time))
    return [(arms.best_of_random(rows, int(size), rng), float(size) * total) for size in sizes]


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _mean(rows: Sequence[Outcome], name: str) -> float:
    return statistics.fmean(getattr(row, name) for row in rows)


def main(given: Sequence[str] | None = None) -> int:
    every = [*arms.SEARCHES, RULE, RIDGE]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", choices=tuple(ground.POOLS), default="cifar10-tiny-3M")
    parser.add_argument("--arms", nargs="+", choices=every, default=every, metavar="NAME", help="; ".join(every))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--results", type=Path)
    asked = parser.parse_args(given)
    pool = ground.POOLS[asked.pool]
    perform(pool, asked.arms, asked.seeds, asked.workers)
    tests = [row.test for row in first_seeds(pool)]
    text = [
        *results_file.head(
            f"Methods on the pool {pool.name}, at equal processor time",
            f"The pool: {len(tests)} random networks of {pool.count}, test accuracy {statistics.fmean(tests):.2f} ± "
            f"{_deviation(tests):.2f} %, {min(tests):.2f} to {max(tests):.2f} %",
            "A process of one thread a run; processor seconds, by the speed of the machine that made the pool",
            "Means ± standard deviation over seeds; percentiles and best-of-N by test accuracy",
            "Verdicts by Student's t, 95 %, margin 0.3 points",
        ),
        *lines(pool, asked.arms, asked.seeds),
    ]
    print("\n".join(text))
    results_file.write(asked.results, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
