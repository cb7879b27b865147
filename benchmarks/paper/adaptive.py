"""Fixed against adaptive sampling, and PARSEC (the paper's figure of fixed and adaptive K, and its claim over PARSEC).

Arms: joint tables with K fixed, the greatest of them PARSEC's, which is the K0 of FP-NAS; adaptive sampling alone
(joint from the start); and FP-NAS whole, adaptive and coarse to fine, by the paper's eq. 7 and by ours. At small scale
the space has 21.5 nats where the paper's has 56, so lambda is 1/2 for K0 = 11, where the paper has 1/4 for K0 = 14.

    python benchmarks/paper/adaptive.py [--scale small|full] [--seeds 3] [--results FILE.md]
"""

from __future__ import annotations

from protocol import Arm, difference, plan, ratio, report, run, table, verdict

EQ7 = (("update", "eq7"), ("lr", 0.1))
"""A small search has a few hundred steps of alpha: a rate of three times the default, in every arm of eq. 7."""

FIXED = {4: "K = 4: 67.7 %, 2.2 GPU-days", 7: "7: 67.6 %, 2.8", 11: "14: 68.3 %, 4.3"}
ADAPTIVE = {8: "1/16: 67.0 %, 1.9", 4: "1/8: 68.2 %, 2.1", 2: "1/4: 68.6 %, 2.4"}

PARSEC = "PARSEC, K = 11"
WHOLE = "FP-NAS, lambda = 1/2"
OURS = "ours, lambda = 1/2"
ALONE = "adaptive alone, lambda = 1/2"

ARMS = (
    *(
        Arm(PARSEC if k == 11 else f"fixed, K = {k}", "parsec", (("num_samples", k), ("lr", 0.1)), published=row)
        for k, row in FIXED.items()
    ),
    *(
        Arm(f"adaptive alone, lambda = 1/{part}", "fpnas", (*EQ7, ("lam", 1 / part), ("join_at", 0.0)), published=row)
        for part, row in ADAPTIVE.items()
    ),
    Arm(WHOLE, "fpnas", (*EQ7, ("lam", 0.5)), published="68.6 %, 2.1 (theta = 80)"),
    Arm(OURS, "fpnas", (("lam", 0.5),)),
    Arm("ours, lambda = 1/4", "fpnas", (("lam", 0.25),)),
)


def main() -> None:
    asked = plan("adaptive", __doc__)
    found = run(asked, ARMS)
    lines = [*table(ARMS, found, PARSEC), ""]
    for name, claim in ((ALONE, "about 60 % fewer, 1.8x"), (WHOLE, "64 % fewer, 2.1x"), (OURS, "64 % fewer, 2.1x")):
        ours, theirs = found[name], found[PARSEC]
        fewer = 100 * (1 - float(ratio([o.samples for o in ours], [o.samples for o in theirs])))
        faster = 1 / float(ratio([o.search_seconds for o in ours], [o.search_seconds for o in theirs]))
        lines.append(
            f"* {name}, against {PARSEC} (published: {claim}): {fewer:.0f} % fewer samples, {faster:.1f}x less time,"
            f" {verdict(difference(ours, theirs))}."
        )
    report(asked, "adaptive", "Fixed against adaptive sampling", lines)


if __name__ == "__main__":
    main()
