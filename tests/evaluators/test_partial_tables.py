"""Surrogates of partial tables: the forest is scikit-learn's, costs are fitted sums, the best is the space's."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import tables_by_hand as hand
import torch

import fpnas
from fpnas.errors import InputError
from fpnas.tables import surrogate
from fpnas.tables.costs import fitted_cost

pytest.importorskip("sklearn")

SPACE = fpnas.SearchSpace([fpnas.Choice(f"g{n // 2}.{'ab'[n % 2]}", (0, 1, 2)) for n in range(6)])
ALL = np.array(list(itertools.product(range(3), repeat=6)))
RNG = np.random.default_rng(0)
SOME = ALL[RNG.permutation(len(ALL))[:400]]


def value(codes: np.ndarray) -> np.ndarray:
    """A fraction; the groups' choices interact."""
    return 0.5 + 0.02 * codes.sum(1) + 0.05 * (codes[:, 0] == codes[:, 1]) - 0.02 * codes[:, 4] * codes[:, 5]


def test_the_forest_says_what_scikit_learn_says(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn import ensemble

    made = []
    fit = ensemble.GradientBoostingRegressor.fit

    def spy(model: object, *arguments: object) -> object:
        made.append(model)
        return fit(model, *arguments)

    monkeypatch.setattr(ensemble.GradientBoostingRegressor, "fit", spy)
    forest = surrogate.fit_forest(SOME, value(SOME))
    assert forest(torch.from_numpy(ALL)).tolist() == pytest.approx(made[0].predict(ALL).tolist(), abs=1e-12)
    again = pickle.loads(pickle.dumps(forest))
    assert again(torch.from_numpy(ALL)).tolist() == forest(torch.from_numpy(ALL)).tolist()
    assert forest(torch.zeros((0, 6), dtype=torch.long)).shape == (0,)


def test_a_fitted_cost_is_the_sum_it_was_made_of_and_others_are_refused() -> None:
    def grouped(codes: np.ndarray) -> np.ndarray:
        return 5.0 + codes[:, 0] * codes[:, 1] + codes[:, 2] + (codes[:, 4] + 1) * codes[:, 5]

    cost = fitted_cost("x", SPACE, SOME, grouped(SOME))
    assert cost(torch.from_numpy(ALL)).tolist() == pytest.approx(grouped(ALL).tolist())
    assert sorted(len(factor.scope) for factor in cost.table.factors) == [2, 2, 2]
    with pytest.raises(InputError, match="misses by up to"):
        fitted_cost("x", SPACE, SOME, 1.0 + SOME.prod(axis=1) + SOME[:, 0] * SOME[:, 2])
    with pytest.raises(InputError, match="too few rows"):
        fitted_cost("x", SPACE, SOME[SOME[:, 3] < 2], grouped(SOME[SOME[:, 3] < 2]))


@pytest.fixture(scope="module")
def partial(tmp_path_factory: pytest.TempPathFactory) -> fpnas.tables.KnownTable:
    names = [choice.name for choice in SPACE.choices]
    rows = [
        {**dict(zip(names, code, strict=True)), "acc": 100 * v, "cost": 1 + sum(code)}
        for code, v in zip(SOME.tolist(), value(SOME), strict=True)
    ]
    path = hand.write_csv(tmp_path_factory.mktemp("partial") / "t.csv", rows)
    with pytest.raises(InputError, match=r"729 architectures, got 400 rows.*--partial"):
        fpnas.tables.load(path, metric=["acc"], cost_columns=["cost"])
    return fpnas.tables.load(path, metric=["acc"], cost_columns=["cost"], partial=True)


def test_surrogates_are_judged_on_rows_that_they_never_saw(partial: fpnas.tables.KnownTable) -> None:
    assert len(partial.rotations) == 3
    assert not partial.exhaustive
    for rotation in partial.rotations:
        few, many = rotation.reward_fit, rotation.truth_fit
        assert few.num_rows + few.num_heldout == many.num_rows + many.num_heldout == 400
        assert (few.num_rows, many.num_rows) in {(133, 267), (134, 266)}
        assert 0.5 < few.r2 < many.r2 <= 1
        assert 0.5 < many.rank_correlation <= 1
    unseen = np.array([code for code in ALL.tolist() if code not in SOME.tolist()])
    for rotation in partial.rotations:
        error = rotation.truth(torch.from_numpy(unseen)).numpy() - value(unseen)
        assert float(np.abs(error).mean()) < 0.02
    assert "400 rows" in partial.notes[-1]


@pytest.mark.parametrize("target", [None, 3.0, 5.0, 8.0])
def test_local_search_finds_the_best_of_the_whole_space(partial: fpnas.tables.KnownTable, target: float | None) -> None:
    budget = None if target is None else fpnas.Budget(partial.cost(), target)
    codes = torch.from_numpy(ALL)
    fitting = codes if budget is None else codes[budget.cost(codes) <= target]
    for number, rotation in enumerate(partial.rotations):
        best = partial.best(number, budget)
        assert best.truth == pytest.approx(float(rotation.truth(fitting).max()))
        assert not best.exact


@pytest.mark.skipif(not hand.ACCEL.exists(), reason=f"{hand.ACCEL} is not here")
def test_accel_nasbench_costs_are_exact_sums_over_its_blocks() -> None:
    from fpnas.tables import accel

    rows = accel.read(hand.ACCEL)
    assert (len(rows.space), len(rows.space.groups), len(rows.codes)) == (28, 7, 5125)
    archive = np.load(hand.ACCEL)
    codes = torch.from_numpy(archive["arch"].astype(np.int64))
    for key, column in (("flops", "macs_M"), ("params", "params_M")):
        cost = fitted_cost(key, rows.space, rows.codes, rows.costs[key].values)
        assert torch.allclose(cost(codes), 1e6 * torch.from_numpy(archive[column]).double(), rtol=1e-5)
    arch = rows.space.decode(codes[0].tolist())
    assert arch["block0.expansion"] == 6
