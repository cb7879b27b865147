"""Against FBNetV2 and DARTS (the paper's S1 to S4 against F1 to F4): the same supernet, data and epochs.

At full scale at 128, 160, 192 and 256 px, towards the multiply-adds that the paper prints of S1 to S4.

    python benchmarks/paper/fbnetv2.py [--scale small|full] [--seeds 5] [--results FILE.md]
"""

from __future__ import annotations

from typing import Any

from judging import Found, accuracy, difference, duration, perform, table
from protocol import WITHIN, Arm

FBNETV2 = "FBNetV2"
QUICK = "FBNetV2, rate 0.1"
"""At its own rate of 0.01 alpha hardly moves in a small search."""

PAIRED = ("FP-NAS", "FP-NAS to the letter", "ours")
"""What is set against FBNetV2."""
SIZES = {
    1: (128, 58e6, "68.3 %, 8.3 GPU-days", "58 M, 68.6 %, 2.4", 3.5, "0.3 points ahead"),
    2: (160, 88e6, "71.1 %, 8.3", "88 M, 71.3 %, 2.8", 3.0, "0.2 points ahead"),
    3: (192, 131e6, "73.2 %, 8.3", "131 M, 73.4 %, 3.3", 2.5, "0.2 points ahead"),
    4: (256, 240e6, "75.9 %, 8.3", "240 M, 76.2 %, 4.3", 1.9, "0.3 points ahead"),
}
"""Of F1 to F4 and S1 to S4: px, multiply-adds wanted, the published rows, and by what S was faster and ahead."""

SMALL = (
    Arm(FBNETV2, "fbnetv2", published="68.3 to 75.9 %, 8.3 GPU-days"),
    Arm(QUICK, "fbnetv2", (("lr", 0.1),)),
    Arm("DARTS", "darts", (("lr", 0.01),)),
    Arm("FP-NAS", "fpnas", (*WITHIN, ("lr", 0.1), ("lam", 0.25)), published="68.6 to 76.2 %, 2.4 to 4.3"),
    Arm("FP-NAS to the letter", options=(("lr", 0.1), ("lam", 0.25))),
    Arm("ours", "fpnas-posterior"),
    Arm("random", "random", (("frozen", True), ("num_samples", 2))),
)


def arms(scale: str) -> tuple[Arm, ...]:
    if scale == "small":
        return SMALL
    sized: list[Arm] = []
    for n, (px, target, theirs, ours, _, _) in SIZES.items():
        same: dict[str, Any] = {"image_size": px, "target": (3e6, target)}
        sized += [
            Arm(f"F{n}, FBNetV2", "fbnetv2", published=theirs, **same),
            Arm(f"S{n}, FP-NAS", options=(*WITHIN, ("lam", 0.25)), published=ours, **same),
            Arm(f"S{n}, FP-NAS to the letter", options=(("lam", 0.25),), **same),
            Arm(f"S{n}, ours", "fpnas-posterior", **same),
        ]
    return (
        *sized,
        Arm("DARTS at 128 px", "darts"),
        Arm("random at 128 px", "random", (("frozen", True), ("num_samples", 2))),
    )


def lines(scale: str, found: Found) -> list[str]:
    if scale == "small":
        said = [*table(arms(scale), found, FBNETV2), ""]
        trials = [(name, other, 1.9, "0.2 to 0.3 points ahead") for name in PAIRED for other in (FBNETV2, QUICK)]
        darts = [("FP-NAS", "DARTS"), ("ours", "DARTS")]
    else:
        said = [*table(arms(scale), found, "F1, FBNetV2"), ""]
        trials = [
            (f"S{n}, {name}", f"F{n}, FBNetV2", faster, ahead)
            for n, (*_, faster, ahead) in SIZES.items()
            for name in PAIRED
        ]
        darts = [(f"S1, {name}", "DARTS at 128 px") for name in ("FP-NAS", "ours")]
    for name, other, faster, ahead in trials:
        pair = found[name], found[other]
        said.append(f"* {name}, against {other}: {duration(*pair, faster)}; {accuracy(*pair, 'no loss', ahead)}.")
    said += [
        f"* {name}, against {other} (the paper has no such row): {difference(found[name], found[other])}."
        for name, other in darts
    ]
    return said


if __name__ == "__main__":
    perform("fbnetv2", "Against FBNetV2 and DARTS", __doc__, arms, lines)
