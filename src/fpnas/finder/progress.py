"""One display for all stages of a job: which one it is, and the time that is left for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from fpnas import parallel
from fpnas.job import Job
from fpnas.runner import Progress
from fpnas.runner.progress import LineProgress


class Display:
    """Shows the stages of a job, in order: a search, then trainings of one length.

    Args:
        names: what each is called.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._training = 0.0
        self._console = Console(stderr=True)

    def expect(self, seconds: float) -> None:
        """What a training will take, as far as is known by now."""
        self._training = seconds

    def begin(self, name: str) -> Progress:
        """The display of a stage's run."""
        if parallel.rank() > 0:
            return Progress()
        number, search = self.names.index(name), self.names.index("search")
        # Before the search, its length isn't known.
        after = None if number < search else self._training * (len(self.names) - 1 - number)
        what = name if number == search else f"train the {name}"
        return _Stage(self._console, f"{number + 1}/{len(self.names)} {what}", after)

    def say(self, text: str) -> None:
        """A line on stderr."""
        if parallel.rank() == 0:
            self._console.print(text, highlight=False, soft_wrap=True, markup=False)


class _Stage(LineProgress):
    """A run that is one stage: one that had ended before goes without a word."""

    def already_ended(self, job: Job[object], path: Path) -> None:
        del job, path
