"""The larger space: each block chooses for itself (the paper's FBNetV2-F-Fine).

python benchmarks/paper/fine.py [--scale small|full] [--seeds 3] [--results FILE.md]
"""

from __future__ import annotations

from protocol import Arm, difference, plan, report, run, table, verdict

EQ7 = (("update", "eq7"), ("lr", 0.1), ("lam", 0.5))
FIXED = "fine, fixed K = 19"
ADAPTIVE = "fine, adaptive"
TARGET = (0.8e6, 60e6)

ARMS = (
    Arm(FIXED, "parsec", (("num_samples", 19), ("lr", 0.1)), fine=True, target=TARGET, published="66.3 %"),
    Arm(ADAPTIVE, "fpnas", EQ7, fine=True, target=TARGET, published="67.2 %"),
    Arm("fine, ours", "fpnas", (("lam", 0.5),), fine=True, target=TARGET),
)


def main() -> None:
    asked = plan("fine", __doc__)
    found = run(asked, ARMS)
    gap = verdict(difference(found[ADAPTIVE], found[FIXED]))
    ours = verdict(difference(found["fine, ours"], found[FIXED]))
    lines = [
        *table(ARMS, found, FIXED),
        "",
        f"* Adaptive against fixed (published: 0.9 points ahead): {gap}; ours against fixed: {ours}.",
    ]
    report(asked, "fine", "The larger space", lines)


if __name__ == "__main__":
    main()
