"""The comparison at equal time: rules, random networks, halving, and that every arm runs to an answer in its budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers_benchmarks import benchmark

import fpnas
from fpnas.evaluators import proxy

ground, arms = benchmark("ground", "ground"), benchmark("arms", "ground")
compare = benchmark("compare", "ground")
MIXES = ("DARTS, rate 0.1", "FBNetV2, rate 0.1")
POOL = ground.Pool("digits-arms", "digits", 16, 8e5, 24, 0, fpnas.Recipe(epochs=6))


def worth(arch: fpnas.Arch) -> float:
    """A made-up accuracy: blocks and splits count."""
    return 60 + sum(4.0 + 0.5 * arch[f"group{g}.splits"] for g in range(1, 5) if arch[f"group{g}.kernel"] != 0)


def trained(pool: Any, arch: fpnas.Arch, seed: int, recipe: Any = None, device: str = "cpu") -> Any:
    """In place of a training."""
    codes = torch.tensor([ground.supernet(pool).space.encode(arch)])
    value = worth(arch) + 0.1 * seed
    val = tuple(value - 6 + epoch for epoch in range(1, 7))
    return ground.Trained(arch, int(ground.costs(pool)[0](codes)), 1000, seed, val, value, 10.0)


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(ground, "POOLS_AT", tmp_path)
    monkeypatch.setattr(compare, "RUNS_AT", tmp_path / "runs")
    monkeypatch.setattr(ground, "trained", trained)
    monkeypatch.setattr(arms, "EPOCHS", 1)
    monkeypatch.setattr(proxy, "STEPS", 4)
    monkeypatch.setitem(ground.POOLS, POOL.name, POOL)
    ground.save(POOL.path, ground.facts(POOL), [trained(POOL, arch, 0) for arch in ground.draw(POOL)])
    threads = torch.get_num_threads()
    yield POOL
    torch.set_num_threads(threads)


def test_the_rule_is_the_best_of_a_sweep(pool: Any) -> None:
    """No random network within the budget has fewer skips, or as few and more splits, or as many and more width."""
    space, flops = ground.supernet(pool).space, ground.costs(pool)[0]

    def key(arch: Any) -> tuple[float, ...]:
        runs = [g for g in range(1, 5) if arch[f"group{g}.kernel"] != 0]
        width = sum(arch[c.name] / c.options[-1] for c in space.choices if c.name.endswith(("channels", "expansion")))
        return len(runs), sum(arch[f"group{g}.splits"] for g in runs), width

    found = arms.by_rule(pool)
    assert float(flops(torch.tensor([space.encode(found)]))) <= pool.target
    codes = fpnas.ArchDistribution(space).sample(20_000, torch.Generator().manual_seed(0))
    codes = codes[flops(codes) <= pool.target]
    assert max(key(ground.plain(space.decode(row), space)) for row in codes.tolist()) <= key(found)


def test_the_ridge_finds_what_it_was_shown(pool: Any) -> None:
    rows = ground.read(pool.path)[1]
    found = arms.by_ridge(pool, rows, seed=0)
    assert worth(found) >= np.quantile([row.test for row in rows], 0.9)


def test_halving_spends_its_epochs_and_keeps_the_best(pool: Any) -> None:
    rows = ground.read(pool.path)[1]
    assert arms._epochs_of(8, [1, 2, 4], 6, 3) == 8 + 3 + 2 + 2
    begun: list[int] = []

    class Counted(np.random.Generator):
        def choice(self, a: Any, size: Any = None, **options: Any) -> Any:
            begun.append(size)
            return super().choice(a, size, **options)

    found, spent = arms.halving(rows, 15, Counted(np.random.PCG64(0)))
    assert (begun, spent) == ([8], 15)
    chosen = np.random.default_rng(0).choice(len(rows), 8, replace=False)
    assert found.test == max(rows[index].test for index in chosen)


def test_halving_judges_by_the_rung_that_it_stands_on() -> None:
    """Curves that cross: the best after one epoch, after two and at the end are others; only the first two go on."""

    def row(name: int, *val: float) -> Any:
        return ground.Trained(fpnas.Arch({"a": name}), 1, 1, 0, val, val[-1], 1.0)

    late = [row(n, 10.0, 20.0, 30.0, 99.0) for n in range(6)]  # the best at the end, if anyone had waited
    early = [row(6, 60.0, 50.0, 60.0, 61.0), row(7, 50.0, 70.0, 70.0, 71.0), row(8, 55.0, 40.0, 90.0, 91.0)]
    # 9 for an epoch, 3 for a second, 1 for the last two: 9 + 3 + 2.
    found, spent = arms.halving([*late, *early], 14, np.random.default_rng(0))
    assert spent == 14
    assert found.arch["a"] == 7


def test_noise_is_seldom_ahead_of_random_networks() -> None:
    """A default that is a random network's equal in the mean, beside a pool that is itself a draw, 400 times over."""
    rng, total, time = np.random.default_rng(0), 6, 2.5
    before, compare.DRAWS = compare.DRAWS, 60
    words: list[str] = []
    for _ in range(400):
        tests = rng.normal(72, 2, 96)
        rows = [ground.Trained(fpnas.Arch({"a": n}), 1, 1, 0, (v,) * total, v, 1.0) for n, v in enumerate(tests)]
        best = rng.normal(72, 2, (5, 3))
        kept = np.where(rng.random(5) < 0.5, best[:, :2].max(axis=1), best.max(axis=1))  # 2 or 3 trained, as often
        gaps = compare.gaps_to_pool(rows, compare.RANDOM, time, total, dict(enumerate(kept.tolist())))
        words.append(benchmark("verdicts").verdict(gaps).word)
    compare.DRAWS = before
    assert sum(word in ("ahead", "behind") for word in words) / len(words) < 0.085  # 5 % and three standard errors


@pytest.mark.parametrize("arm", list(arms.SEARCHES))
def test_every_search_answers_within_its_budget(pool: Any, arm: str) -> None:
    looks = 2 * arms.default_steps(pool) if arm == arms.DEFAULT else 0
    steps = looks + 3 if looks else 4 if arm in MIXES else 10
    found = arms.searched(pool, arm, 0, steps)
    assert found.steps == (looks or steps)  # short trainings make whole looks
    codes = torch.tensor([ground.supernet(pool).space.encode(found.arch)])
    assert float(ground.costs(pool)[0](codes)) <= pool.target
    assert found.seconds > 0
    assert (found.first_k >= 2) == (arm not in MIXES)


def test_a_comparison_from_end_to_end(pool: Any, capsys: Any, tmp_path: Path) -> None:
    names = ["one-shot random", compare.RULE, compare.RIDGE]
    asked = ["--pool", pool.name, "--arms", *names, "--seeds", "2", "--workers", "1"]
    assert compare.main([*asked, "--results", str(tmp_path / "r.md")]) == 0
    told = capsys.readouterr().out
    for name in (arms.DEFAULT, *names, compare.RANDOM, compare.HALVING):
        assert f"| {name}" in told
    assert "not known: 2 seeds" in told
    path = compare.RUNS_AT / f"{pool.name}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == 8
    by_arm = {row["arm"]: row for row in rows}
    assert by_arm[compare.RULE]["search_seconds"] == 0
    assert by_arm[compare.RIDGE]["search_seconds"] >= 20
    # A second call runs nothing; runs of other code are not taken for this one's.
    assert compare.main(asked) == 0
    assert len(path.read_text().splitlines()) == 8
    path.write_text("".join(json.dumps(row | {"source": "other"}) + "\n" for row in rows))
    assert compare.kept(path) == {}
