"""Split attention: none (squeeze-excite or nothing is searched), 2 or 4 splits in every block, or searched.

python benchmarks/paper/splits.py [--scale small|full] [--seeds 3] [--results FILE.md]
"""

from __future__ import annotations

from dataclasses import replace

from protocol import Arm, difference, plan, report, run, table, verdict

from fpnas.spaces.macro import FBNETV2, FP_NAS

NONE = "none"
ARMS = (
    Arm(NONE, micro=FBNETV2, published="58 M, 68.6 %"),
    Arm("all 2", micro=replace(FP_NAS, splits=(2,)), published="65 M, 69.3 %"),
    Arm("all 4", micro=replace(FP_NAS, splits=(4,)), published="79 M, 69.5 %"),
    Arm("searched", micro=FP_NAS, published="66 M, 70.0 %"),
)


def main() -> None:
    asked = plan("splits", __doc__)
    found = run(asked, ARMS)
    lines = [*table(ARMS, found, NONE), ""]
    lines += [
        f"* {arm.name}, against {NONE}: {verdict(difference(found[arm.name], found[NONE]))}."
        for arm in ARMS
        if arm.name != NONE
    ]
    report(asked, "splits", "Split attention", lines)


if __name__ == "__main__":
    main()
