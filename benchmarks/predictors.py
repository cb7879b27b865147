"""Searches led by a predictor of accuracy, which those on tables are compared with: a ridge, a ridge on pairs, trees.

Each scores random architectures within the budget first. From then on it fits its predictor to all scores, and looks
next at the best predicted ones among random architectures and mutants of the best scored, none twice; a fifth of each
step stays random. The answer is the best scored one by its prediction, which noise favours less than the score itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import RidgeCV
from torch import Tensor

from fpnas.cost import Budget
from fpnas.evaluators import Evaluator
from fpnas.search import Search
from fpnas.search.baselines import RandomSearch
from fpnas.search.strategy import Scores, SearchState
from fpnas.space import SearchSpace
from fpnas.streams import generator

Features = Callable[[NDArray[np.int64], tuple[int, ...]], NDArray[np.float64]]
Regressor = Callable[[], Any]
"""Makes an object with scikit-learn's `fit` and `predict`."""

PENALTIES = np.logspace(-3, 3, 13)
CANDIDATES = 1000
BEST = 10
EXPLORES = 0.2
PREDICTORS = ("ridge", "pairs", "trees")


def singles(codes: NDArray[np.int64], sizes: tuple[int, ...]) -> NDArray[np.float64]:
    """A column for each option of each choice, (N, sum of sizes)."""
    return np.concatenate([np.eye(size)[codes[:, number]] for number, size in enumerate(sizes)], axis=1)


def pairs(codes: NDArray[np.int64], sizes: tuple[int, ...]) -> NDArray[np.float64]:
    """And one for each pair of options of two choices."""
    columns = [singles(codes, sizes)]
    for one, size in enumerate(sizes):
        for other in range(one + 1, len(sizes)):
            both = codes[:, one] * sizes[other] + codes[:, other]
            columns.append(np.eye(size * sizes[other])[both])
    return np.concatenate(columns, axis=1)


def of_kind(kind: str, seed: int) -> tuple[Features, Regressor]:
    """The features and the regressor of a predictor."""
    if kind == "trees":
        return singles, lambda: ExtraTreesRegressor(100, min_samples_leaf=2, random_state=seed, n_jobs=1)
    return {"ridge": singles, "pairs": pairs}[kind], lambda: RidgeCV(PENALTIES)


class Predicted(RandomSearch):
    """A strategy led by a predictor.

    Args:
        space: the space.
        kind: one of `PREDICTORS`.
        num: architectures a step.
        first: random ones before the predictor is asked.
        seed: of the trees.
    """

    def __init__(self, space: SearchSpace, kind: str, num: int, first: int, seed: int) -> None:
        super().__init__(space, num)
        self.kind, self.first, self.seed = kind, first, seed
        self._features, self._regressor = of_kind(kind, seed)
        self._codes = torch.zeros(0, len(space), dtype=torch.long)
        self._scores = torch.zeros(0, dtype=torch.float64)
        self._fitted: Any = None

    def draw(self, evaluator: Evaluator, budget: Budget | None, state: SearchState) -> tuple[Tensor, float]:
        """The best predicted, and some at random."""
        del evaluator
        draws = generator(state.seed, "architectures", state.number)
        codes = self.propose(budget, draws)
        if len(self._codes) >= self.first:
            found = self._best(budget, draws)
            codes = torch.cat([found, codes])[: self.num]
        return codes, float(self.distribution.entropy().detach())

    def tell(self, scores: Scores, evaluator: Evaluator, budget: Budget | None, state: SearchState) -> None:
        """Scores for the next fit."""
        del evaluator, budget, state
        self._codes = torch.cat([self._codes, scores.codes])
        self._scores = torch.cat([self._scores, scores.loglik / scores.num_images])
        self._fitted = None

    def expected(self) -> Mapping[tuple[int, ...], float]:
        """What is predicted of those scored."""
        values = self._predict(self._codes) if len(self._codes) >= self.first else self._scores
        return dict(zip(map(tuple, self._codes.tolist()), values.tolist(), strict=True))

    def _predict(self, codes: Tensor) -> Tensor:
        sizes = self.distribution.space.cardinalities
        if self._fitted is None:
            self._fitted = self._regressor()
            self._fitted.fit(self._features(self._codes.numpy(), sizes), self._scores.numpy())
        return torch.from_numpy(np.asarray(self._fitted.predict(self._features(codes.numpy(), sizes)), np.float64))

    def _best(self, budget: Budget | None, draws: torch.Generator) -> Tensor:
        """(num * (1 - EXPLORES), V): the best predicted that weren't scored."""
        random = self._within.draw(self.distribution, budget, CANDIDATES, draws)
        best = self._codes[self._predict(self._codes).argsort(descending=True, stable=True)[:BEST]]
        parents = best[torch.randint(len(best), (CANDIDATES,), generator=draws)]
        sizes = torch.tensor(self.distribution.space.cardinalities)
        other = (torch.rand(parents.shape, generator=draws) * sizes).long()
        rate = torch.tensor([1.0, 3.0]).repeat(CANDIDATES // 2)[:, None] / parents.shape[1]
        near = torch.where(torch.rand(parents.shape, generator=draws) < rate, other, parents)
        if budget is not None:
            near = near[budget.cost(near) <= budget.target]
        known = set(map(tuple, self._codes.tolist()))
        codes = torch.cat([random, near]).unique(dim=0)
        codes = codes[torch.tensor([tuple(row) not in known for row in codes.tolist()], dtype=torch.bool)]
        wanted = max(1, round(self.num * (1 - EXPLORES)))
        return codes[self._predict(codes).argsort(descending=True, stable=True)[:wanted]] if len(codes) else codes


def predicted(
    evaluator: Evaluator,
    budget: Budget | None = None,
    *,
    kind: str,
    num_samples: int = 5,
    first: int = 20,
    epochs: int = 10,
    seed: int = 0,
) -> Search:
    """A search led by a predictor, as `fpnas.bench` takes it."""
    strategy = Predicted(evaluator.space, kind, num_samples, first, seed)
    return Search(f"predictor: {kind}", evaluator, budget, strategy, epochs=epochs, seed=seed, warmup=0.0)
