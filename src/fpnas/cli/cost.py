"""`fpnas cost`: what an architecture costs, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fpnas.cli.latency import LatencyBatch, LatencyFile, LatencyRuntime, table_for, warn_without_use
from fpnas.cli.options import ImageSize, Json, Machine, set_up
from fpnas.cli.output import print_json, print_table
from fpnas.errors import InputError
from fpnas.text import percent


def cost(
    arch: Annotated[Path, typer.Argument(metavar="RUN|ARCH.json", help="A run's folder, or an arch.json.")],
    image_size: ImageSize = None,
    latency: Annotated[
        bool,
        typer.Option(
            "--latency", help="Also the milliseconds of a forward pass; measures what the cache doesn't hold."
        ),
    ] = False,
    latency_batch: LatencyBatch = None,
    latency_file: LatencyFile = None,
    runtime: LatencyRuntime = None,
    as_json: Json = False,
    *,
    machine: Machine,
) -> None:
    """Multiply-adds and parameters of an architecture, layer by layer, and its latency."""
    from fpnas.cost import arch_latency, layers_file
    from fpnas.runner import read_arch

    device, _ = set_up(machine.threads, machine.device)
    record = read_arch(arch)
    supernet = record.supernet()
    least, most = supernet.image_sizes or (1, 4096)
    size = record.image_size if image_size is None else image_size
    if size is None:
        raise InputError("an image size, in the file or by flag", "none", "give --image-size")
    if not least <= size <= most:
        raise InputError(f"an image size of {least} to {most} for the space {record.space!r}", str(size), "correct it")
    shape = (record.in_channels, size, size)
    found: dict[str, Any] = layers_file(supernet, record.arch, shape)
    if latency:
        table = table_for(
            supernet,
            shape,
            file=latency_file,
            folder=arch,
            batch_size=latency_batch,
            device=device,
            runtime=runtime,
            arch=record.arch,
        )
        operations: list[dict[str, Any]] = [
            {"operation": name, "count": count, "ms": took}
            for name, count, took in arch_latency(supernet, record.arch, shape, table)
        ]
        ms = sum(operation["ms"] for operation in operations)
        found |= {"latency_ms": ms, "latency": {**table.conditions, "operations": operations}}
    else:
        warn_without_use(latency_batch, latency_file, "--latency", runtime)
    if as_json:
        print_json(found)
        return
    flops, params = found["flops"], found["params"]
    rows = [
        [
            layer["name"],
            layer["kind"],
            f"{layer['flops']:,}",
            percent(100 * layer["flops"] / flops, 1),
            f"{layer['params']:,}",
            percent(100 * layer["params"] / params, 1),
            "x".join(map(str, layer["output_shape"])),
        ]
        for layer in found["layers"]
    ]
    rows.append(["total", "", f"{flops:,}", "100 %", f"{params:,}", "100 %", ""])
    title = f"{record.space} at {size} px"
    print_table(title, ["layer", "kind", "FLOPs", "share", "parameters", "share", "output"], rows)
    if latency:
        used = found["latency"]
        threads = "" if used["threads"] is None else f", threads {used['threads']}"
        runtime = used["runtime"]
        print(f"{found['latency_ms']:.3g} ms in {runtime} on {used['device']}, batch {used['batch_size']}{threads}")
