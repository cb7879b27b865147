"""Split attention: none (squeeze-excite or nothing is searched), 2 or 4 splits in every block, or searched.

At full scale each arm is searched towards the multiply-adds that the paper prints of it; small, all towards the same.

    python benchmarks/paper/splits.py [--scale small|full] [--seeds 5] [--results FILE.md]
"""

from __future__ import annotations

from dataclasses import replace

from judging import Found, accuracy, perform, table
from protocol import Arm

from fpnas.spaces.macro import FBNETV2, FP_NAS

NONE, TWO, FOUR, SEARCHED = "none", "all 2", "all 4", "searched"
ARMS = (
    Arm(NONE, "fpnas-posterior", micro=FBNETV2, target=(3e6, 58e6), published="58 M, 68.6 %"),
    Arm(TWO, "fpnas-posterior", micro=replace(FP_NAS, splits=(2,)), target=(3e6, 65e6), published="65 M, 69.3 %"),
    Arm(FOUR, "fpnas-posterior", micro=replace(FP_NAS, splits=(4,)), target=(3e6, 79e6), published="79 M, 69.5 %"),
    Arm(SEARCHED, "fpnas-posterior", micro=FP_NAS, target=(3e6, 66e6), published="66 M, 70.0 %"),
)
CLAIMS = ((TWO, NONE, 0.7), (FOUR, NONE, 0.9), (SEARCHED, NONE, 1.4), (SEARCHED, TWO, 0.7), (SEARCHED, FOUR, 0.5))
"""The first is so many points ahead of the second."""


def arms(scale: str) -> tuple[Arm, ...]:
    del scale  # the arms hold what differs
    return ARMS


def lines(scale: str, found: Found) -> list[str]:
    said = [*table(arms(scale), found, NONE), ""]
    for name, other, points in CLAIMS:
        gain = accuracy(found[name], found[other], "ahead", f"{points} points ahead")
        said.append(f"* {name}, against {other}: {gain}.")
    return said


if __name__ == "__main__":
    perform("splits", "Split attention", __doc__, arms, lines)
