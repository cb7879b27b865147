"""Coarse to fine: when to join the variables of a block (the paper's table of theta).

python benchmarks/paper/theta.py [--scale small|full] [--seeds 3] [--results FILE.md]
"""

from __future__ import annotations

from protocol import Arm, difference, plan, ratio, report, run, table, verdict

EQ7 = (("update", "eq7"), ("lr", 0.1), ("lam", 0.5))
JOINT = "joint only"
THETAS = {
    JOINT: (0.0, "59.9 k samples, 2.4 GPU-days, 68.6 %"),
    "theta = 0.45": (0.45, "54.3 k, 2.1, 68.6 % (80 of about 180 epochs)"),
    "theta = 0.83": (0.83, "51.8 k, 2.1, 68.2 % (150)"),
    "factorised only": (1.0, "54.4 k, 2.2, 67.6 %"),
}
ARMS = tuple(Arm(name, options=(*EQ7, ("join_at", at)), published=row) for name, (at, row) in THETAS.items())


def main() -> None:
    asked = plan("theta", __doc__)
    found = run(asked, ARMS)
    lines = [*table(ARMS, found, JOINT), ""]
    for name in THETAS:
        if name != JOINT:
            share = ratio([o.samples for o in found[name]], [o.samples for o in found[JOINT]])
            lines.append(
                f"* {name}, against {JOINT}: {share}x the samples, {verdict(difference(found[name], found[JOINT]))}."
            )
    report(asked, "theta", "Coarse to fine: theta", lines)


if __name__ == "__main__":
    main()
