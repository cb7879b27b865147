"""Against FBNetV2 and DARTS (the paper's S1 to S4 against F1 to F4): the same supernet, data and epochs.

python benchmarks/paper/fbnetv2.py [--scale small|full] [--seeds 3] [--results FILE.md]
"""

from __future__ import annotations

from protocol import Arm, difference, plan, ratio, report, run, table, verdict

FBNETV2 = "FBNetV2"
QUICK = "FBNetV2, rate 0.1"
"""At its own rate of 0.01 alpha hardly moves in a small search."""

ARMS = (
    Arm(FBNETV2, "fbnetv2", published="68.3 to 75.9 %, 8.3 GPU-days"),
    Arm(QUICK, "fbnetv2", (("lr", 0.1),)),
    Arm("DARTS", "darts", (("lr", 0.01),)),
    Arm("FP-NAS", "fpnas", (("update", "eq7"), ("lr", 0.1), ("lam", 0.25)), published="68.6 to 76.2 %, 2.4 to 4.3"),
    Arm("ours", "fpnas"),
    Arm("random", "random"),
)


def main() -> None:
    asked = plan("fbnetv2", __doc__)
    found = run(asked, ARMS)
    lines = [*table(ARMS, found, FBNETV2), ""]
    for name in ("FP-NAS", "ours"):
        for other in (FBNETV2, QUICK, "DARTS"):
            faster = 1 / float(ratio([o.search_seconds for o in found[name]], [o.search_seconds for o in found[other]]))
            lines.append(
                f"* {name} against {other} (published against FBNetV2: 1.9x to 3.5x faster, 0.2 to 0.3 points ahead):"
                f" {faster:.1f}x faster, {verdict(difference(found[name], found[other]))}."
            )
    report(asked, "fbnetv2", "Against FBNetV2 and DARTS", lines)


if __name__ == "__main__":
    main()
