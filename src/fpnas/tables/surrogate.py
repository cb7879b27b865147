"""A surrogate of a partial table: gradient-boosted trees by scikit-learn, kept as plain arrays.

Trees don't extrapolate beyond the rows they were fitted on, as a regression on pairs of choices does. Kept as arrays
they answer a few architectures in well under a millisecond, and another process needs no scikit-learn to use them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64
from numpy.typing import NDArray
from torch import Tensor

from fpnas.errors import InputError, missing_extra
from fpnas.tables.known import Rotation, SurrogateFit

TREES, DEPTH, RATE = 300, 4, 0.1
MIN_ROWS = 12
"""Rows of a fit at least. So few say little, and the held-out R2 beside the figures says how little."""
_CHUNK = 4096


class Forest:
    """A sum of complete binary trees of `DEPTH` levels.

    Args:
        feature: (T, 2^D - 1), the choice that a node looks at; children of node n are 2n + 1 and 2n + 2.
        threshold: (T, 2^D - 1), the code above which it goes to the second child.
        leaf: (T, 2^D), the values.
        constant: added to their sum.
    """

    def __init__(
        self, feature: NDArray[np.int64], threshold: NDArray[np.float64], leaf: NDArray[np.float64], constant: float
    ) -> None:
        self.feature, self.threshold, self.leaf, self.constant = feature, threshold, leaf, constant
        self._depth = leaf.shape[1].bit_length() - 1

    def __call__(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """The forest's value of each architecture."""
        rows = codes.numpy()
        parts = [self._sum(rows[start : start + _CHUNK]) for start in range(0, len(rows), _CHUNK)]
        return torch.from_numpy(np.concatenate(parts) if parts else np.zeros(0))

    def _sum(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        trees = np.arange(len(self.leaf))
        node = np.zeros((len(rows), len(trees)), dtype=np.int64)
        for _ in range(self._depth):
            above = np.take_along_axis(rows, self.feature[trees, node], axis=1) > self.threshold[trees, node]
            node = 2 * node + 1 + above
        return self.leaf[trees, node - (self.leaf.shape[1] - 1)].sum(axis=1) + self.constant


def fit_forest(codes: NDArray[np.int64], values: NDArray[np.float64], seed: int = 0) -> Forest:
    """Boosted trees, least squares; the same for equal rows and seed.

    Raises:
        InputError: scikit-learn is not installed, or there are too few rows.
    """
    try:
        from sklearn.ensemble import GradientBoostingRegressor
    except ImportError as error:
        raise missing_extra("scikit-learn, which fits a surrogate", "tables", error) from error
    if len(codes) < MIN_ROWS:
        raise InputError(f"{MIN_ROWS} rows or more to fit a surrogate on", str(len(codes)), "give more rows")
    model: Any = GradientBoostingRegressor(
        n_estimators=TREES, max_depth=DEPTH, learning_rate=RATE, subsample=0.7, max_features=0.5, random_state=seed
    )
    model.fit(codes, values)
    trees = [_complete(estimator.tree_) for estimator in model.estimators_[:, 0]]
    feature, threshold, leaf = (np.stack(parts) for parts in zip(*trees, strict=True))
    forest = Forest(feature, threshold, RATE * leaf, 0.0)
    # The constant that the boosting began from, without asking scikit-learn for its insides.
    forest.constant = float(model.predict(codes[:1])[0] - forest._sum(codes[:1])[0])  # pyright: ignore[reportPrivateUsage]
    return forest


def _complete(tree: Any) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """A tree as a complete one: below a leaf that comes early, all leaves are this one."""
    inner = 2**DEPTH - 1
    feature, threshold = np.zeros(inner, dtype=np.int64), np.zeros(inner)
    places = np.zeros(2 * inner + 1, dtype=np.int64)
    for node in range(inner):
        at = places[node]
        left, right = tree.children_left[at], tree.children_right[at]
        is_leaf = left < 0
        feature[node], threshold[node] = (0, 0.0) if is_leaf else (tree.feature[at], tree.threshold[at])
        places[2 * node + 1], places[2 * node + 2] = (at, at) if is_leaf else (left, right)
    return feature, threshold, tree.value[places[inner:], 0, 0]


def surrogate_rotations(
    codes: NDArray[np.int64], reward: NDArray[np.float64], truth: NDArray[np.float64], parts: int = 3, seed: int = 0
) -> tuple[Rotation, ...]:
    """In each rotation a third of the rows fits the reward and the other two thirds the truth; each is judged on what
    the other was fitted on.

    Args:
        codes: (N, V).
        reward: what a search sees, for each row; a fraction.
        truth: what judges it, for each row.
        parts: of the rows, and rotations.
        seed: of the parts and the trees.
    """
    part = np.random.default_rng(seed).permutation(len(codes)) % parts
    rotations: list[Rotation] = []
    for number in range(parts):
        few, many = part == number, part != number
        seen = fit_forest(codes[few], reward[few], seed)
        judge = fit_forest(codes[many], truth[many], seed)
        fits = [
            _judged(seen, codes[many], reward[many], int(few.sum())),
            _judged(judge, codes[few], truth[few], int(many.sum())),
        ]
        rotations.append(Rotation(seen, judge, *fits))
    return tuple(rotations)


def _judged(forest: Forest, codes: NDArray[np.int64], values: NDArray[np.float64], num_rows: int) -> SurrogateFit:
    from scipy.stats import spearmanr  # scikit-learn, which fitted the forest, brings it along

    said = forest(torch.from_numpy(codes)).numpy()
    varies = bool(values.std() and said.std())
    r2 = 1 - float(((said - values) ** 2).mean() / values.var()) if values.std() else 0.0
    return SurrogateFit(num_rows, len(values), r2, float(np.asarray(spearmanr(said, values))[0]) if varies else 0.0)
