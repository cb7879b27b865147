"""The ground: what a pool draws and keeps, where an accuracy stands in it, what a judge's ranks say."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers_benchmarks import benchmark

import fpnas
from fpnas.evaluators import ProxyEvaluator, proxy

ground, standing = benchmark("ground", "ground"), benchmark("standing", "ground")
appraise, fidelity = benchmark("appraise", "ground"), benchmark("fidelity", "ground")
make_pools, describe = benchmark("make_pools", "ground"), benchmark("describe", "ground")
MACRO = ground.SHARED / "data" / "nas-bench-macro_cifar10.npz"
KEPT_AT = ground.POOLS_AT
POOL = ground.Pool("digits", "digits", 16, 8e5, 6, 2, fpnas.Recipe(epochs=2, batch_size=64))


def codes_of(archs: list[fpnas.Arch]) -> torch.Tensor:
    return torch.tensor([ground.supernet(POOL).space.encode(arch) for arch in archs])


def random_archs(count: int, seed: int) -> list[fpnas.Arch]:
    """Networks of the whole space, by their plain names."""
    space, rng = ground.supernet(POOL).space, np.random.default_rng(seed)
    codes = np.stack([rng.integers(0, n, count) for n in space.cardinalities], axis=1)
    return [ground.plain(space.decode(row), space) for row in codes.tolist()]


# ------------------------------------------------------------------------------------------------------------- the pool


def test_draws_lie_in_the_band_are_distinct_and_go_on() -> None:
    drawn = ground.draw(POOL, 40)
    costs = ground.costs(POOL)[0](codes_of(drawn))
    assert ((costs <= POOL.target) & (costs >= 0.95 * POOL.target)).all()
    assert len(set(drawn)) == 40
    assert ground.draw(POOL, 7) == drawn[:7]
    assert ground.draw(POOL, 7, seed=1) != drawn[:7]


def test_distinct_draws_are_uniform_over_networks() -> None:
    """A code is kept as often as its network has few others: skips are as rare as networks with them."""
    distinct = ground.Pool(**{**vars(POOL), "distinct": True})
    space = ground.supernet(POOL).space
    drawn = {name: codes_of(ground.draw(p, 300)) for name, p in (("codes", POOL), ("networks", distinct))}
    skips = {name: describe.skipped(space, codes).double().mean().item() for name, codes in drawn.items()}
    shares = describe.shares(POOL)
    for column, name in enumerate(("codes", "networks")):
        mean = sum(number * share[column] for number, share in shares.items())
        assert skips[name] == pytest.approx(mean, abs=0.15)
        assert sum(share[column] for share in shares.values()) == pytest.approx(1.0)
    assert skips["networks"] < skips["codes"] - 0.3
    # By hand: group 1 bypassed is one network for 2 * 4 * 3 codes.
    arch = next(arch for arch in ground.draw(POOL, 40) if arch["group1.kernel"] == 0 and arch["group2.kernel"] != 0)
    arch = fpnas.Arch({**arch, "group3.kernel": 3, "group4.kernel": 5})
    assert ground.alike(space, codes_of([arch])).tolist() == [24.0]


def test_a_networks_plain_name_is_the_same_network() -> None:
    space = ground.supernet(POOL).space
    arch = next(arch for arch in ground.draw(POOL, 40) if arch["group2.kernel"] == 0)
    other = fpnas.Arch({**arch, "group2.act": "swish", "group2.splits": 4, "group2.expansion": 3})
    assert other != arch
    assert ground.plain(other, space) == arch
    nets = [ground.supernet(POOL).extract(a) for a in (arch, other)]
    x = torch.randn(2, 1, 16, 16)
    assert torch.equal(nets[0].eval()(x), nets[1].eval()(x))
    wider = fpnas.Arch({**arch, "group2.channels": 24 if arch["group2.channels"] != 24 else 32})
    assert ground.plain(wider, space) != arch


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Six networks of `tiny` on digits, trained."""
    pytest.importorskip("sklearn")
    before, ground.POOLS_AT = ground.POOLS_AT, tmp_path_factory.mktemp("pools")
    ground.POOLS[POOL.name] = POOL
    threads = torch.get_num_threads()
    rows = [ground.train(POOL, *task) for task in make_pools.tasks(POOL)]
    ground.save(POOL.path, [*ground.facts(POOL), ground.machine()], rows)
    yield POOL
    torch.set_num_threads(threads)
    ground.POOLS_AT = before
    del ground.POOLS[POOL.name]


def test_a_pools_file_holds_what_was_trained_and_its_numbers_come_back(pool: Any) -> None:
    comments, rows = ground.read(pool.path)
    assert [(row.arch, row.seed) for row in rows] == make_pools.tasks(pool)
    assert [row.seed for row in rows] == [0] * 6 + [1] * 2
    assert comments == [*ground.facts(pool), ground.machine()]
    assert "epochs 2" in comments[1]
    assert "commit" in comments[2]
    assert all(len(row.val) == 2 and row.seconds > 0 for row in rows)
    again = ground.train(pool, rows[0].arch, 0)
    assert again.val == pytest.approx(rows[0].val, abs=0.005)
    assert again.test == pytest.approx(rows[0].test, abs=0.005)
    assert ground.written(comments, rows) == pool.path.read_text()


def test_the_learner_sees_neither_the_held_back_images_nor_the_test_images(pool: Any) -> None:
    images = ground.images(pool.data, pool.image_size)
    kept, held, test = images.learnt.train.inputs, images.learnt.heldout.inputs, images.test.heldout.inputs
    assert len(kept) + len(held) == len(images.whole.train)
    assert len(held) == round(0.1 * len(images.whole.train))
    assert torch.equal(images.test.train.inputs, kept)
    seen = {image.numpy().tobytes() for image in kept}
    assert not any(image.numpy().tobytes() in seen for image in itertools.chain(held, test))


def test_a_whole_pool_is_left_as_it_is_and_another_recipes_refused(pool: Any) -> None:
    before = pool.path.read_bytes()
    assert make_pools.fill(pool, 1, float("inf")) == 8
    assert pool.path.read_bytes() == before
    other = ground.Pool(**{**vars(pool), "recipe": fpnas.Recipe(epochs=2, batch_size=64, lr=0.1)})
    with pytest.raises(SystemExit, match="expected the facts of this pool"):
        make_pools.fill(other, 1, float("inf"))


def test_a_pool_goes_on_on_another_device_but_not_by_other_code(pool: Any) -> None:
    """The other machine's line stays beside this one's."""
    facts, here = ground.facts(pool), ground.machine()
    device, torch_, code = ground.made_on(here)
    assert (torch_, len(code)) == (torch.__version__, 16)
    there = here.replace(device, "A GPU, float32").replace(torch_, "2.0.0")
    assert make_pools.head(pool, facts, here) == [*facts, here]
    assert make_pools.head(pool, [*facts, there], here) == [*facts, there, here]
    other = here.replace("commit", "commit 1234567 not")
    assert make_pools.head(pool, [*facts, other, there], here) == [*facts, there, here]
    for line in (there.replace(code, 16 * "0"), here.replace(torch_, "2.0.0"), "# machine: unknown"):
        with pytest.raises(SystemExit, match="expected the facts of this pool"):
            make_pools.head(pool, [*facts, line], here)


def test_a_row_made_on_a_gpu_has_no_seconds(pool: Any, tmp_path: Path) -> None:
    comments, rows = ground.read(pool.path)
    made = ground.Trained(**{**vars(rows[0]), "seconds": None})
    ground.save(tmp_path / "pool.csv", comments, [made, *rows[1:]])
    assert ground.read(tmp_path / "pool.csv") == (comments, [made, *rows[1:]])
    assert ground.mean_seconds([made]) is None
    assert ground.mean_seconds([made, rows[1]]) == rows[1].seconds


def test_a_pool_is_a_table_for_bench(pool: Any) -> None:
    """As far as its rows go: so few are too few for a surrogate, and that is what is said."""
    options = {"metric": ["val_2"], "truth": "test", "seed": "seed", "partial": True}
    with pytest.raises(fpnas.InputError, match="12 rows or more"):
        fpnas.tables.load(pool.path, ignore=["val_1", "flops", "params", "seconds"], **options)


@pytest.mark.parametrize("name", list(ground.POOLS))
def test_the_kept_pools_are_what_they_say(name: str) -> None:
    """Networks drawn by the pool's own stream, within its band; nothing by hand."""
    kept = ground.POOLS[name]
    if not (KEPT_AT / f"{name}.csv").exists():
        pytest.skip(f"{name}.csv isn't made yet")
    comments, rows = ground.read(KEPT_AT / f"{name}.csv")
    assert comments[:2] == ground.facts(kept)
    assert all(kept.target * ground.BAND <= row.flops <= kept.target for row in rows)
    assert len({(row.arch, row.seed) for row in rows}) == len(rows)
    assert all(len(row.val) == kept.recipe.epochs for row in rows)
    assert all(0 < value < 100 for row in rows for value in (*row.val, row.test))
    if "/" not in kept.data or (ground.SHARED / kept.data).exists():
        wanted = make_pools.tasks(kept)
        assert [(row.arch, row.seed) for row in rows] == [t for t in wanted if t in {(r.arch, r.seed) for r in rows}]


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.skipif(not (ground.SHARED / "data" / "cifar10").exists(), reason="shared/data is not here")
def test_a_kept_pools_numbers_come_back() -> None:
    """Five of its networks, trained again: within the spread of seeds, by the pool's own second seeds."""
    kept = ground.POOLS["cifar10-tiny-3M"]
    rows = ground.read(KEPT_AT / f"{kept.name}.csv")[1]
    first = {row.arch: row.test for row in rows if row.seed == 0}
    twice = [row.test - first[row.arch] for row in rows if row.seed == 1]
    spread = float(np.sqrt(np.mean(np.square(twice)) / 2)) if len(twice) > 3 else 0.45
    again = [ground.train(kept, row.arch, 0).test - row.test for row in rows[:: len(first) // 5][:5]]
    assert max(map(abs, again)) < 4 * spread
    assert abs(float(np.mean(again))) < 2 * spread


# --------------------------------------------------------------------------------------------------------- the standing


def test_a_standing_by_hand() -> None:
    values = [70.0, 71.0, 72.0, 73.0]
    found = standing.standing(72.0, values)
    assert (found.percentile, found.gap) == (62.5, 1.0)
    # The mean of the best of 1, 2 and 3: 71.5, 71.5 + 0.625, ...
    assert [standing.expected_best(values, n) for n in (1, 2)] == pytest.approx([71.5, 72.125])
    assert found.best_of == 2
    assert standing.best_of(73.5, values) is None
    assert standing.best_of(60.0, values) == 1


@pytest.mark.parametrize("count", [1, 3, 10])
def test_the_expected_best_is_that_of_many_draws(count: int) -> None:
    rng = np.random.default_rng(count)
    values = rng.normal(70, 1, 30)
    drawn = rng.choice(values, (40_000, count)).max(axis=1)
    assert standing.expected_best(values, count) == pytest.approx(drawn.mean(), abs=5 * drawn.std() / 200)


@pytest.mark.skipif(not MACRO.exists(), reason="shared/data is not here")
@pytest.mark.parametrize("target", [40, 50, 60])
def test_appraisals_agree_with_the_truth_on_nasbench_macro(target: int) -> None:
    """A pool of 96 of a band says of each of its networks what the whole band says, as far as 96 can."""
    band = appraise.macro_band(f"nasbench-macro-{target}M")
    values = np.array(list(band.values()))
    assert len(values) > 150
    few = np.random.default_rng(target).choice(values, 96, replace=False)
    of_few, of_all = ([standing.standing(value, pool).percentile for value in values] for pool in (few, values))
    assert np.abs(np.subtract(of_few, of_all)).max() < 100 * 1.63 / 96**0.5  # Kolmogorov and Smirnov's 99 %
    # An appraisal is among the others of the band; its best-of-N is that of trained draws.
    space = fpnas.tables.load(MACRO).space
    for codes in sorted(band, key=band.__getitem__)[:: len(band) // 5]:
        found = appraise.appraise(f"nasbench-macro-{target}M", space.decode(codes)).standing
        truth = band[codes]
        assert found.accuracy == truth
        worse, alike = np.sum(values < truth), np.sum(values == truth) - 1  # itself aside
        assert found.percentile == pytest.approx(100 * (worse + alike / 2) / (len(values) - 1))
        if found.best_of is not None and found.best_of > 1:
            others = [value for other, value in band.items() if other != codes]
            assert standing.expected_best(others, found.best_of - 1) < truth
            assert standing.expected_best(others, found.best_of) >= truth


def test_a_misjudged_option_is_found_and_bypassed_ones_do_not_count() -> None:
    archs, rng = random_archs(400, seed=0), np.random.default_rng(7)
    truth = rng.normal(size=400)
    bias = np.array([-1.0 if arch["group4.splits"] == 4 and arch["group4.kernel"] != 0 else 0.0 for arch in archs])
    found = standing.misjudged(archs, truth + bias + rng.normal(0, 0.2, 400), truth)
    worst = min(found, key=lambda name: found[name].mean)
    assert worst == "group4.splits=4"
    assert found[worst].mean < -10
    assert abs(found["group1.kernel=3"].mean) < 5
    assert found["group4.splits=4"].networks == sum(bias < 0)


def test_noise_alone_misjudges_no_option() -> None:
    """A truly good option under scores that know little: its networks are ranked low, but by no bias."""
    archs, rng = random_archs(2000, seed=1), np.random.default_rng(7)
    truth = rng.normal(size=2000) + np.array([2.0 * (arch["group4.kernel"] == 5) for arch in archs])
    for noise in (1.0, 3.0, 30.0):
        found = standing.misjudged(archs, truth + rng.normal(0, noise, 2000), truth)
        assert abs(found["group4.kernel=5"].mean) < 4 * found["group4.kernel=5"].error


def test_what_scores_know_beyond_depth() -> None:
    """Scores that count blocks and nothing else know all of depth and nothing beyond it."""
    archs = ground.draw(POOL, 60)
    depths = [fidelity.depth(arch) for arch in archs]
    truth = (np.array(depths) + np.random.default_rng(0).normal(0, 0.3, 60)).tolist()
    counting = [float(d) for d in depths]
    assert len(set(depths)) > 1
    assert standing.spearman(fidelity.beyond(counting, archs), fidelity.beyond(truth, archs)) == 0
    knowing = fidelity.beyond(truth, archs)
    assert standing.spearman(fidelity.beyond(knowing, archs), knowing) == pytest.approx(1)


def test_spearman_is_scipys() -> None:
    from scipy.stats import spearmanr

    a, b = np.random.default_rng(0).integers(0, 9, (2, 50))
    assert standing.spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert standing.spearman([1, 1, 1], [1, 2, 3]) == 0


# --------------------------------------------------------------------------------------------------- the two commands


def test_appraise_looks_up_or_trains(pool: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ground, "trained", ground.train)  # leave nothing in runs/
    rows = ground.read(pool.path)[1]
    (tmp_path / "known.json").write_text(json.dumps({"choices": dict(rows[0].arch), "space": "tiny"}))
    new = ground.draw(pool, 8)[7]
    (tmp_path / "new.json").write_text(new.to_json())
    files = [str(tmp_path / "known.json"), str(tmp_path / "new.json")]
    assert appraise.main([*files, "--pool", "digits", "--json"]) == 0
    known, trained = json.loads(capsys.readouterr().out)
    assert {"accuracy", "percentile", "best_of", "gap", "train_seconds"} <= known.keys()
    assert (known["accuracy"], known["train_seconds"]) == (rows[0].test, 0.0)
    assert trained["train_seconds"] > 0
    assert trained["accuracy"] == pytest.approx(ground.train(pool, new, 0).test)
    assert appraise.main([files[0], "--pool", "digits", "--json"]) == 0
    assert isinstance(json.loads(capsys.readouterr().out), dict)
    assert appraise.main([files[0], "--pool", "digits"]) == 0
    assert "percentile" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "pool_name", "said"),
    [
        ("{", "digits", "an architecture as JSON"),
        ("{}", "nowhere", "a pool"),
        ('{"group1.kernel": 7}', "digits", "error: expected"),
        ("[1]", "digits", "error: expected"),
    ],
)
def test_appraise_refuses_in_a_line(
    pool: Any, tmp_path: Path, capsys: Any, text: str, pool_name: str, said: str
) -> None:
    (tmp_path / "arch.json").write_text(text)
    assert appraise.main([str(tmp_path / "arch.json"), "--pool", pool_name]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_too_dear_an_architecture_is_refused(pool: Any) -> None:
    space = ground.supernet(pool).space
    dear = space.decode(list(ground.costs(pool)[0].table.extreme(-1)[1]))
    with pytest.raises(fpnas.InputError, match="at most 800,000 multiply-adds"):
        appraise.appraise("digits", dear)


def test_fidelity_of_short_trainings(pool: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    monkeypatch.setattr(ground, "ROOT", tmp_path)
    monkeypatch.setattr(proxy, "STEPS", 4)
    assert fidelity.main(["--proxy", "--pool", "digits", "--json"]) == 0
    first = capsys.readouterr().out
    judge = fidelity.proxies(pool, 0)
    assert (json.loads(first)["networks"], json.loads(first)["images"]) == (6, judge.num_images)
    codes = torch.tensor([judge.space.encode(row.arch) for row in ground.read(pool.path)[1]])
    expected = ProxyEvaluator(ground.fresh_supernet(pool), ground.images(pool.data, pool.image_size).learnt)
    assert torch.equal(judge.score(judge.canonical(codes[:1])), expected.score(expected.canonical(codes[:1])))
    monkeypatch.setattr(proxy.ProxyEvaluator, "_advance", None)  # what was scored isn't trained again
    assert fidelity.main(["--proxy", "--pool", "digits", "--json"]) == 0
    assert capsys.readouterr().out == first
    for neither_or_both in ([], [str(tmp_path), "--proxy"]):
        with pytest.raises(SystemExit):
            fidelity.main(neither_or_both)


def test_fidelity_of_a_run(pool: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    data = ground.images(pool.data, pool.image_size).learnt
    net = fpnas.spaces.tiny(num_classes=10, in_channels=1)
    task = fpnas.SupernetEvaluator(net, data, seed=3)
    budget = fpnas.Budget(fpnas.Flops(net, data.input_shape), pool.target)
    fpnas.run(fpnas.methods.fpnas(task, budget, epochs=1), tmp_path / "run")
    assert fidelity.main([str(tmp_path / "run"), "--pool", "digits", "--images", "100", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["networks"], found["images"]) == (6, 100)
    assert all(-1 <= found[name] <= 1 for name in ("spearman", "depth", "beyond_depth"))
    # The scores are those of the weights that the search ended with.
    judge = fidelity.judge_of(tmp_path / "run", pool, 100)
    assert judge._judged.tolist() == fpnas.SupernetEvaluator(net, data, seed=3, judged_on=100)._judged.tolist()
    for key, value in task.supernet.state_dict().items():
        assert torch.equal(value, judge.supernet.state_dict()[key])
    kept = tmp_path / "fidelity.md"
    assert fidelity.main([str(tmp_path / "run"), "--pool", "digits", "--half", "1", "--results", str(kept)]) == 0
    told = capsys.readouterr().out
    assert "3 of 3 networks of digits" in told
    assert kept.read_text().endswith(told)
    assert fidelity.main([str(tmp_path), "--pool", "digits"]) == 2
    assert "a search's folder with its checkpoint" in capsys.readouterr().err
