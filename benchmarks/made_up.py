"""Made-up tables whose choices interact: NK landscapes (Kauffman & Weinberger 1989); accuracy rises with their cost.

Each of N choices adds a number that depends on its own option and on those of K others; the greater K, the less a sum
over single choices says. They stand beside the real tables where settings are chosen, so that NAS-Bench-Macro, which
results are reported on, is none that they were chosen by.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from fpnas.space import Choice, SearchSpace
from fpnas.tables import KnownTable, Rotation
from fpnas.tables.costs import exhaustive_cost
from fpnas.tables.known import Lookup, all_codes

SPREAD, NOISE = 0.02, 0.003
"""Standard deviations of the true accuracy over the space, and of a training's seed: 2 and 0.3 points."""

COST_SHARE = 0.5
"""How much of the accuracy follows the cost, in standard deviations, beside 1 of the landscape."""


def nk_values(choices: int, options: int, k: int, rng: np.random.Generator, codes: NDArray[np.int64]) -> NDArray:
    """The landscape's value of each row of `codes`, (N,), standardised over these."""
    total = np.zeros(len(codes))
    for choice in range(choices):
        others = rng.choice([c for c in range(choices) if c != choice], k, replace=False)
        table = rng.random((options,) * (k + 1))
        total += table[(codes[:, choice], *(codes[:, other] for other in others))]
    return (total - total.mean()) / total.std()


def nk_wide(k: int, seed: int, choices: int = 12, options: int = 4, rotations: int = 3) -> KnownTable:
    """The same of more architectures than fit into memory as codes: 16.8 million by default."""
    rng = np.random.default_rng([seed, k, choices])
    space = SearchSpace([Choice(f"choice{number}", tuple(range(options))) for number in range(choices)])
    prices = np.sort(rng.random((choices, options)), axis=1) + 0.1
    value, cost = np.zeros(space.cardinalities), np.zeros(space.cardinalities)
    for choice in range(choices):
        read = sorted({choice, *rng.choice([c for c in range(choices) if c != choice], k, replace=False).tolist()})
        value += rng.random([options if c in read else 1 for c in range(choices)])
        cost += 100 * prices[choice].reshape([options if c == choice else 1 for c in range(choices)])
    value = (value - value.mean()) / value.std() + COST_SHARE * (cost - cost.mean()) / cost.std()
    truth = (0.7 + SPREAD * value / value.std()).ravel()
    seen = [truth + rng.normal(0, NOISE, len(truth)) for _ in range(rotations)]
    digest = hashlib.sha256(b"".join(part.tobytes() for part in (truth, *seen)))
    true = Lookup(space, truth)
    return KnownTable(
        name=f"NK({choices}, {k}), seed {seed}",
        space=space,
        rotations=tuple(Rotation(Lookup(space, own), true) for own in seen),
        costs={"cost": exhaustive_cost("cost", space, cost.ravel())},
        exhaustive=True,
        digest=digest.hexdigest()[:16],
    )


def nk(k: int, seed: int, choices: int = 8, options: int = 4, rotations: int = 3) -> KnownTable:
    """An exhaustive table of options ** choices architectures, seen with other noise in each rotation."""
    rng = np.random.default_rng([seed, k])
    space = SearchSpace([Choice(f"choice{number}", tuple(range(options))) for number in range(choices)])
    codes = all_codes(space)
    prices = np.sort(rng.random((choices, options)), axis=1) + 0.1
    cost = 100 * sum(prices[choice][codes[:, choice]] for choice in range(choices))
    value = nk_values(choices, options, k, rng, codes) + COST_SHARE * (cost - cost.mean()) / cost.std()
    truth = 0.7 + SPREAD * value / value.std()
    seen = [truth + rng.normal(0, NOISE, len(truth)) for _ in range(rotations)]
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in (truth, cost, *seen)))
    return KnownTable(
        name=f"NK({choices}, {k}), seed {seed}",
        space=space,
        rotations=tuple(Rotation(Lookup(space, own), Lookup(space, truth)) for own in seen),
        costs={"cost": exhaustive_cost("cost", space, cost)},
        exhaustive=True,
        digest=digest.hexdigest()[:16],
    )
