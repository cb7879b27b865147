"""Many runs on all cores: a process each with one torch thread. Outcomes come in the order of the tasks, so what is
made of them is the same however many processes there are."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor

import torch

from fpnas import parallel
from fpnas.bench.contest import Contest, Outcome, Task, regret_of

_contest: list[Contest] = []
"""In a worker: the contest, which comes once, not with each task."""


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_all(
    contest: Contest, tasks: Sequence[Task], workers: int | None = None, progress: Callable[[int], None] | None = None
) -> list[Outcome]:
    """Runs all tasks.

    Args:
        contest: what they share.
        tasks: in any order.
        workers: processes; one for each core by default. With 1 all runs in this process.
        progress: is called with the number of tasks that have ended.
    """
    count = min(workers or cores(), len(tasks))
    if count <= 1:
        with parallel.threads(1):
            return _told((regret_of(contest, task) for task in tasks), progress)
    # Fresh interpreters: a fork would copy torch's threads in whatever state they are.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(contest,))
    try:
        return _told(pool.map(_run, tasks), progress)
    finally:
        pool.shutdown(cancel_futures=True)


def _told(coming: Iterable[Outcome], progress: Callable[[int], None] | None) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for outcome in coming:
        outcomes.append(outcome)
        if progress is not None:
            progress(len(outcomes))
    return outcomes


def _begin(contest: Contest) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends the workers
    torch.set_num_threads(1)
    _contest.append(contest)


def _run(task: Task) -> Outcome:
    return regret_of(_contest[0], task)
