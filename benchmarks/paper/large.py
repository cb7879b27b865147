"""Large models (the paper's L0 to L2 beside EfficientNet and others): one method at rising targets.

At small scale `tiny` is searched at three targets, each beside random search with the same steps; at full scale the
spaces are `fpnas-l0` to `-l2` at 224, 240 and 256 px and 399, 728 and 1,045 M multiply-adds, and the peers to set them
beside are the paper's: EfficientNet-B0 390 M, 77.3 %; B1 734 M, 79.1 %; B2 1,050 M, 80.3 %.

    python benchmarks/paper/large.py [--scale small|full] [--seeds 5] [--results FILE.md]
"""

from __future__ import annotations

from judging import Found, difference, perform, table
from protocol import Arm

from fpnas.spaces.large import L0, L1, L2
from fpnas.spaces.macro import FP_NAS

SIZES = {
    "L0": (L0, 224, (1.5e6, 399e6), "399 M, 78.0 %, 28.7 GPU-days"),
    "L1": (L1, 240, (3e6, 728e6), "728 M, 80.0 %, 58.6"),
    "L2": (L2, 256, (6e6, 1045e6), "1,045 M, 80.7 %, 69.1"),
}
ARMS = tuple(
    Arm(f"{name}, {word}", method, options, micro=FP_NAS, rows=rows, image_size=px, target=target, published=said)
    for name, (rows, px, target, published) in SIZES.items()
    for word, method, options, said in (
        ("found", "fpnas-posterior", (), published),
        ("random", "random", (("frozen", True), ("num_samples", 2)), "-"),
    )
)


def arms(scale: str) -> tuple[Arm, ...]:
    del scale  # the arms hold what differs
    return ARMS


def lines(scale: str, found: Found) -> list[str]:
    said = [*table(arms(scale), found, "L0, found"), ""]
    for name in SIZES:
        gap = difference(found[f"{name}, found"], found[f"{name}, random"])
        said.append(f"* {name}: found against random search (the paper has no such row): {gap}.")
    said.append("* The paper's claim, ahead of EfficientNet at equal multiply-adds, needs ImageNet: not judged here.")
    return said


if __name__ == "__main__":
    perform("large", "Large models", __doc__, arms, lines)
