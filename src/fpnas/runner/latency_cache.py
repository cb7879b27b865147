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
from fpnas.cost.latency import (
    Latency,
    LatencyTable,
    Timer,
    distinct_operations,
    fitted,
    measure,
    measure_whole,
    operation_sites,
)
from fpnas.cost.latency.latency_table import LARGEST_BATCH
from fpnas.elastic import Supernet
from fpnas.errors import InputError
from fpnas.files import cache_folder, write_whole
from fpnas.runner.folder import read_json
from fpnas.runner.latency_runtimes import Runtime
from fpnas.space import Arch, Option

RUN_TABLE = "latency.json"
"""The table of a search with a target in ms, in its folder."""

SAVE_EVERY = 512
"""Operations after which a measurement writes down what it has; one that is cut off goes on from there."""

NETWORKS = 8
"""Random networks that are timed whole, for the fit of a table."""

DRAWN = 256
"""Of so many random networks these are taken, evenly spread in their sums."""

Progressed = Callable[[int, int], None]
"""(operations measured, operations to measure)."""


def latency_table(
    supernet: Supernet,
    input_shape: tuple[int, ...],
    *,
    batch_size: int = 1,
    device: str = "cpu",
    threads: int | None = None,
    runtime: str = "torch",
    arch: Mapping[str, Option] | None = None,
    networks: int | None = None,
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
        runtime: "torch", "onnxruntime" or "onnxruntime-int8", the runtime of exported files on the CPU.
        arch: measure the operations of this architecture alone.
        networks: random networks that are timed whole, to fit the sums to them; 8 by default, 0 for none. Of `arch`
            none.
        cache: folder of the cache; `latency` in fpnas's part of the user's cache by default.
        timer: the clock; the device's by default.
        told: called as the measurement goes on.

    Raises:
        InputError: the supernet can't take `input_shape`, the batch or the threads are none, or the runtime is unknown,
            not installed or not for this device.
    """
    place = Runtime(runtime, device)
    if not 1 <= batch_size <= LARGEST_BATCH or (threads is not None and threads < 1):
        expected = f"a batch of 1 to {LARGEST_BATCH:,}, and threads of 1 or more"
        raise InputError(expected, f"{batch_size} and {threads}", "correct them")
    operations = distinct_operations(supernet, operation_sites(supernet, input_shape), arch)
    with parallel.threads(threads):
        count = torch.get_num_threads()
        known = LatencyTable({}, batch_size, device_name(device), count, **place.conditions())
        file = (cache_folder("latency") if cache is None else Path(cache)) / _file_name(known)
        known = _cached(file, known)
        key = LatencyTable.key(operations)
        whole = 0 if arch is not None else NETWORKS if networks is None else networks

        def lacking() -> bool:
            return any(name not in known.operations for name in operations) or bool(whole and key not in known.fits)

        if lacking():
            with _locked(file) as writable:
                known = _cached(file, replace(known, operations={}, fits={}))  # another process may have been quicker
                missing = [operation for name, operation in operations.items() if name not in known.operations]
                for start in range(0, len(missing), SAVE_EVERY):
                    found = measure(
                        missing[start : start + SAVE_EVERY],
                        timer or _clock(device),
                        batch_size=batch_size,
                        device=torch.device(device),
                        prepare=place.prepare(batch_size, count),
                        told=None if told is None else lambda done, start=start: told(start + done, len(missing)),
                    )
                    known = replace(known, operations={**known.operations, **found})
                    if writable:
                        _write(file, known)
                if lacking():
                    archs, sums = spread(Latency(supernet, input_shape, replace(known, fits={})), whole)
                    runnables = [place.network(supernet, each, (batch_size, *input_shape), count) for each in archs]
                    fit = fitted(sums, measure_whole(runnables, timer or _clock(device)))
                    known = replace(known, fits={**known.fits, key: fit})
                    if writable:
                        _write(file, known)
    return known.only(operations)


def spread(latency: Latency, count: int) -> tuple[list[Arch], list[float]]:
    """Random architectures, evenly spread in their sums, and these."""
    space = latency.space
    random = torch.Generator().manual_seed(0)
    columns = [torch.randint(n, (DRAWN,), generator=random) for n in space.cardinalities]
    codes = torch.stack(columns, dim=1).unique(dim=0)
    ms = latency(codes)
    order = ms.argsort()
    wanted = torch.linspace(float(ms.min()), float(ms.max()), count, dtype=ms.dtype)
    places = torch.searchsorted(ms[order], wanted).clamp(max=len(order) - 1).unique()
    chosen = order[places].tolist()
    return [space.decode(codes[index].tolist()) for index in chosen], [float(ms[index]) for index in chosen]


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
    of_torch = {"runtime", "version"} if table.runtime == "torch" else set[str]()  # files of earlier versions go on
    conditions = {name: value for name, value in table.conditions.items() if name not in of_torch}
    digest = hashlib.blake2b(json.dumps(conditions, sort_keys=True).encode(), digest_size=4).hexdigest()
    runtime = "" if table.runtime == "torch" else f"{table.runtime}-"
    return f"{readable}-{runtime}batch{table.batch_size}-threads{table.threads}-{digest}.json"


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
