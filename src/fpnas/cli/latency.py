"""Flags of latency, and the table that a command uses: a file's, that of the run, or one measured now."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fpnas.errors import InputError
from fpnas.space import Option

if TYPE_CHECKING:
    from fpnas.cost import LatencyTable
    from fpnas.elastic import Supernet

LatencyBatch = Annotated[
    int | None, typer.Option("--latency-batch", min=1, help="Batch size that latencies are measured at; 1 by default.")
]
LatencyFile = Annotated[
    Path | None, typer.Option("--latency-table", help="A table of another device; see docs/budgets.md.")
]
LatencyRuntime = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        metavar="torch|onnxruntime|onnxruntime-int8",
        help="Where latencies are measured; onnxruntime, which runs exported files, by default where it is installed "
        "and --device is the CPU.",
    ),
]


def table_for(
    supernet: Supernet,
    input_shape: tuple[int, ...],
    *,
    file: Path | None,
    folder: Path,
    batch_size: int | None,
    device: str,
    runtime: str | None = None,
    arch: Mapping[str, Option] | None = None,
) -> LatencyTable:
    """The table to use: `file`, else the one in the run `folder`, else one of `device`, measured where it isn't cached.

    Raises:
        InputError: a file that is no table, or one of another batch size or runtime.
    """
    from fpnas.runner import latency_table
    from fpnas.runner.latency_cache import RUN_TABLE
    from fpnas.runner.latency_runtimes import default_runtime

    kept = folder / RUN_TABLE
    if file is not None or kept.is_file():
        origin = file or kept
        table = read_table(origin, runtime)
        if batch_size not in (None, table.batch_size):
            got = f"{origin}, of batches of {table.batch_size}"
            raise InputError(f"latencies of batches of {batch_size}", got, "leave --latency-batch out")
        return table
    with _told() as told:
        return latency_table(
            supernet,
            input_shape,
            batch_size=batch_size or 1,
            device=device,
            runtime=runtime or default_runtime(device),
            arch=arch,
            told=told,
        )


def read_table(file: Path, runtime: str | None) -> LatencyTable:
    """The table in a file, which must be one of `runtime` where that is given.

    Raises:
        InputError: it is no table, or one of another runtime.
    """
    from fpnas.runner import read_latency_table

    table = read_latency_table(file)
    if runtime not in (None, table.runtime):
        raise InputError(f"latencies in {runtime}", f"{file}, of {table.runtime}", "leave --runtime out")
    return table


def warn_without_use(batch_size: int | None, file: Path | None, wanted: str, runtime: str | None = None) -> None:
    """Says which flags of latency have nothing to do without `wanted`."""
    for flag, value in (("--latency-batch", batch_size), ("--latency-table", file), ("--runtime", runtime)):
        if value is not None:
            warnings.warn(f"{flag} has no effect without {wanted}", stacklevel=2)


@contextmanager
def _told() -> Generator[Any]:
    """In a terminal a bar on stderr, from the first operations on."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not sys.stderr.isatty():
        yield None
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("measuring operations", visible=False)
        yield lambda done, total: progress.update(task, completed=done, total=total, visible=True)
