"""Made-up tables, and that all methods have as many settings to choose from."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from helpers_benchmarks import benchmark

import fpnas
from fpnas.bench import METHODS

made_up, table_settings, predictors = benchmark("made_up"), benchmark("table_settings"), benchmark("predictors")
macro_supernet = benchmark("macro_supernet")


def additive_share(table: fpnas.tables.KnownTable) -> float:
    """The share of the truth's variance that a sum over single choices explains."""
    codes = torch.from_numpy(fpnas.tables.known.all_codes(table.space))
    truth = table.rotations[0].truth(codes).numpy()
    hot = np.concatenate([np.eye(4)[codes[:, v].numpy()] for v in range(len(table.space))], axis=1)
    fit = hot @ np.linalg.lstsq(hot, truth, rcond=None)[0]
    return float(1 - (truth - fit).var() / truth.var())


def test_the_greater_k_the_less_single_choices_say() -> None:
    shares = [additive_share(made_up.nk(k, seed=0, choices=6)) for k in (0, 2, 5)]
    assert shares[0] == pytest.approx(1.0)
    assert shares[0] > shares[1] > shares[2] > 0.05


def test_a_landscape_is_a_table_seen_through_noise() -> None:
    table = made_up.nk(2, seed=3, choices=6)
    codes = torch.from_numpy(fpnas.tables.known.all_codes(table.space))
    truth = table.rotations[0].truth(codes)
    assert float(truth.std()) == pytest.approx(made_up.SPREAD, rel=0.01)
    for rotation in table.rotations:
        assert torch.equal(rotation.truth(codes), truth)
        assert float((rotation.reward(codes) - truth).std()) == pytest.approx(made_up.NOISE, rel=0.1)
    assert float(np.corrcoef(table.cost()(codes).numpy(), truth.numpy())[0, 1]) > 0.2
    assert made_up.nk(2, seed=3, choices=6).digest == table.digest != made_up.nk(2, seed=4, choices=6).digest


def test_every_method_has_as_many_settings_to_choose_from() -> None:
    counts = {name: len(many) for name, many in table_settings.TRIED.items()}
    assert counts.pop("random") == 1, "it has nothing to set"
    assert set(counts.values()) == {10}
    assert not any(":" in name for name in METHODS), "the bench's own methods are left alone"
    for name, many in table_settings.TRIED.items():
        names = {table_settings.name_of(name, settings) for settings in many}
        assert len(names) == len(many)


def test_a_macro_supernets_k_can_fall() -> None:
    """8.8 nats: at the default lambda K is the least there is from the start, and adapting it means nothing."""
    entropy = float(fpnas.ArchDistribution(fpnas.spaces.nasbench_macro().space).entropy().detach())
    assert fpnas.estimators.SampleSize.adaptive(macro_supernet.LAMBDA)(entropy) > 4
    assert fpnas.estimators.SampleSize.adaptive(0.25)(entropy) == 2


def test_a_wide_landscape_is_one_too() -> None:
    table = made_up.nk_wide(2, seed=3, choices=6)
    codes = torch.from_numpy(fpnas.tables.known.all_codes(table.space))
    truth = table.rotations[0].truth(codes)
    assert float(truth.std()) == pytest.approx(made_up.SPREAD, rel=0.01)
    assert 0.2 < additive_share(table) < 0.95
    assert float(np.corrcoef(table.cost()(codes).numpy(), truth.numpy())[0, 1]) > 0.2
    assert table.cost()(codes[:1]) < table.cost()(codes[-1:])


@pytest.mark.parametrize("kind", predictors.PREDICTORS)
def test_searches_by_predictors_beat_random_ones(kind: str) -> None:
    table = made_up.nk(0, seed=1, choices=6)
    regrets: dict[str, list[float]] = {kind: [], "random": []}
    for seed in range(4):
        for name, make in ((kind, partial(predictors.predicted, kind=kind)), ("random", METHODS["random"])):
            judge = fpnas.TableEvaluator(table, steps_per_epoch=1)
            budget = fpnas.Budget(table.cost(), float(table.cost()(codes_of(table)).median()))
            search = make(judge, budget, epochs=1000, seed=seed)
            while judge.queries < 60:
                search.step()
            answer = search.answer().arch
            assert budget.cost.of(answer) <= budget.target
            best = table.best(0, budget).truth
            regrets[name].append(best - float(judge.truth(torch.tensor([table.space.encode(answer)]))))
    assert np.mean(regrets[kind]) < np.mean(regrets["random"])


def codes_of(table: fpnas.tables.KnownTable) -> torch.Tensor:
    return torch.from_numpy(fpnas.tables.known.all_codes(table.space))
