"""Every method on a table of known losses and on the small supernet: resuming, settings, refusals, and what they find.

Step by step they are tested in test_score_gradients.py, test_random_and_evolution.py and test_soft_search.py.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import helpers_run as h
import pytest
import torch
from table_problem import BEST, SAMPLES, budget_of
from torch import Tensor

import fpnas
from fpnas.errors import InputError
from fpnas.memory import Memory
from fpnas.search import CostTerm
from fpnas.search.alpha_update import Posterior
from fpnas.search.strategy import Scores, SearchState

Make = Callable[..., fpnas.Search]

# ----------------------------------------------------------------------------------------- resuming, settings, refusals


def on_table(name: str, budget: Any = None, **options: Any) -> fpnas.Search:
    """Short, with warm-up and a budget that binds; 20 steps."""
    more: dict[str, Any] = {"evolution": {"population": 8, "tournament": 3}}.get(name, {})
    make: Make = fpnas.methods.METHODS[name]
    start = {} if name == "fpnas-thompson" else {"warmup": 0.1}
    return make(h.TableEvaluator(), budget or budget_of(45.0), **{"epochs": 2, "seed": 5, **start, **more, **options})


def supernet_task() -> fpnas.SupernetEvaluator:
    return fpnas.SupernetEvaluator(h.small_supernet(), h.made_up(), batch_size=12, optimizer="sgd", temperature=4.0)


def on_supernet(name: str, task: fpnas.SupernetEvaluator | None = None, **options: Any) -> fpnas.Search:
    """6 steps of the small supernet under a FLOPs target that binds."""
    task = supernet_task() if task is None else task
    more: dict[str, Any] = {"evolution": {"population": 8, "tournament": 3}, "darts": {"lr": 0.05}}.get(name, {})
    budget = fpnas.Budget(fpnas.Flops(task.supernet, (1, 8, 8)), target=6e3)
    make: Make = fpnas.methods.METHODS[name]
    return make(task, **{"budget": budget, "epochs": 3, "seed": 5, "warmup": 0.2, **more, **options})


JOBS: dict[str, Callable[[], fpnas.Search]] = {
    **{f"{n} on the table": lambda n=n: on_table(n) for n in ("parsec", "reinforce", "random", "evolution")},
    "fpnas on the table": lambda: on_table("fpnas", lam=1.0),
    "fpnas within, on the table": lambda: on_table("fpnas", cost_term=None, lam=1.0),
    "three budgets on the table": lambda: on_table("fpnas-posterior", [budget_of(t) for t in (40, 60, 90)], lam=2.0),
    "fpnas-posterior on the table": lambda: on_table("fpnas-posterior", lam=1.0),
    "fpnas-thompson on the table": lambda: on_table("fpnas-thompson", lam=0.5),
    **{f"{n} on a supernet": lambda n=n: on_supernet(n) for n in ("fpnas", "fpnas-posterior", "darts", "fbnetv2")},
    "fpnas-posterior, distinct networks, on a supernet": lambda: on_supernet("fpnas-posterior", prior="distinct"),
    "evolution on a frozen supernet": lambda: on_supernet("evolution", frozen=True, warmup=0.4, population=4),
}


def equal(one: Any, other: Any) -> bool:
    """Of states: tensors bit for bit."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(equal(a, b) for a, b in zip(one, other, strict=True))
    return one == other


@pytest.mark.parametrize(
    ("name", "share"),
    [(name, share) for name in JOBS for share in (0.2, 0.6) if share > 0.5 or "table" in name or "frozen" in name],
)
def test_a_resumed_search_is_the_unbroken_one(name: str, share: float) -> None:
    """By a file that holds plain data only; before the join and after it, with an unfinished and a full population."""
    unbroken, first, second = (JOBS[name]() for _ in range(3))
    cut = round(share * unbroken.steps_total)
    lines = [unbroken.step() for _ in range(unbroken.steps_total)]
    for _ in range(cut):
        first.step()
    second.load_state_dict(h.through_file(first.state_dict()))
    assert equal(h.through_file(second.state_dict()), h.through_file(first.state_dict()))
    assert [second.step() for _ in range(cut, second.steps_total)] == lines[cut:]
    assert equal(h.through_file(second.state_dict()), h.through_file(unbroken.state_dict()))
    assert second.files() == unbroken.files()


def test_settings_tell_methods_apart() -> None:
    task = supernet_task()
    jobs = {name: on_supernet(name, task) for name in fpnas.methods.METHODS if name != "fpnas-thompson"}
    jobs["fpnas within"] = on_supernet("fpnas", task, cost_term=None)
    jobs["fpnas baseline"] = on_supernet("fpnas", task, baseline="mean")
    jobs["fpnas memory"] = on_supernet("fpnas-posterior", task, memory=Memory(task.space, half_life=7.0))
    texts = {json.dumps({**job.settings(), "method": ""}, sort_keys=True) for job in jobs.values()}
    # Names aside: random search differs from evolution in what it lacks.
    assert len(texts) == len(jobs) == 11
    jobs["fpnas-thompson"] = on_table("fpnas-thompson")
    assert {job.settings()["method"] for job in jobs.values()} == set(fpnas.methods.METHODS)


OPTIONS: dict[str, dict[str, Any]] = {
    "fpnas": {
        "lam": 0.5,
        "join_at": 0.6,
        "at_least": 3,
        "temperature": 3.0,
        "baseline": "mean",
        "cost_term": None,
        "lr": 0.2,
        "budget": None,
    },
    "fpnas-posterior": {
        "lam": 0.5,
        "join_at": 0.6,
        "at_least": 3,
        "temperature": 3.0,
        "cooling": 0.5,
        "warm_samples": 3,
        "prior": "distinct",
    },
    "parsec": {"num_samples": 5, "temperature": 3.0, "lr": 0.2, "cost_term": SAMPLES},
    "darts": {"lr": 0.2, "weight_decay": 0.1},
    "fbnetv2": {"lr": 0.2, "weight_decay": 0.1, "temperatures": (2.0, 0.5)},
    "reinforce": {"num_samples": 5, "baseline_decay": 0.5, "lr": 0.2},
    "random": {"num_samples": 5},
    "evolution": {"num_samples": 5, "population": 9, "tournament": 2},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_is_a_setting(name: str) -> None:
    task = supernet_task()
    base = on_supernet(name, task).settings()
    for option, value in {**OPTIONS[name], "epochs": 4, "seed": 6, "warmup": 0.5}.items():
        assert on_supernet(name, task, **{option: value}).settings() != base, option
    if name == "fpnas":
        terms = [CostTerm(), CostTerm(0.4), CostTerm(floor=0.1), CostTerm(estimator="many")]
        texts = {json.dumps(on_supernet(name, task, cost_term=term).settings()) for term in terms}
        assert len(texts) == len(terms)


@pytest.mark.parametrize("name", ["darts", "fbnetv2"])
def test_methods_that_mix_refuse_a_table(name: str) -> None:
    with pytest.raises(InputError) as caught:
        on_table(name)
    text = str(caught.value)
    assert "a supernet, whose networks can be mixed, got TableEvaluator; take a method that samples" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("fpnas", {"baseline": "mena"}, "known baseline, got 'mena'"),
        ("fpnas-posterior", {"prior": "unifrom"}, "known prior, got 'unifrom'"),
        ("fpnas-posterior", {"prior": "distinct"}, "an evaluator that knows which codes are one network, got TableEv"),
        *(("fpnas", {"join_at": join_at}, "join_at as a fraction") for join_at in (-0.1, 1.5, math.nan)),
        ("fpnas", {"temperature": 0.0}, "temperature above 0"),
        *(("fpnas", {"warmup": warmup}, "warmup as a fraction") for warmup in (-0.1, 2.0)),
        *(("fpnas", {"lam": lam}, "a lambda of 0 to 100") for lam in (-1.0, math.nan)),
        ("fpnas", {"lr": math.inf}, "a learning rate of alpha above 0"),
        ("fpnas", {"at_least": 0}, "1 architecture a step or more"),
        ("fpnas-posterior", {"cooling": 0.0}, "a cooling above 0, at most 1"),
        ("fpnas-posterior", {"cooling": 1.5}, "a cooling above 0, at most 1"),
        ("fpnas-posterior", {"cooling": float("nan")}, "a cooling above 0, at most 1"),
        ("fpnas-posterior", {"warm_samples": 0}, "1 architecture or more for a step of warm-up"),
        ("fpnas", {"epochs": 0}, "1 epoch or more"),
        ("parsec", {"lr": 0.0}, "a learning rate of alpha above 0"),
        ("parsec", {"num_samples": 0}, "1 architecture a step or more"),
        ("reinforce", {"baseline_decay": 1.0}, "a decay of the baseline from 0 to below 1"),
        ("random", {"num_samples": 0}, "1 architecture a step or more"),
        ("evolution", {"tournament": 0}, "1 <= tournament <= population"),
        ("evolution", {"population": 2}, "1 <= tournament <= population"),
        ("darts", {"lr": 0.0}, "a rate above 0 and a decay from 0"),
        ("darts", {"weight_decay": -1.0}, "a rate above 0 and a decay from 0"),
        ("fbnetv2", {"temperatures": (0.1, 5.0)}, "temperatures above 0 that fall"),
        ("fbnetv2", {"temperatures": (5.0, 0.0)}, "temperatures above 0 that fall"),
    ],
)
def test_numbers_out_of_range_are_refused(name: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        on_table(name, **options)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------ young weights decide less


def test_warm_up_takes_few_architectures_and_then_k_follows_the_entropy() -> None:
    job = on_supernet("fpnas-posterior", lam=3.0, warm_samples=2, cooling=1.0, epochs=10)
    steps = [job.step().metrics for _ in range(job.steps_total)]
    waiting = round(0.2 * job.steps_total)
    assert [step["num_samples"] for step in steps[:waiting]] == [2] * waiting
    for step in steps[waiting:]:
        assert step["num_samples"] == max(2, round(3.0 * step["entropy"]))
    assert steps[waiting]["num_samples"] > 2


def test_supernets_are_warmed_up_on_two_and_tables_as_the_entropy_says() -> None:
    assert on_supernet("fpnas-posterior").settings()["warm_samples"] == 2
    assert on_supernet("fpnas-posterior", at_least=6).settings()["warm_samples"] == 6
    assert on_supernet("fpnas").settings()["warm_samples"] is None
    assert on_table("fpnas-posterior").settings()["warm_samples"] is None


def test_the_temperature_falls_evenly_on_a_log_scale_once_alpha_moves() -> None:
    """Beside a search that is not cooled, fed with the same scores: alpha's logits, step by step."""
    update, cooled = (Posterior(Memory(h.TABLE_SPACE), "product", c) for c in (1.0, 0.1))
    plain, other = fpnas.ArchDistribution(h.TABLE_SPACE), fpnas.ArchDistribution(h.TABLE_SPACE)
    budget, draws = None, torch.Generator()
    for number in range(5):
        codes = plain.sample(6, torch.Generator().manual_seed(number))
        scores = Scores(codes, -codes.sum(dim=1).double(), 12, settled=SearchState(number + 3, 8, 3, 0).settled)
        update(plain, scores, budget, draws)
        cooled(other, scores, budget, draws)
        torch.testing.assert_close(other.logits, plain.logits * 10 ** ((number + 1) / 5))
    assert plain.logits.detach().abs().max() > 0
    assert [SearchState(n, 8, 3, 0).warming_up for n in range(8)] == [True] * 3 + [False] * 5


def test_by_default_nothing_is_cooled() -> None:
    assert on_supernet("fpnas-posterior").settings()["cooling"] == 1.0
    assert on_supernet("fpnas-posterior", cooling=0.03).settings()["cooling"] == 0.03
    assert on_table("fpnas-posterior").settings()["cooling"] == 1.0


# ------------------------------------------------------------------------------------------------- they find the best


FINDERS: dict[str, Callable[..., fpnas.Search]] = {
    "fpnas": lambda budget, seed: on_long(
        "fpnas", budget, seed, lam=1.0, temperature=2.0, baseline="mean", lr=0.1, at_least=4, warmup=0.0
    ),
    "fpnas-posterior": lambda budget, seed: on_long("fpnas-posterior", budget, seed, lam=1.0, warmup=0.0),
    "fpnas-thompson": lambda budget, seed: on_long("fpnas-thompson", budget, seed),
    "parsec": lambda budget, seed: on_long("parsec", budget, seed, num_samples=16, temperature=2.0, lr=0.1, warmup=0.0),
    "reinforce": lambda budget, seed: on_long("reinforce", budget, seed, num_samples=8, lr=0.1, warmup=0.0),
    "random": lambda budget, seed: on_long("random", budget, seed, num_samples=8, warmup=0.0),
    "evolution": lambda budget, seed: on_long("evolution", budget, seed, population=40, tournament=3, warmup=0.0),
}


def on_long(name: str, budget: fpnas.Budget | None, seed: int, **options: Any) -> fpnas.Search:
    """150 steps."""
    make: Make = fpnas.methods.METHODS[name]
    return make(h.TableEvaluator(), budget, epochs=15, seed=seed, **options)


@pytest.mark.parametrize("name", FINDERS)
@pytest.mark.parametrize("seed", [0, 1])
def test_given_time_each_finds_the_best_of_the_table(name: str, seed: int) -> None:
    job = FINDERS[name](None, seed)
    records = [job.step().metrics for _ in range(job.steps_total)]
    answer, found = job.answer(), job.result()
    assert h.TABLE_SPACE.encode(answer.arch) == BEST
    assert found.num_samples_total == sum(record["num_samples"] for record in records)
    assert job.files()["arch.json"]["choices"] == dict(found.arch) == dict(answer.arch)
    assert answer.how == ("seen" if name in ("fpnas-thompson", "random", "evolution") else "mode")


@pytest.mark.parametrize("name", ["fpnas-posterior", "fpnas-thompson", "random", "evolution"])
@pytest.mark.parametrize("target", [30.0, 75.0])
def test_given_time_they_find_the_best_within_a_budget(name: str, target: float) -> None:
    job = FINDERS[name](budget_of(target), 0)
    for _ in range(job.steps_total):
        record = job.step().metrics
        assert record["cost_mean"] <= target
    best = min((code for code in h.ALL_CODES if h.table_cost(code) <= target), key=h.table_loss)
    answer = job.answer()
    found = h.TABLE_SPACE.encode(answer.arch)
    assert answer.cost == h.table_cost(found) <= target
    assert h.table_loss(found) == pytest.approx(h.table_loss(best))


def test_thompsons_k_falls_as_the_scores_decide() -> None:
    """alpha is how probable each option is to be the best one's: in the end that is nearly known, and K has fallen."""
    job = on_table("fpnas-thompson", lam=1.0, epochs=6)
    steps = [job.step().metrics for _ in range(job.steps_total)]
    assert steps[0]["num_samples"] == round(steps[0]["entropy"]) > 4
    assert steps[-1]["num_samples"] <= 0.5 * steps[0]["num_samples"]
    assert steps[-1]["entropy"] < 0.5 * steps[0]["entropy"]
    assert all(step["cost_mean"] <= 45.0 for step in steps)


def test_thompson_refuses_scores_that_age_and_several_budgets() -> None:
    with pytest.raises(InputError, match="scores never age"):
        fpnas.methods.fpnas_thompson(supernet_task())
    with pytest.raises(InputError, match="one budget"):
        fpnas.methods.fpnas_thompson(h.TableEvaluator(), [budget_of(30.0), budget_of(45.0)])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="join_at as a fraction"):
        on_table("fpnas-thompson", join_at=1.5)


def test_thompson_answers_where_hardly_anything_meets_the_budget() -> None:
    """Fewer architectures than the process is asked after: it keeps looking at these, each counted once."""
    target = sorted(h.table_cost(code) for code in h.ALL_CODES)[4]
    job = on_table("fpnas-thompson")
    job.budget = budget_of(target)
    for _ in range(job.steps_total):
        job.step()
    known = [tuple(row) for row in job.strategy.state_dict()["process"]["codes"].tolist()]
    assert len(known) == len(set(known)) <= 16
    met = [code for code in known if h.table_cost(code) <= target]
    assert h.table_loss(h.TABLE_SPACE.encode(job.answer().arch)) == min(map(h.table_loss, met))
