"""Numbers, names and Markdown, as commands, reports, cards and results files write them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NONE = "–"
"""Where there is no number."""

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&$^:@]|(?<=www)\.)", re.IGNORECASE)
"""What makes markup, HTML, or a link (a colon, an at sign, www.) in the midst of a line; no text here begins one."""


def short(value: float) -> str:
    """A number in four digits: 1.946 M, 85.83 k, 9,216, 0.6084."""
    if not math.isfinite(value):
        return NONE
    value = float(f"{value:.4g}") + 0.0  # rounded first, so that 999,999 is 1 M; and no -0
    for suffix, unit, least in (("G", 1e9, 1e9), ("M", 1e6, 1e6), ("k", 1e3, 1e4)):
        if abs(value) >= least:
            return f"{value / unit:.4g} {suffix}"
    return f"{value:,.0f}" if value.is_integer() else f"{value:.4g}"


def duration(seconds: float) -> str:
    """45 s, 5 min 43 s, 3 h 20 min."""
    if not math.isfinite(seconds):
        return NONE
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.3g} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def counted(number: int, noun: str) -> str:
    """1 step, 2,400 steps."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def lasting(number: int, noun: str, steps: int) -> str:
    """4 looks, which make 2,400 steps; 1 epoch, which makes 12 steps."""
    return f"{counted(number, noun)}, which make{'s' * (number == 1)} {counted(steps, 'step')}"


def held_out(number: int, source: str) -> str:
    """48 held-out images (test); for source "split": (split off the training images)."""
    return f"{counted(number, 'held-out image')} ({'split off the training images' if source == 'split' else source})"


def percent(value: float, digits: int = 2) -> str:
    """87.25 %, or with one digit 87.3 %."""
    return f"{value:.{digits}f} %" if math.isfinite(value) else NONE


def by_group(choices: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Options by the part of their names before the last dot: {"a.kernel": 3} is {"a": {"kernel": 3}}."""
    groups: dict[str, dict[str, Any]] = {}
    for name, option in choices.items():
        group, _, variable = name.rpartition(".")
        groups.setdefault(group, {})[variable] = option
    return groups


def one_line(value: str) -> str:
    """`value` with everything that isn't printable, line breaks among it, as a space."""
    return "".join(letter if letter.isprintable() else " " for letter in value)


# ------------------------------------------------------------------------------------------------------------ Markdown


def escaped(value: Any) -> str:
    """Any value as Markdown text that reads as it is: markup escaped, line breaks and control characters as spaces."""
    return _MARKUP.sub(r"\\\1", one_line(str(value)))


def code(lines: Iterable[str], language: str) -> list[str]:
    """A code block with a fence that is longer than any run of backticks in it."""
    body = [one_line(line) for line in lines]
    fence = "`" * max(3, 1 + _longest_backticks(body))
    return [fence + language, *body, fence]


def span(value: str) -> str:
    """Code within a line, between more backticks than any run of them in it."""
    body = one_line(value)
    fence, gap = "`" * (1 + _longest_backticks([body])), " " if "`" in body else ""
    return f"{fence}{gap}{body}{gap}{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table; cells are Markdown."""
    return ["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows)]


def _longest_backticks(lines: Sequence[str]) -> int:
    return max((len(run) for line in lines for run in re.findall(r"`+", line)), default=0)
