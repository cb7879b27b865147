"""How ranks meet under torchrun, and how they find out which of them is missing. What they exchange is in `parallel`.

torchrun's store outlives ranks, which is why the living can ask it for the dead. For the same reason it still holds
what the ranks before a restart wrote, and in torch 2.13 new ranks that read it try to reach old ones, and fail
(pytorch/pytorch#135712). torchrun counts restarts on each machine by itself, so no number tells one start from another.
Rank 0 therefore invents a name for each start and tells it to those who ask now; what ranks say to one another lies
under that name.
"""

from __future__ import annotations

import os
import platform
import time
import uuid
from datetime import timedelta

import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from fpnas.errors import RankError

PAUSE = 0.02
"""Seconds between two looks at the store."""


def meet(seconds: float) -> tuple[Store, int, int]:
    """Returns once all ranks of this start have met.

    Args:
        seconds: how long to wait for the others.

    Returns:
        The store of this start alone, this process's rank, the number of ranks.

    Raises:
        RankError: not all came in time.
    """
    kept, rank, count = next(rendezvous("env://", timeout=timedelta(seconds=seconds)))
    asks = uuid.uuid4().hex
    until = time.monotonic() + seconds
    if rank > 0:
        kept.set(f"asks/{rank}", asks)
        if not _all_there(kept, [f"told/{asks}"], until):
            raise lost(["rank 0"], seconds)
    name = asks if rank == 0 else kept.get(f"told/{asks}").decode()
    store = PrefixStore(name, kept)
    store.set(f"met/{rank}", f"process {os.getpid()} on {platform.node()}")
    met = [f"met/{other}" for other in range(count)]
    # Rank 0 goes on answering until all have come: what it finds at first may be a question from before a restart.
    while rank == 0 and not store.check(met) and time.monotonic() < until:
        for other in range(1, count):
            if kept.check([f"asks/{other}"]):
                kept.set(f"told/{kept.get(f'asks/{other}').decode()}", name)
        time.sleep(PAUSE)
    if not _all_there(store, met, until):
        raise lost([f"rank {other}" for other in range(count) if not store.check([met[other]])], seconds)
    return store, rank, count


def missing(store: Store, rank: int, count: int, seconds: float) -> list[str]:
    """The ranks, by name, that don't say within `seconds` that they are there.

    A rank that hangs or has ended breaks the exchanges of all others, so that each of them comes here.
    """
    here = [f"here/{other}" for other in range(count)]
    try:
        store.set(here[rank], "")
        _all_there(store, here, time.monotonic() + seconds)
        gone = [other for other in range(count) if not store.check([here[other]])]
        return [f"rank {other} ({store.get(f'met/{other}').decode()})" for other in gone]
    except dist.DistError:
        return ["torchrun"]


def lost(names: list[str], seconds: float | None, error: str = "") -> RankError:
    """The error that names who is missing.

    Args:
        names: of the ranks; none where all are there and only their connection broke.
        seconds: how long they were waited for; None where nobody had to wait.
        error: what torch said.
    """
    expected = "ranks that stay until the end" if seconds is None else f"an answer of each rank within {seconds:g} s"
    got = f"none from {' and '.join(names)}" if seconds is not None else f"no sign of {' and '.join(names)}"
    if not names:
        got = f"a broken connection ({' '.join(error.split()):.150})"
    return RankError(expected, got, "see its own messages; started again, a run goes on from its last checkpoint")


def _all_there(store: Store, keys: list[str], until: float) -> bool:
    """Waits until all keys are there, or the clock says `until`; whether they are."""
    while not store.check(keys):
        if time.monotonic() > until:
            return False
        time.sleep(PAUSE)
    return True
