"""Coarse to fine: when to join the variables of a block (the paper's table of theta).

python benchmarks/paper/theta.py [--scale small|full] [--seeds 5] [--results FILE.md]
"""

from __future__ import annotations

from judging import Claim, Found, accuracy, duration, perform, samples, table
from protocol import WITHIN, Arm

JOINT, EARLY, LATE, FACTORISED = "joint only", "theta = 0.45", "theta = 0.83", "factorised only"
THETAS = {
    JOINT: (0.0, "59.9 k samples, 2.4 GPU-days, 68.6 %"),
    EARLY: (0.45, "54.3 k, 2.1, 68.6 % (80 of about 180 epochs)"),
    LATE: (0.83, "51.8 k, 2.1, 68.2 % (150)"),
    FACTORISED: (1.0, "54.4 k, 2.2, 67.6 %"),
}
LETTERS = (EARLY, JOINT)
"""Those that are also run by the paper's step to the letter."""

CLAIMS: dict[str, tuple[int, float, Claim, str]] = {
    EARLY: (9, 1.1, "no loss", "equal"),
    LATE: (14, 1.1, "behind", "0.4 points behind"),
    FACTORISED: (9, 1.1, "behind", "1.0 points behind"),
}
"""Against joint only, from the published rows: per cent fewer samples, times faster, accuracy."""


def arms(scale: str) -> tuple[Arm, ...]:
    small = scale == "small"
    own = (("lr", 0.1), ("lam", 0.5)) if small else (("lam", 0.25),)
    thetas = ((name, ("join_at", at), row) for name, (at, row) in THETAS.items())
    return (
        *(Arm(name, options=(*WITHIN, *own, at), published=row) for name, at, row in thetas),
        *(Arm(f"{n}, to the letter", options=(*own, ("join_at", THETAS[n][0]))) for n in LETTERS),
    )


def lines(scale: str, found: Found) -> list[str]:
    said = [*table(arms(scale), found, JOINT), ""]
    for name, (fewer, faster, claim, published) in CLAIMS.items():
        pair = found[name], found[JOINT]
        said.append(
            f"* {name}, against {JOINT}: {samples(*pair, fewer)}; {duration(*pair, faster)};"
            f" {accuracy(*pair, claim, published)}."
        )
    early, joint = (found[f"{name}, to the letter"] for name in LETTERS)
    said.append(
        f"* {LETTERS[0]}, to the letter, against {LETTERS[1]}, to the letter: {samples(early, joint, 9)}; "
        f"{duration(early, joint, 1.1)}; {accuracy(early, joint, 'no loss', 'equal')}."
    )
    gain = accuracy(found[EARLY], found[FACTORISED], "ahead", "1.0 points ahead")
    return [*said, f"* {EARLY}, against {FACTORISED}: {gain}."]


if __name__ == "__main__":
    perform("theta", "Coarse to fine: theta", __doc__, arms, lines)
