"""Latency tables in the shell: measuring what the cache on disk lacks, the clock, the device's name, others' tables.

A cache file holds the operations of one device under one set of conditions, in the form of `LatencyTable`; a file from
another machine can be used as it is. Whoever measures holds the file's lock: two measurements at once would disturb
each other, and the one that waited finds all done.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import time
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from filelock import FileLock

from fpnas import parallel
from fpnas.cost.latency import LatencyTable, Timer, distinct_operations, measure, operation_sites
from fpnas.cost.latency.latency_table import LARGEST_BATCH
from fpnas.elastic import Supernet
from fpnas.errors import InputError
from fpnas.files import cache_folder, write_whole
from fpnas.runner.folder import read_json
from fpnas.space import Option

RUN_TABLE = "latency.json"
"""The table of a search with a target in ms, in its folder."""

SAVE_EVERY = 512
"""Operations after which a measurement writes down what it has; one that is cut off goes on from there."""

Progressed = Callable[[int, int], None]
"""(operations measured, operations to measure)."""


def latency_table(
    supernet: Supernet,
    input_shape: tuple[int, ...],
    *,
    batch_size: int = 1,
    device: str = "cpu",
    threads: int | None = None,
    arch: Mapping[str, Option] | None = None,
    cache: str | Path | None = None,
    timer: Timer | None = None,
    told: Progressed | None = None,
) -> LatencyTable:
    """The latency of each operation of a supernet on this machine: from the cache, the rest measured now.

    Args:
        supernet: the supernet; the meta device will do.
        input_shape: of one example, (C, H, W).
        batch_size: images a forward pass.
        device: "cpu" or "cuda".
        threads: of the CPU; torch's own number by default.
        arch: measure the operations of this architecture alone.
        cache: folder of the cache; `latency` in fpnas's part of the user's cache by default.
        timer: the clock; the device's by default.
        told: called as the measurement goes on.

    Raises:
        InputError: the supernet can't take `input_shape`, or the batch or the threads are none.
    """
    if not 1 <= batch_size <= LARGEST_BATCH or (threads is not None and threads < 1):
        expected = f"a batch of 1 to {LARGEST_BATCH:,}, and threads of 1 or more"
        raise InputError(expected, f"{batch_size} and {threads}", "correct them")
    operations = distinct_operations(supernet, operation_sites(supernet, input_shape), arch)
    with parallel.threads(threads):
        version = torch.__version__.partition("+")[0]
        known = LatencyTable({}, batch_size, device_name(device), torch.get_num_threads(), torch=version)
        file = (cache_folder("latency") if cache is None else Path(cache)) / _file_name(known)
        known = _cached(file, known)
        if any(name not in known.operations for name in operations):
            with _locked(file) as writable:
                known = _cached(file, replace(known, operations={}))  # another process may have been quicker
                missing = [operation for name, operation in operations.items() if name not in known.operations]
                for start in range(0, len(missing), SAVE_EVERY):
                    found = measure(
                        missing[start : start + SAVE_EVERY],
                        timer or _clock(device),
                        batch_size=batch_size,
                        device=torch.device(device),
                        told=None if told is None else lambda done, start=start: told(start + done, len(missing)),
                    )
                    known = replace(known, operations={**known.operations, **found})
                    if writable:
                        _write(file, known)
    return known.only(operations)


def device_name(device: str) -> str:
    """The name of a device of this machine, such as "AMD EPYC 7763 64-Core Processor"."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next((model for model in models if model), platform.processor() or platform.machine() or "cpu")


def read_latency_table(path: str | Path) -> LatencyTable:
    """A table from a file in the form of `LatencyTable`.

    Raises:
        InputError: there is none that can be read.
    """
    return LatencyTable.from_json(read_json(Path(path)), str(path))


# ---------------------------------------------------------------------------------------------- the clock and the cache


def _clock(device: str) -> Timer:
    if device == "cuda":
        return _cuda_clock

    def clock(run: Callable[[], object]) -> float:
        started = time.perf_counter()
        run()
        return time.perf_counter() - started

    return clock


def _cuda_clock(run: Callable[[], object], repeats: int = 10) -> float:
    """Several runs between two waits: as in a network, where the CPU issues ahead while the GPU works."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(repeats):
        run()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / repeats


def _file_name(table: LatencyTable) -> str:
    """The device, to be found by people, and a digest of all conditions."""
    readable = re.sub(r"[^a-z0-9]+", "-", table.device.lower()).strip("-")[:60] or "device"
    digest = hashlib.blake2b(json.dumps(table.conditions, sort_keys=True).encode(), digest_size=4).hexdigest()
    return f"{readable}-batch{table.batch_size}-threads{table.threads}-{digest}.json"


def _cached(file: Path, empty: LatencyTable) -> LatencyTable:
    """What the cache has; a damaged file is as none, and written anew."""
    if not file.exists():
        return empty
    try:
        known = read_latency_table(file)
    except InputError as error:
        warnings.warn(f"the cached latencies can't be used and are measured anew: {error}", stacklevel=3)
        return empty
    return known if known.conditions == empty.conditions else empty


@contextmanager
def _locked(file: Path) -> Generator[bool]:
    """Holds the lock of a cache file; False where there can be no such file."""
    with ExitStack() as held:
        writable = True
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(file.with_suffix(".lock")))
        except OSError as error:
            writable = False
            warnings.warn(f"latencies can't be kept in {file.parent} ({error.strerror or error})", stacklevel=3)
        yield writable


def _write(file: Path, table: LatencyTable) -> None:
    """Writes the file whole or not at all; the lock is held."""
    try:
        write_whole(file, json.dumps(table.to_json(), indent=1).encode())
    except OSError as error:
        warnings.warn(f"latencies can't be kept in {file.parent} ({error.strerror or error})", stacklevel=3)
