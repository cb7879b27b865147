"""Runs in processes of their own that are killed: forked, so that nothing is imported twice, and ended by SIGKILL.

A forked run shares nothing with its parent but what it writes; it leaves by `os._exit`, past all that would tidy up.
"""

from __future__ import annotations

import os
import random
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import helpers_run as h
import torch

import fpnas
from fpnas.runner import Progress

EVERY = 3
"""Steps between checkpoints."""


def on_table() -> fpnas.Search:
    """20 steps, theta at 9."""
    budget = fpnas.Budget(h.TableCost(), 60.0)
    return fpnas.methods.fpnas(h.TableEvaluator(5), budget, **h.PINNED, lam=1.0, epochs=4)


def on_supernet() -> fpnas.Search:
    """12 steps, theta at 5."""
    return h.small_search()


def on_training() -> fpnas.Training:
    """12 steps, of a recipe that draws in every way: crops, flips, mixed images, dropped paths; averaged weights."""
    supernet = h.small_supernet()
    network = fpnas.from_scratch(supernet, {**supernet.arch, "a.channels": 8})
    recipe = {"epochs": 3, "batch_size": 12, "crop": "pad", "flip": True, "ema": 0.9, "mixup": 0.4, "drop_path": 0.2}
    return fpnas.Training(network, h.made_up(train=47), **recipe)


def run(job: Any, folder: Path, **options: Any) -> Any:
    return fpnas.run(job, folder, progress=Progress(), **{"checkpoint_every": EVERY, **options})


def forked(work: Callable[[], object]) -> int:
    """Starts `work` in a process of its own; its id. Exit code 0, or 99 with an error."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # of a fork beside pytest-xdist's thread, which runs nothing
        child = os.fork()
    if child:
        return child
    code = 99
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """Waits; its exit code, or the negative number of the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def check_folder(folder: Path) -> int:
    """A killed run's folder: the checkpoint loads, its lines are whole, few steps are lost; the steps done."""
    done, checkpoint = 0, None
    for name in ("checkpoint.pt", ".checkpoint-next.pt", "checkpoint-before.pt"):
        if (folder / name).exists():
            checkpoint = torch.load(folder / name, weights_only=True)
            break
    log = folder / "metrics.jsonl"
    logged = log.read_bytes().count(b"\n") if log.exists() else 0
    if checkpoint is not None:
        done = checkpoint["job"]["steps_done"]
        with log.open("rb") as file:
            assert file.read(checkpoint["log_sizes"]["metrics.jsonl"]).count(b"\n") == done
    assert logged - done <= EVERY
    assert not (folder / "result.json").exists() or (folder / "arch.json").exists()
    return done


def killed_at_random(make: Callable[[], Any], folder: Path, kills: int, seconds: float, seed: int) -> int:
    """Starts a run, kills it after a random part of `seconds`, and so on, in as many folders as it takes for `kills`;
    each that a run ends in is compared with `folder`/unbroken. The number of times that a run was killed in a step."""
    draws, number, hits = random.Random(seed), 0, 0
    unbroken = h.outcome(folder / "unbroken")
    while kills > 0:
        place = folder / f"run{number}"
        number += 1
        before = 0
        while kills > 0:
            child = forked(lambda place=place: run(make(), place))
            time.sleep(draws.random() * seconds)
            os.kill(child, signal.SIGKILL)
            code = ended(child)
            assert code in (0, -signal.SIGKILL), "it was killed or had ended"
            if code == 0:
                break
            kills -= 1
            if place.exists():
                done = check_folder(place)
                assert done >= before, "finished steps are kept"
                hits += done > 0
                before = done
        run(make(), place)
        assert h.outcome(place) == unbroken
    return hits
