"""The larger space: each block chooses for itself (the paper's FBNetV2-F-Fine).

K is fixed at 14 as in the paper, at small scale at 19, the K0 of the adaptive arms there.

    python benchmarks/paper/fine.py [--scale small|full] [--seeds 5] [--results FILE.md]
"""

from __future__ import annotations

from judging import Found, accuracy, perform, table
from protocol import WITHIN, Arm

ADAPTIVE, LETTERED, OURS = "fine, adaptive", "fine, adaptive, to the letter", "fine, ours"


def fixed(scale: str) -> int:
    """K of the arm that doesn't adapt it."""
    return 19 if scale == "small" else 14


def arms(scale: str) -> tuple[Arm, ...]:
    small, k = scale == "small", fixed(scale)
    rate = (("lr", 0.1),) if small else ()
    lam = ("lam", 0.5 if small else 0.25)
    row = "14 there: 66.3 %" if small else "66.3 %"
    return (
        Arm(f"fine, fixed K = {k}", "parsec", (("num_samples", k), *rate), fine=True, published=row),
        Arm(ADAPTIVE, options=(*WITHIN, *rate, lam), fine=True, published="67.2 %"),
        Arm(LETTERED, options=(*rate, lam), fine=True),
        Arm(OURS, "fpnas-posterior", (lam,), fine=True),
    )


def lines(scale: str, found: Found) -> list[str]:
    base = f"fine, fixed K = {fixed(scale)}"
    return [
        *table(arms(scale), found, base),
        "",
        *(
            f"* {name}, against {base}: {accuracy(found[name], found[base], 'ahead', '0.9 points ahead')}."
            for name in (ADAPTIVE, LETTERED, OURS)
        ),
    ]


if __name__ == "__main__":
    perform("fine", "The larger space", __doc__, arms, lines)
