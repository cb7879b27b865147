"""`TableEvaluator`: a table of known accuracies as a judge. There are no weights to learn, and each look is counted.

A log-likelihood is scale * accuracy, as if `scale` images had each given `accuracy` nats: so the temperature "product"
weighs architectures by exp(scale * accuracy), "mean" by exp(accuracy), nearly alike, and a number t lies between them.
`fpnas.bench` runs searches on it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from fpnas.cost import Budget
from fpnas.errors import InputError
from fpnas.evaluators.base import Learned
from fpnas.space import Arch, SearchSpace
from fpnas.tables import Best, KnownTable


class TableEvaluator:
    """Judges architectures by a table's reward; a query is the first look at an architecture.

    Letters: K architectures, V choices.

    Args:
        table: from `fpnas.tables.load`.
        rotation: which of the table's rewards is seen; the others make up the truth.
        scale: the log-likelihood of an accuracy of 1, in nats (ours: with 200, an accuracy that is half a point better
            weighs e times as much). A round number of images is given as `num_images`.
        steps_per_epoch: a table has no epochs of its own.

    Raises:
        InputError: no such rotation, or a number out of range.
    """

    def __init__(
        self, table: KnownTable, *, rotation: int = 0, scale: float = 200.0, steps_per_epoch: int = 10
    ) -> None:
        if not (math.isfinite(scale) and scale > 0):
            raise InputError("a scale above 0", f"{scale:g}", "use the default")
        if steps_per_epoch < 1:
            raise InputError("1 step an epoch or more", str(steps_per_epoch), "use the default")
        self.table, self.rotation, self.scale = table, rotation, float(scale)
        self._values = table.rotation(rotation)
        self._steps_per_epoch = steps_per_epoch
        self._seen: dict[tuple[int, ...], float] = {}

    @property
    def space(self) -> SearchSpace:
        return self.table.space

    @property
    def steps_per_epoch(self) -> int:
        return self._steps_per_epoch

    @property
    def num_images(self) -> int:
        """The images that the log-likelihood stands for: `scale`, so that its mean an image is the accuracy."""
        return max(1, round(self.scale))

    @property
    def stationary(self) -> bool:
        """A table's scores never age."""
        return True

    @property
    def queries(self) -> int:
        """Architectures looked at so far; looking again is free."""
        return len(self._seen)

    def unseen(self, codes: Int64[Tensor, "K V"]) -> int:
        """How many queries a look at these would add."""
        return len(set(map(tuple, codes.tolist())) - self._seen.keys())

    def train_step(self, codes: Int64[Tensor, "K V"], progress: float) -> Learned:
        """Nothing: a table has no weights, and this is no look at it."""
        del codes, progress
        return Learned(None)

    def score(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """scale * accuracy of each; the same at every look."""
        rows = list(map(tuple, codes.tolist()))
        new = [row for row in dict.fromkeys(rows) if row not in self._seen]
        if new:
            self._seen.update(zip(new, self._values.reward(torch.tensor(new)).tolist(), strict=True))
        return self.scale * torch.tensor([self._seen[row] for row in rows], dtype=torch.float64)

    def truth(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """True accuracies, fractions: to judge a search that has ended, never to guide one. No query."""
        return self._values.truth(codes)

    def best(self, budget: Budget | None = None) -> Best:
        """The best architecture within a budget, by the truth; see `KnownTable.best`."""
        return self.table.best(self.rotation, budget)

    def describe(self, arch: Arch) -> dict[str, Any]:
        """Space, choices and known costs; of NAS-Bench-Macro all that `fpnas train` needs."""
        codes = torch.tensor([self.space.encode(arch)])
        costs = {name: _plain(float(cost(codes))) for name, cost in self.table.costs.items()}
        return {"space": self.table.name, **self.table.facts, "choices": dict(arch), **costs}

    def settings(self) -> dict[str, Any]:
        """What decides its answers."""
        return {
            "table": self.table.name,
            "table_digest": self.table.digest,
            "rotation": self.rotation,
            "scale": self.scale,
            "steps_per_epoch": self._steps_per_epoch,
        }

    def state_dict(self) -> dict[str, Any]:
        """The architectures looked at, (queries, V); their rewards are in the table."""
        return {"seen": torch.tensor(list(self._seen), dtype=torch.long).reshape(len(self._seen), len(self.space))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._seen = {}
        if len(state["seen"]):
            self.score(state["seen"])


def _plain(value: float) -> int | float:
    return round(value) if abs(value - round(value)) <= 1e-6 * max(1.0, abs(value)) and value >= 1e3 else value
