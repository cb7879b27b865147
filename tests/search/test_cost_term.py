"""What a budget does where the data say little: the cost term alone drives to the cheapest, draws within it don't."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import helpers_run as h
import pytest
import torch
from torch import Tensor

import fpnas
from fpnas.evaluators import Learned
from fpnas.search import CostTerm
from fpnas.streams import generator


class Indifferent(h.TableEvaluator):
    """All architectures are alike; mixtures like each choice's last option, faintly beside the budget's pull."""

    def __init__(self, liking: float = 0.0) -> None:
        super().__init__()
        self.liking = liking

    def score(self, codes: Tensor) -> Tensor:
        """Noise about -16: what a batch says of architectures that are alike."""
        self.scored.append(codes)
        return -16 + torch.randn(len(codes), generator=generator(0, "score", len(self.scored)), dtype=torch.float64)

    def mixed_train_step(self, weights: Mapping[str, Tensor], progress: float) -> Learned:
        return Learned(0.0)

    def soft_loss(self, weights: Mapping[str, Tensor]) -> Tensor:
        return -self.liking * torch.stack([weight[-1] for weight in weights.values()]).sum()


class Prices(h.TableCost):
    """Each choice adds its code; as a sum of tables."""

    def __init__(self) -> None:
        cardinalities = h.TABLE_SPACE.cardinalities
        factors = [
            fpnas.cost.tables.Factor((v,), torch.arange(1.0, n + 1).double().numpy())
            for v, n in enumerate(cardinalities)
        ]
        self.table = fpnas.cost.AdditiveCost(h.TABLE_SPACE, factors)

    def __call__(self, codes: Tensor) -> Tensor:
        return self.table(codes)

    def bounds(self) -> tuple[float, float]:
        return self.table.extreme(1)[0], self.table.extreme(-1)[0]


TERM = CostTerm(beta=0.3, floor=0.05, estimator="many")


def ran(name: str, judge: Any, **options: Any) -> fpnas.Search:
    budget = fpnas.Budget(Prices(), target=8.0)
    search = fpnas.methods.METHODS[name](judge, budget, epochs=20, warmup=0.1, lr=0.02, **options)
    for _ in range(search.steps_total):
        search.step()
    return search


@pytest.mark.parametrize("name", ["fpnas", "parsec", "reinforce"])
def test_draws_within_the_budget_drive_nowhere_by_themselves(name: str) -> None:
    """With nothing to learn the cost term's mode is the smallest network; under feasible draws nothing is preferred."""
    options: dict[str, Any] = {"baseline": "mean"} if name == "fpnas" else {}
    driven = ran(name, Indifferent(), cost_term=TERM, **options)
    assert dict(driven.result().mode) == {c.name: c.options[0] for c in h.TABLE_SPACE.choices}
    left = ran(name, Indifferent(), cost_term=None, **options)
    assert float((left.distribution.logits.detach()).abs().max()) > 0.01, "alpha has moved"
    # What moved it is noise, which drives nowhere: no choice has gone to its cheapest option, as all have above.
    codes = left.distribution.sample(4000, torch.Generator().manual_seed(0)).double()
    middle = torch.tensor([(n - 1) / 2 for n in h.TABLE_SPACE.cardinalities])
    assert abs(float(((codes.mean(dim=0) - middle) / middle).mean())) < 0.25
    driven_codes = driven.distribution.sample(4000, torch.Generator().manual_seed(0)).double()
    assert float(((driven_codes.mean(dim=0) - middle) / middle).mean()) < -0.5


@pytest.mark.parametrize("name", ["darts", "fbnetv2"])
def test_mixtures_follow_the_data_within_the_budget(name: str) -> None:
    """A faint liking for what is dear: the term overrules it for every choice, the answer within the budget doesn't."""
    more: dict[str, Any] = {"temperatures": (5.0, 5.0)} if name == "fbnetv2" else {}
    mixed = CostTerm(beta=0.3, floor=0.05)
    answers = {term: ran(name, Indifferent(liking=0.01), cost_term=term, **more).answer() for term in (mixed, None)}
    assert answers[mixed].cost == len(h.TABLE_SPACE)  # 1 for each: the smallest
    assert answers[None].cost == 8.0
