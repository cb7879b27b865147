"""What a job will need: a rehearsal of its largest network before step 1, and the figures of `search --dry-run`.

Time is measured on steps that are thrown away; nothing is written.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fpnas.evaluators import OnDevice
from fpnas.job import Job, Rehearsed
from fpnas.search.loop import Search

try:
    import resource
except ModuleNotFoundError:  # Windows
    resource = None

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
MIB = 2**20


@dataclass(frozen=True)
class Forecast:
    """What a search will take.

    Args:
        entropy: of the distribution at the start, in nats.
        k0: architectures drawn in the first step in which alpha learns; a warm-up may draw fewer.
        steps: that would be taken.
        seconds_per_step: with alpha learning, at K0.
        seconds: of all steps, if K stayed at K0; where K follows the entropy it falls, and the search takes less.
        memory_mb: the process's greatest memory so far, in MiB; on a GPU that of the GPU.
        largest_mb: what a step of the largest network is expected to need beside the weights; 0 without networks.
    """

    entropy: float
    k0: int
    steps: int
    seconds_per_step: float
    seconds: float
    memory_mb: float
    largest_mb: float


def rehearse(job: Job[object]) -> int:
    """Runs the largest network of a job that has networks; bytes that a step of it needs.

    Raises:
        InputError: the largest network doesn't fit into the memory.
    """
    return job.rehearse(free_memory(_device(job))) if isinstance(job, Rehearsed) else 0


def _device(job: Job[object]) -> str:
    evaluator = job.evaluator if isinstance(job, Search) else None
    return evaluator.device if isinstance(evaluator, OnDevice) else "cpu"


def forecast(job: Search, max_steps: int | None = None) -> Forecast:
    """The figures of a search, new, that won't be run afterwards: its first steps are taken here.

    Raises:
        InputError: the largest network doesn't fit into the memory.
    """
    largest = rehearse(job)
    steps = job.steps_total if max_steps is None else min(max_steps, job.steps_total)
    warm_up = min(steps, round(job.warmup * job.steps_total))
    first = job.step().metrics  # the first also warms up the machine
    only_weights = _timed_step(job, warmup=1.0)[0] if warm_up else 0.0
    whole, learning = _timed_step(job, warmup=0.0)
    return Forecast(
        entropy=first["entropy"],
        k0=learning["num_samples"],
        steps=steps,
        seconds_per_step=whole,
        seconds=warm_up * only_weights + (steps - warm_up) * whole,
        memory_mb=peak_memory_mb(_device(job)),
        largest_mb=round(largest / MIB, 1),
    )


def _timed_step(job: Search, warmup: float) -> tuple[float, dict[str, Any]]:
    """Seconds and metrics of a step."""
    job.warmup = warmup
    started = time.perf_counter()
    metrics = job.step().metrics
    return time.perf_counter() - started, metrics


def peak_memory_mb(device: str = "cpu") -> float:
    """The process's greatest resident memory so far, in MiB; on "cuda" what torch held of the GPU's.

    0 where the system doesn't say, as Windows.
    """
    if torch.device(device).type == "cuda":
        return round(torch.cuda.max_memory_allocated() / MIB, 1)
    if resource is None:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in KiB, but on macOS in bytes
    return round(peak / (MIB if sys.platform == "darwin" else 2**10), 1)


def free_memory(device: str = "cpu") -> int | None:
    """Bytes that can still be taken: of the GPU's memory, or the machine's within its container; None: unknown."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info()[0]
    rooms: list[int] = []
    with suppress(OSError, ValueError, KeyError):
        rooms.append(_numbers(_MEMINFO)["MemAvailable:"] * 2**10)
    with suppress(OSError, ValueError, KeyError):  # "max" where the container has no bound
        limit, used = (int((_CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        rooms.append(limit - used + _numbers(_CGROUP / "memory.stat")["inactive_file"])  # cached files make room
    return max(0, min(rooms)) if rooms else None


def _numbers(file: Path) -> dict[str, int]:
    """Lines such as "name 12 kB" of a file of the kernel's."""
    return {words[0]: int(words[1]) for words in map(str.split, file.read_text("ascii").splitlines()) if len(words) > 1}
