"""`fpnas export`: a trained network as a file for deployment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fpnas.cli.options import Json, Reading
from fpnas.cli.output import print_json, print_table, printable
from fpnas.text import percent, short


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A training's folder, or a search's with train/ in it.")],
    to: Annotated[str, typer.Option("--to", help="onnx, litert, c (for TensorFlow Lite Micro), pt2 or safetensors.")],
    out: Annotated[Path, typer.Option("--out", help="The file; FILE.json (or arch.json) and FILE.md go beside it.")],
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantise to int8, calibrated on --data; onnx or litert.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", help="Measures accuracy and time. --int8 calibrates with it, by default with the run's own."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    as_json: Json = False,
    *,
    reading: Reading,
) -> None:
    """Export a trained network, checked against torch, with a model card."""
    from fpnas.runner import export as export_run
    from fpnas.runner import read_arch, trained_folder
    from fpnas.runner.data_record import data_of_run

    images = None
    if data is not None or int8 or to == "c":
        folder = trained_folder(run)
        record = read_arch(folder)
        fit = None if record.images is None else record.images.fit
        images = data_of_run(folder, reading.record(data, record.image_size, fit)).load(reading.workers)
        reading.warn(images)
    done = export_run(run, to, out, data=images, int8=int8, overwrite=overwrite)
    if as_json:
        print_json({**done.facts, "path": str(done.file), "facts": str(done.facts_file), "card": str(done.card)})
        return
    facts = done.facts
    print(f"{done.file}: {short(facts['bytes'])} bytes; {done.facts_file.name} and {done.card.name} beside it")
    what = "before quantisation, " if facts["int8"] else ""
    print(f"{what}torch and the file differ by {facts['difference']:.1e} of the greatest logit at most")
    if "measured" in facts:
        found = facts["measured"]
        rows = [
            [
                name,
                percent(row["accuracy"]),
                short(row["bytes"]),
                f"{row['ms_per_image']:.3f}",
                "" if row["agrees"] is None else percent(row["agrees"]),
            ]
            for name, row in found["files"].items()
        ]
        title = f"{found['num_images']} held-out images ({found['heldout_from']}) of {printable(found['data'])}"
        print_table(title, ["file", "accuracy", "bytes", "ms an image", "same class as float"], rows)
        print(f"{found['runtime']}, one thread, one image at a time")
    if facts["int8"]:
        how = facts["quantisation"]
        ways = f"{len(how['divergence'])} ways on training images"
        print(f"ranges by {how['calibration']}, nearest to float of {ways}")
