"""`fpnas watch`: follows a run from another terminal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from fpnas.runner.folder import read_json
from fpnas.runner.watch import follow

QUIET_SECONDS = 60.0
"""Without a step, after which it is said for how long there was none."""


def watch(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a search or a training.")],
    every: Annotated[float, typer.Option("--every", min=0.05, help="Seconds between looks at the log.")] = 1.0,
) -> None:
    """Follow a run until it ends, from another terminal; Ctrl-C leaves the run alone."""
    from rich.console import Console

    from fpnas.runner.progress import Screen

    steps = follow(run, every=every)
    first = next(steps, None)  # refuses a folder without a run before anything is shown
    facts = read_json(run / "run.json")
    settings: Any = facts.get("settings")
    total = facts.get("steps_total")
    with Screen(
        Console(),
        str(facts.get("kind", "run")),
        settings if isinstance(settings, dict) else {},
        total if isinstance(total, int) else None,
    ) as screen:
        if first is not None:
            screen.add(first)
        came = time.monotonic()
        for line in steps:
            if line is not None:
                screen.add(line)
                came = time.monotonic()
            quiet = time.monotonic() - came
            # In a terminal each look draws; elsewhere a line a step at most.
            if screen.due if line is not None else screen.live is not None:
                screen.draw(f"no step for {quiet:.0f} s: was it stopped?" if quiet > QUIET_SECONDS else "")
        screen.draw("the run has ended")
        if screen.live is None:
            screen.say("the run has ended")
