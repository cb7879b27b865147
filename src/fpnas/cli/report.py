"""`fpnas report`: runs as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of searches or trainings.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The page; by default report.html, in the run's folder if there is one."),
    ] = None,
) -> None:
    """Show one run, or several side by side, as a page that opens offline."""
    from fpnas.report import write_report

    print(write_report(runs, out))
