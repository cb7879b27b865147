"""What our update's temperature is worth: kept, or falling over the search (ours; the paper has no such experiment).

python benchmarks/paper/cooling.py [--seeds 9] [--results FILE.md]
"""

from __future__ import annotations

from judging import Found, difference, perform, table
from protocol import Arm

KEPT = "cooling 1.0"
FALLING = ("cooling 0.03", "cooling 0.1")


def arms(scale: str) -> tuple[Arm, ...]:
    del scale  # the arms hold what differs
    return tuple(Arm(name, "fpnas-posterior", (("cooling", float(name.split()[1])),)) for name in (KEPT, *FALLING))


def lines(scale: str, found: Found) -> list[str]:
    said = [*table(arms(scale), found, KEPT), ""]
    return [*said, *(f"* {name} against {KEPT}: {difference(found[name], found[KEPT])}." for name in FALLING)]


if __name__ == "__main__":
    perform("cooling", "The temperature of our update, kept or falling", __doc__, arms, lines)
