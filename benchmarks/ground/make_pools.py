"""Trains the pools. Goes on where it was stopped, and writes the pool's file anew after each network.

    python benchmarks/ground/make_pools.py [POOL ...] [--minutes M] [--workers N] [--device cuda]

Processes of one thread each, as many as there are cores. With --minutes no training is begun after so many. Rows
made on a GPU have no seconds: these would say nothing of those on a processor.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait

import ground
from filelock import FileLock
from same import TRAINING, kept, same_as

from fpnas.space import Arch


def tasks(pool: ground.Pool) -> list[tuple[Arch, int]]:
    """Architecture and seed of all trainings: each network once, then the first ones a second time."""
    drawn = ground.draw(pool)
    return [*((arch, 0) for arch in drawn), *((arch, 1) for arch in drawn[: pool.twice])]


def head(pool: ground.Pool, before: Sequence[str], here: str) -> list[str]:
    """The comment lines of a pool's file that is gone on with: its facts, and a line for each machine."""
    facts, own = ground.facts(pool), ground.made_on(here)
    machines = {line: ground.made_on(line) for line in before[len(facts) :]}
    # The commit may be another, as long as the code that trains takes the same course, and torch is one on one device.
    codes = same_as(own[2], kept(TRAINING, pool.name))
    alike = all(made[2] in codes and (made[1] == own[1] or made[0] != own[0]) for made in machines.values())
    if list(before[: len(facts)]) != facts or not alike:
        raise SystemExit(f"error: expected the facts of this pool at the head of {pool.path}, got others: move it away")
    return [*facts, *(line for line, made in machines.items() if made != own), here]


def fill(pool: ground.Pool, workers: int, until: float, device: str = "cpu") -> int:
    """Trains what the pool's file lacks; the number of rows that it has then."""
    wanted = tasks(pool)
    before, rows = ground.read(pool.path) if pool.path.exists() else (ground.facts(pool), [])
    comments = head(pool, before, ground.machine(device))
    found = {(row.arch, row.seed): row for row in rows}
    if set(found) - set(wanted):
        raise SystemExit(f"error: expected networks of this pool in {pool.path}, got others: move it away")
    missing = [task for task in wanted if task not in found]
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as processes:
        running: set[Future[ground.Trained]] = set()
        while running or (missing and time.monotonic() < until):
            while missing and len(running) < workers and time.monotonic() < until:
                running.add(processes.submit(ground.trained, pool, *missing.pop(0), device=device))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for row in (future.result() for future in done):
                found[row.arch, row.seed] = row
                ground.save(pool.path, comments, (found[task] for task in wanted if task in found))
                said = f"{pool.name}: {len(found)} of {len(wanted)}"
                print(f"{said}; {row.val[-1]:.2f} % held back, {row.test:.2f} % test", file=sys.stderr, flush=True)
    return len(found)


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pools", nargs="*", metavar="POOL", help=f"of {', '.join(ground.POOLS)}; all by default")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    asked = parser.parse_args(given)
    for name in asked.pools:
        if name not in ground.POOLS:
            parser.error(f"no pool {name!r}; there are {', '.join(ground.POOLS)}")
    until = time.monotonic() + 60 * asked.minutes
    for name in asked.pools or list(ground.POOLS):
        pool = ground.POOLS[name]
        with FileLock(pool.path.with_suffix(".lock")):  # two callers would train the same networks
            print(f"{name}: {fill(pool, asked.workers, until, asked.device)} networks in {pool.path}")


if __name__ == "__main__":
    main()
