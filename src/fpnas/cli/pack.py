"""`fpnas latency`: milliseconds of another device, from a folder of files that is timed there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fpnas.text import counted

latency = typer.Typer(name="latency", help="Milliseconds of another device, such as a Raspberry Pi.")


@latency.command()
def pack(
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder to write.")],
    image_size: Annotated[int, typer.Option("--image-size", min=1, max=4096, help="Pixels a side.")],
    space: Annotated[str, typer.Option("--space", help="See fpnas spaces; your own by --import.")] = "tiny",
    num_classes: Annotated[int, typer.Option("--num-classes", min=1, max=100_000, help="Of your images.")] = 10,
    in_channels: Annotated[int, typer.Option("--in-channels", min=1, max=1024, help="1 for grey images.")] = 3,
    runtime: Annotated[
        str, typer.Option("--runtime", metavar="onnxruntime|onnxruntime-int8", help="What the device will run.")
    ] = "onnxruntime",
) -> None:
    """Write a folder to copy to the device: the operations of a space as ONNX files, and measure.py, which times them.

    There: python measure.py --threads 4. It needs numpy and onnxruntime. Copy times.json back, then fpnas latency read.
    """
    from fpnas.runner.latency_pack import write_pack

    found = write_pack(out, space, num_classes, (in_channels, image_size, image_size), runtime)
    print(f"{counted(len(found.operations), 'operation')} and {counted(len(found.networks), 'network')} in {out}")
    print(f"next: copy {out} to the device, run `python measure.py` there, copy times.json back")
    print(f"then: fpnas latency read {out}")


@latency.command()
def read(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A pack with its times.json.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="The table to write; by default latency.json in the folder.")
    ] = None,
) -> None:
    """Make a latency table of a pack that was timed on a device."""
    from fpnas.files import write_whole
    from fpnas.runner.latency_pack import read_pack

    table = read_pack(folder)
    file = folder / "latency.json" if out is None else out
    write_whole(file, json.dumps(table.to_json(), indent=1).encode())
    print(f"{counted(len(table.operations), 'operation')} on {table.device} in {file}")
    print(f"next: fpnas search --target-ms MS --latency-table {file} ...")
