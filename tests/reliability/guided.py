"""Damage that follows the reader: a file that leads to a step which none led to before is kept, and damaged further.

This is what AFL and libFuzzer do, here with `sys.settrace` on the lines of fpnas alone. atheris, which is libFuzzer for
Python, takes 130 MB, ends its process and would have to be another version on each Python; the readers' own checks are
a few hundred lines, which this reaches as well.
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any

from damage import drawn
from readers import READERS, Sound, try_out

import fpnas

SOURCE = str(Path(fpnas.__file__).parent)
LARGEST = 2**16
"""Bytes of a file that is damaged further: "repeat" makes them grow."""

Step = tuple[CodeType, int, "int | type[BaseException]"]
"""In a piece of code, from a line to the next, or to the error that it raised."""


class Trail:
    """Notes, within it, the steps that this thread takes through fpnas's own files."""

    def __init__(self) -> None:
        self.steps: set[Step] = set()

    def __enter__(self) -> Trail:
        self._before = sys.gettrace()
        sys.settrace(self._enter)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.settrace(self._before)

    def _enter(self, frame: FrameType, event: str, arg: Any) -> Any:
        code, last = frame.f_code, frame.f_lineno
        if not code.co_filename.startswith(SOURCE):
            return None

        def within(frame: FrameType, event: str, arg: Any) -> Any:
            nonlocal last
            if event == "exception":
                self.steps.add((code, frame.f_lineno, arg[0]))
            elif event == "line":
                self.steps.add((code, last, frame.f_lineno))
                last = frame.f_lineno
            return within

        return within


@dataclass(frozen=True)
class Explored:
    """How many files were read, how many of them were kept, and how many steps they led to."""

    cases: int
    kept: int
    steps: int


def explored(name: str, sound: Sound, cases: int, seed: int) -> Explored:
    """Lets a reader read its sound file and `cases` - 1 damaged ones; a failure says which bytes it was."""
    draws = random.Random(seed)
    corpus, seen = [sound(name)[1]], set[Step]()
    for case in range(cases):
        content = corpus[0] if case == 0 else drawn(draws, READERS[name].kinds, draws.choice(corpus), corpus)
        trail = Trail()
        try:
            with trail:
                try_out(name, content, sound)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # what comes from Rust isn't an Exception
            raise AssertionError(f"{name}, seed {seed}, case {case}: {content!r}") from error
        if case and trail.steps - seen and len(content) <= LARGEST:
            corpus.append(content)
        seen |= trail.steps
    return Explored(cases, len(corpus), len(seen))
