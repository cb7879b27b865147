"""Numbers with a suffix, as people write budgets."""

from __future__ import annotations

import math
import re

from fpnas.errors import InputError

_SUFFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}


def parse_quantity(text: str, flag: str) -> float:
    """3M, 2.5e6, 400k, 1.1G as a number above 0, or `InputError`."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([kmgb]?)\s*", text, re.IGNORECASE)
    value = float(match[1]) * _SUFFIXES[match[2].lower()] if match else math.nan
    if not (math.isfinite(value) and value > 0):
        raise InputError(
            f"a number above 0 for {flag}, such as 3M", repr(text), "use k, M or G for thousands and so on"
        )
    return value


def parse_targets(text: str, flag: str) -> list[float]:
    """One quantity or several by commas, as 20M,40M; sorted, each once."""
    return sorted({parse_quantity(part, flag) for part in text.split(",")})
