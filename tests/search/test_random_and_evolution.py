"""Random search and evolution on a table of known losses: what they draw and answer.

Of evolution the children are compared with the population that a test keeps by itself.
"""

from __future__ import annotations

import math
from collections import Counter

import helpers_run as h
import pytest
import torch
from table_problem import Codes, budget_of, rows_of

import fpnas
from fpnas.search.baselines import Evolution
from fpnas.search.strategy import Scores, SearchState, likelihood
from fpnas.streams import generator

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


@pytest.mark.parametrize("target", [60.0, 25.0])
def test_random_draws_are_uniform_within_the_budget(target: float) -> None:
    """A target that most meet, and one that so few meet that draws lean towards it at first: chi-square."""
    job = fpnas.methods.random(h.TableEvaluator(), budget_of(target), num_samples=200, epochs=5, seed=1, warmup=0.0)
    for _ in range(job.steps_total):
        job.step()
    counts = Counter(row for codes in job.evaluator.learned for row in rows_of(codes))
    allowed = [code for code in h.ALL_CODES if h.table_cost(code) <= target]
    assert 0.4 < len(allowed) / 144 < 0.9 if target == 60.0 else 8 < len(allowed) < 0.2 * 144
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

    def noisy(codes: torch.Tensor) -> torch.Tensor:
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
    loglik = likelihood(torch.tensor(scores, dtype=torch.float64))
    strategy.tell(Scores(codes, loglik, 1), h.TableEvaluator(), None, SearchState(0, 1, 0, 0))
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
