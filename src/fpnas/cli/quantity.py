"""Numbers with a suffix, as people write budgets."""

from __future__ import annotations

import math
import re

from fpnas.errors import InputError

_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "b": 3}


def parse_quantity(text: str, flag: str, kilo: int = 1000) -> float:
    """3M, 2.5e6, 400k, 1.1G as a number above 0, or `InputError`; `kilo` is 1,024 for bytes of memory."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([kmgb]?)\s*", text, re.IGNORECASE)
    value = float(match[1]) * float(kilo ** _POWERS[match[2].lower()]) if match else math.nan
    if not (math.isfinite(value) and value > 0):
        raise InputError(
            f"a number above 0 for {flag}, such as 3M", repr(text), f"use k, M or G for {kilo:,} and so on"
        )
    return value


def parse_targets(text: str, flag: str, kilo: int = 1000) -> list[float]:
    """One quantity or several by commas, as 20M,40M; sorted, each once."""
    return sorted({parse_quantity(part, flag, kilo) for part in text.split(",")})
