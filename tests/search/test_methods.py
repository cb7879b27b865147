"""Every method on a table of known losses and on the small supernet: what it draws, learns, answers and keeps.

The gradient methods go beside a slow version in dictionaries, step by step; of evolution the children are compared with
the population that a test keeps by itself.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import helpers_run as h
import pytest
import torch
from torch import Tensor

import fpnas
from fpnas.distribution import groups
from fpnas.errors import InputError
from fpnas.memory import Memory
from fpnas.search.floors import Evolution
from fpnas.search.moves import Gradient
from fpnas.search.sampling import Sampling
from fpnas.streams import generator

Codes = tuple[int, ...]
Make = Callable[..., fpnas.Search]
BEST = (1, 1, 2, 3, 0)
assert min(h.ALL_CODES, key=h.table_loss) == BEST


def rows_of(codes: Tensor) -> list[Codes]:
    return [tuple(row) for row in codes.tolist()]


def budget_of(target: float = 60.0, **options: Any) -> fpnas.Budget:
    return fpnas.Budget(h.TableCost(), target, **{"beta": 0.3, "floor": 0.05, "estimator": "samples", **options})


# ----------------------------------------------------------------------------------- parsec and reinforce, step by step


class SlowGradient:
    """Softmax tables, the gradient of sum_k w_k log P(A_k) and Adam (.5, .999), in dictionaries."""

    def __init__(self, cells: list[tuple[int, ...]], lr: float) -> None:
        self.cells, self.lr, self.count = cells, lr, 0
        sizes = h.TABLE_SPACE.cardinalities
        options = [itertools.product(*(range(sizes[v]) for v in cell)) for cell in cells]
        self.logits = [dict.fromkeys(each, 0.0) for each in options]
        self.first = [dict.fromkeys(table, 0.0) for table in self.logits]
        self.second = [dict.fromkeys(table, 0.0) for table in self.logits]

    def move(self, codes: list[Codes], weights: list[float]) -> None:
        self.count += 1
        for cell, logits, first, second in zip(self.cells, self.logits, self.first, self.second, strict=True):
            total = sum(math.exp(value) for value in logits.values())
            p = {option: math.exp(value) / total for option, value in logits.items()}
            taken = [tuple(code[v] for v in cell) for code in codes]
            for o in logits:
                g = -sum(w * ((o == t) - p[o]) for w, t in zip(weights, taken, strict=True))
                first[o] = 0.5 * first[o] + 0.5 * g
                second[o] = 0.999 * second[o] + 0.001 * g * g
                mean, square = first[o] / (1 - 0.5**self.count), second[o] / (1 - 0.999**self.count)
                logits[o] -= self.lr * mean / (math.sqrt(square) + 1e-8)

    def assert_as(self, distribution: fpnas.ArchDistribution) -> None:
        for row, table in zip(distribution.logits.tolist(), self.logits, strict=True):
            assert row[: len(table)] == pytest.approx(list(table.values()), abs=1e-9)


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_parsec_is_the_slow_one_with_k_fixed_and_joint_from_the_start(beta: float) -> None:
    """Eq. 7 without a baseline: w_k = q_k - beta * share_k."""
    budget = budget_of(beta=beta)
    job = fpnas.methods.parsec(
        h.TableEvaluator(), budget, num_samples=7, epochs=3, seed=2, temperature=5.0, lr=0.08, warmup=0.1
    )
    slow = SlowGradient([(0, 1), (2, 3), (4,)], 0.08)
    for number in range(job.steps_total):
        record = job.step().metrics
        assert (record["num_samples"], record["joined"]) == (7, True)
        if number >= 3:  # warm-up is 0.1 of 30 steps
            codes = rows_of(job.evaluator.scored[-1])
            likely = [math.exp(-16 * h.table_loss(code) / 5.0) for code in codes]
            excess = [max(0.0, h.table_cost(code) / 60.0 - 1) for code in codes]
            shares = [c / (sum(excess) + 7 * 0.05) if sum(excess) else 0.0 for c in excess]
            slow.move(codes, [q / sum(likely) - beta * c for q, c in zip(likely, shares, strict=True)])
        slow.assert_as(job.distribution)
    assert job.result().num_samples_total == 7 * job.steps_total
    assert job.distribution.partition == groups(h.TABLE_SPACE)


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_reinforce_is_the_slow_one(beta: float) -> None:
    """The mean over k of (reward_k - baseline) * grad log P(A_k), the baseline the decayed mean of those before."""
    job = fpnas.methods.reinforce(
        h.TableEvaluator(),
        budget_of(beta=beta),
        num_samples=5,
        epochs=3,
        seed=2,
        baseline_decay=0.8,
        lr=0.08,
        warmup=0.1,
    )
    slow = SlowGradient([(v,) for v in range(5)], 0.08)
    baseline: float | None = None
    for number in range(job.steps_total):
        record = job.step().metrics
        assert (record["num_samples"], record["joined"]) == (5, False)
        if number >= 3:
            codes = rows_of(job.evaluator.scored[-1])
            rewards = [-h.table_loss(code) - beta * max(0.0, h.table_cost(code) / 60.0 - 1) for code in codes]
            mean = sum(rewards) / 5
            before = mean if baseline is None else baseline
            slow.move(codes, [(reward - before) / 5 for reward in rewards])
            baseline = 0.8 * before + 0.2 * mean
        slow.assert_as(job.distribution)


def test_reinforce_leaves_the_cost_to_the_budgets_own_term() -> None:
    """With an exact term the rewards hold no cost: the gradient is theirs and the term's, the latter by autograd."""
    budget = budget_of(beta=0.5, estimator="exact")
    job = fpnas.methods.reinforce(h.TableEvaluator(), budget, num_samples=5, epochs=1, seed=2, lr=0.08, warmup=0.0)
    job.step()
    assert isinstance(job.strategy, Sampling)
    assert isinstance(job.strategy.move, Gradient)
    (codes,) = job.evaluator.scored
    uniform = fpnas.ArchDistribution(h.TABLE_SPACE)
    rewards = torch.tensor([-h.table_loss(code) for code in rows_of(codes)], dtype=torch.float64)
    loss = budget.loss(uniform, generator(0)) - ((rewards - rewards.mean()) * uniform.log_prob(codes)).mean()
    (wanted,) = torch.autograd.grad(loss, [uniform.logits])
    torch.testing.assert_close(job.distribution.logits.grad, wanted, rtol=0, atol=1e-12)


# --------------------------------------------------------------------------------------------------------------- random


def test_random_draws_only_what_the_budget_allows_and_answers_with_the_best_seen() -> None:
    job = fpnas.methods.random(h.TableEvaluator(), budget_of(45.0), num_samples=4, epochs=2, seed=1, warmup=0.1)
    drawn: list[Codes] = []
    for number in range(job.steps_total):
        record = job.step().metrics
        assert record["num_samples"] == 4
        assert record["entropy"] == pytest.approx(math.log(144)), "it learns nothing"
        assert (record["val_loss"] is None) == (number < 2)
    for codes in job.evaluator.learned:
        assert all(h.table_cost(row) <= 45.0 for row in rows_of(codes))
    for codes in job.evaluator.scored:
        drawn += rows_of(codes)
    assert len(drawn) == 4 * 18
    result, answer = job.result(), job.answer()
    best = min(drawn, key=h.table_loss)
    assert h.TABLE_SPACE.encode(answer.arch) == h.TABLE_SPACE.encode(result.arch) == best
    assert (answer.how, answer.cost) == ("seen", h.table_cost(best))
    assert {code: -loss for code, loss in result.seen.items()} == pytest.approx(
        {c: h.table_loss(c) for c in set(drawn)}
    )
    tighter = sorted(h.table_cost(code) for code in drawn)[len(drawn) // 2]
    found = h.TABLE_SPACE.encode(result.best_within(tighter).arch)
    assert found == min((code for code in drawn if h.table_cost(code) <= tighter), key=h.table_loss)


def test_random_draws_are_uniform_within_the_budget() -> None:
    """A target that most meet: no tilt, so chi-square against equal counts."""
    job = fpnas.methods.random(h.TableEvaluator(), budget_of(60.0), num_samples=200, epochs=5, seed=1, warmup=0.0)
    for _ in range(job.steps_total):
        job.step()
    counts = Counter(row for codes in job.evaluator.learned for row in rows_of(codes))
    allowed = [code for code in h.ALL_CODES if h.table_cost(code) <= 60.0]
    assert 0.4 < len(allowed) / 144 < 0.9
    assert set(counts) == set(allowed)
    each = sum(counts.values()) / len(allowed)
    chi_square = sum((counts[code] - each) ** 2 / each for code in allowed)
    freedom = len(allowed) - 1
    assert abs(chi_square - freedom) < 4 * math.sqrt(2 * freedom)


def test_repeated_looks_at_a_noisy_score_are_averaged() -> None:
    """On a supernet an architecture's score changes from batch to batch."""
    task = h.TableEvaluator()
    noise = iter(float(value) for value in torch.rand(1000, generator=torch.Generator().manual_seed(0)))
    seen: dict[Codes, list[float]] = {}

    def noisy(codes: Tensor) -> Tensor:
        found = [-h.table_loss(row) - next(noise) for row in rows_of(codes)]
        for row, value in zip(rows_of(codes), found, strict=True):
            seen.setdefault(row, []).append(value)
        return 16 * torch.tensor(found, dtype=torch.float64)

    task.score = noisy  # type: ignore[method-assign]
    job = fpnas.methods.random(task, None, num_samples=8, epochs=4, seed=0, warmup=0.0)
    for _ in range(job.steps_total):
        job.step()
    means = {code: sum(values) / len(values) for code, values in seen.items()}
    assert max(len(values) for values in seen.values()) > 2
    assert dict(job.result().seen) == pytest.approx(means)
    assert h.TABLE_SPACE.encode(job.answer().arch) == max(means, key=lambda code: means[code])


# ------------------------------------------------------------------------------------------------------------ evolution


def distance(one: Codes, other: Codes) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("tournament", [1, 3, 12])
@pytest.mark.parametrize("target", [45.0, 500.0])
def test_children_are_mutants_of_a_population_of_the_youngest(tournament: int, target: float) -> None:
    """In a tournament of all 12 the best is the parent."""
    job = fpnas.methods.evolution(
        h.TableEvaluator(),
        budget_of(target),
        num_samples=3,
        population=12,
        tournament=tournament,
        epochs=6,
        warmup=0.05,
    )
    population: list[Codes] = []
    for number in range(job.steps_total):
        job.step()
        codes = rows_of(job.evaluator.learned[-1])
        assert all(h.table_cost(code) <= target for code in codes)
        if number < 3:  # 0.05 of 60 steps
            continue
        if len(population) == 12:
            best = min(h.table_loss(code) for code in population)
            parents = population if tournament < 12 else [code for code in population if h.table_loss(code) == best]
            assert all(any(distance(child, parent) == 1 for parent in parents) for child in codes)
        population = (population + codes)[-12:]
        assert isinstance(job.strategy, Evolution)
        kept = job.strategy.state_dict()
        assert rows_of(kept["codes"]) == population
        assert kept["scores"].tolist() == pytest.approx([-h.table_loss(code) for code in population])
    assert len(set(population)) > 3


WIDE = fpnas.SearchSpace([fpnas.Choice(f"c{v}", tuple(range(n))) for v, n in enumerate((6, 6, 1, 6, 6))])


def evolved(scores: list[float], tournament: int, num: int) -> Evolution:
    """A full population whose members differ in all choices, so that a child has one parent."""
    strategy = Evolution(WIDE, num, len(scores), tournament)
    codes = torch.tensor([[k, k, 0, k, k] for k in range(len(scores))])
    strategy.tell(codes, torch.tensor(scores, dtype=torch.float64))
    return strategy


def test_the_best_of_the_tournament_is_the_parent() -> None:
    """Member of rank r wins where it is drawn and no better one is: C(worse, t - 1) / C(N, t)."""
    scores, num, tournament = [0.3, -1.0, math.nan, 2.0, 0.1, -0.5], 1000, 3
    children = rows_of(evolved(scores, tournament, num).propose(None, generator(0, "test")))
    parents = Counter(Counter(code[:2] + code[3:]).most_common(1)[0][0] for code in children)
    ranked = sorted(range(6), key=lambda k: -math.inf if math.isnan(scores[k]) else scores[k])
    assert ranked[0] == 2, "what has diverged is the worst"
    for worse, member in enumerate(ranked):
        share = math.comb(worse, tournament - 1) / math.comb(6, tournament)
        noise = math.sqrt(share * (1 - share) / num)
        assert parents[member] / num == pytest.approx(share, abs=4 * noise)


def test_mutations_are_uniform_over_choices_and_other_options() -> None:
    """Parent (2, 2, 0, 2, 2): 4 choices with more than one option, 5 others of each."""
    num = 1000
    children = rows_of(evolved([0.0, 0.0, 9.0], 3, num).propose(None, generator(0, "test")))
    parent = (2, 2, 0, 2, 2)
    assert all(distance(child, parent) == 1 for child in children)
    counts = Counter(children)
    assert len(counts) == 20
    chi_square = sum((count - num / 20) ** 2 / (num / 20) for count in counts.values())
    assert chi_square < 19 + 4 * math.sqrt(2 * 19)


def test_a_space_of_one_architecture_can_not_be_mutated_but_is_searched() -> None:
    """Random search draws it; the first full population of evolution has nothing to change."""
    single = fpnas.SearchSpace([fpnas.Choice("only", (1,))])
    strategy = Evolution(single, 2, 4, 2)
    assert rows_of(strategy.propose(None, generator(0, "test"))) == [(0,), (0,)]


# ----------------------------------------------------------------------------------------- resuming, settings, refusals


def on_table(name: str, **options: Any) -> fpnas.Search:
    """Short, with warm-up and a budget that binds; 20 steps."""
    more: dict[str, Any] = {"evolution": {"population": 8, "tournament": 3}}.get(name, {})
    make: Make = fpnas.methods.METHODS[name]
    return make(h.TableEvaluator(), budget_of(45.0), **{"epochs": 2, "seed": 5, "warmup": 0.1, **more, **options})


def supernet_task() -> fpnas.SupernetEvaluator:
    return fpnas.SupernetEvaluator(h.small_supernet(), h.made_up(), batch_size=12, optimiser="sgd", temperature=4.0)


def on_supernet(name: str, task: fpnas.SupernetEvaluator | None = None, **options: Any) -> fpnas.Search:
    """6 steps of the small supernet under a FLOPs target that binds."""
    task = supernet_task() if task is None else task
    more: dict[str, Any] = {"evolution": {"population": 8, "tournament": 3}, "darts": {"lr": 0.05}}.get(name, {})
    budget = fpnas.Budget(fpnas.Flops(task.supernet, (1, 8, 8)), target=6e3, beta=0.3, floor=0.05)
    make: Make = fpnas.methods.METHODS[name]
    return make(task, budget, **{"epochs": 3, "seed": 5, "warmup": 0.2, **more, **options})


JOBS: dict[str, Callable[[], fpnas.Search]] = {
    **{f"{n} on the table": lambda n=n: on_table(n) for n in ("parsec", "reinforce", "random", "evolution")},
    "fpnas, posterior, on the table": lambda: on_table("fpnas", update="posterior", lam=1.0),
    "fpnas, eq. 7 within, on the table": lambda: on_table("fpnas", update="eq7", within=True, lam=1.0),
    "fpnas, leave-one-out, on the table": lambda: on_table("fpnas", update="eq7", baseline="leave-one-out", lam=1.0),
    **{f"{n} on a supernet": lambda n=n: on_supernet(n) for n in ("fpnas", "darts", "fbnetv2")},
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
    ("name", "share"), [(name, share) for name in JOBS for share in (0.2, 0.6) if share > 0.5 or "table" in name]
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
    jobs = {name: on_supernet(name, task) for name in fpnas.methods.METHODS}
    jobs["fpnas posterior"] = on_supernet("fpnas", task, update="posterior")
    jobs["fpnas eq7 within"] = on_supernet("fpnas", task, update="eq7", within=True)
    jobs["fpnas loo"] = on_supernet("fpnas", task, update="eq7", baseline="leave-one-out")
    jobs["fpnas memory"] = on_supernet("fpnas", task, update="posterior", memory=Memory(task.space, half_life=7.0))
    texts = {json.dumps({**job.settings(), "method": ""}, sort_keys=True) for job in jobs.values()}
    # Names aside: random search differs from evolution in what it lacks.
    assert len(texts) == len(jobs) == 11
    assert {job.settings()["method"] for job in jobs.values()} == set(fpnas.methods.METHODS)


OPTIONS: dict[str, dict[str, Any]] = {
    "fpnas": {"lam": 0.5, "join_at": 0.6, "at_least": 3, "update": "posterior", "temperature": 3.0, "within": True},
    "parsec": {"num_samples": 5, "temperature": 3.0, "lr": 0.2},
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
        ("fpnas", {"update": "eq8"}, "known update, got 'eq8'"),
        ("fpnas", {"update": "eq7", "baseline": "mena"}, "known baseline, got 'mena'"),
        ("fpnas", {"join_at": 1.5}, "join_at as a fraction"),
        ("fpnas", {"temperature": 0.0}, "temperature above 0"),
        ("fpnas", {"warmup": -0.1}, "warmup as a fraction"),
        ("fpnas", {"epochs": 0}, "1 epoch or more"),
        ("parsec", {"lr": 0.0}, "a learning rate of alpha above 0"),
        ("parsec", {"num_samples": 0}, "1 <= at_least <= at_most"),
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


# ------------------------------------------------------------------------------------------------- they find the best


FINDERS: dict[str, Callable[..., fpnas.Search]] = {
    "fpnas, posterior": lambda budget, seed: on_long("fpnas", budget, seed, lam=1.0, update="posterior"),
    "fpnas, eq. 7": lambda budget, seed: on_long(
        "fpnas", budget, seed, lam=1.0, update="eq7", temperature=2.0, lr=0.1, at_least=4
    ),
    "parsec": lambda budget, seed: on_long("parsec", budget, seed, num_samples=16, temperature=2.0, lr=0.1),
    "reinforce": lambda budget, seed: on_long("reinforce", budget, seed, num_samples=8, lr=0.1),
    "random": lambda budget, seed: on_long("random", budget, seed, num_samples=8),
    "evolution": lambda budget, seed: on_long("evolution", budget, seed, population=40, tournament=3),
}


def on_long(name: str, budget: fpnas.Budget | None, seed: int, **options: Any) -> fpnas.Search:
    """150 steps."""
    make: Make = fpnas.methods.METHODS[name]
    return make(h.TableEvaluator(), budget, epochs=15, seed=seed, warmup=0.0, **options)


@pytest.mark.parametrize("name", FINDERS)
@pytest.mark.parametrize("seed", [0, 1])
def test_given_time_each_finds_the_best_of_the_table(name: str, seed: int) -> None:
    job = FINDERS[name](None, seed)
    for _ in range(job.steps_total):
        job.step()
    answer = job.answer()
    assert h.TABLE_SPACE.encode(answer.arch) == BEST
    assert answer.how == ("seen" if name in ("random", "evolution") else "mode")


@pytest.mark.parametrize("name", ["fpnas, posterior", "random", "evolution"])
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
