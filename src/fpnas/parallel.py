"""Ranks: several processes that share one job under torchrun, each with its part of the data; one process without it.

`torchrun --nproc-per-node N -m fpnas ...` starts N ranks. Code above calls these few words whatever N is; with one rank
each of them is the identity and touches no process group. Rank 0 alone writes files; the callers decide what is
averaged, and when. All ranks must call those that exchange anything in the same order. A rank that ends or
hangs is named by the others; starting all of them again is torchrun's work.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from fpnas import roll_call
from fpnas.errors import InputError

T = TypeVar("T")

WEEK = 604_800
TIMEOUT = 1800.0
"""Seconds that ranks wait for one another: torch's own for gloo. Rank 0 judges held-out images and measures alone."""
NAMING = 5.0
"""Seconds of these at most, at their end, in which the ranks that are there say so, so that the others can be named."""


@contextmanager
def ranks(device: str = "cpu", timeout: float = TIMEOUT) -> Generator[None]:
    """Within it, the processes that torchrun started are ranks of one job; without torchrun nothing happens.

    Gloo joins them on CPUs, NCCL on GPUs, where "cuda" then means the rank's own GPU.

    Args:
        device: "cpu" or "cuda".
        timeout: seconds that a rank may let the others wait, a week at most.

    Raises:
        InputError: such a timeout isn't to be had.
        RankError: another rank has ended, or let this one wait for longer; it is named.
    """
    if not 0 < timeout <= WEEK:
        raise InputError(f"a timeout above 0 and of at most {WEEK:,} seconds", str(timeout), "choose one in between")
    if not dist.is_torchelastic_launched() or dist.is_initialized():
        yield
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    naming = min(NAMING, timeout / 4)
    limit = timedelta(seconds=timeout - naming)
    store, number, count = roll_call.meet(max(timeout, TIMEOUT))  # each decodes its images before it comes
    # torch's compiler imports this when first used; with a group there, the defaults of its functions keep that group
    # for good: gloo's threads outlive `destroy_process_group`, and one that frees a tensor while Python ends aborts it.
    importlib.import_module("torch.distributed.nn.functional")
    try:
        # Values that live on the CPU, such as a checkpoint, travel over gloo in either case.
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=limit)
        # What follows isn't in a finally: after an error the other ranks may be waiting in a collective that never
        # comes, and taking the group apart would wait for them in turn. The process ends, and torchrun ends the others.
        yield
        dist.barrier()  # none closes its connections while another still reads the last exchange from them
    except RuntimeError as error:
        said = str(error)
        if not isinstance(error, dist.DistError) and not any(word in said for word in ("gloo", "pair closure")):
            raise
        late = any(word in said for word in ("imed out", "imeout"))
        names = roll_call.missing(store, number, count, naming)
        raise roll_call.lost(names, timeout if late else None, said) from error
    dist.destroy_process_group()


def world_size() -> int:
    """How many ranks there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this process is, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def all_reduce_sum(value: Tensor) -> Tensor:
    """The sum over the ranks of a tensor that has one shape on all; `value` is left as it is."""
    if world_size() == 1:
        return value
    summed = value.detach().clone()
    dist.all_reduce(summed)
    return summed


def greatest(value: float) -> float:
    """The greatest of the ranks' numbers."""
    if world_size() == 1:
        return value
    found = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return float(found)


def mean(value: Tensor) -> Tensor:
    """The mean over the ranks of a floating-point tensor, which has one shape on all; `value` is left as it is."""
    return value if world_size() == 1 else all_reduce_sum(value) / world_size()


def broadcast(value: T) -> T:
    """Rank 0's `value`, on every rank: anything that can be pickled, tensors among it."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(cast("list[Any]", box), device=torch.device("cpu"))
    return box[0]


def anywhere(flag: bool) -> bool:
    """Whether `flag` is set on any rank."""
    return bool(greatest(float(flag)))


def share(values: Tensor) -> Tensor:
    """This rank's part of `values`, cut along the first dimension into runs whose lengths differ by at most one."""
    return values if world_size() == 1 else values.tensor_split(world_size())[rank()]


@contextmanager
def threads(number: int | None) -> Generator[None]:
    """Within it, torch has so many threads on the CPU; None leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
