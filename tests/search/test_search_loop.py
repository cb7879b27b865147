"""The loop of `Search` on a table of known losses, step by step against a slow version of eq. 7 with dictionaries.

The slow version knows no tensors: a table a cell, its softmax, the gradient p - onehot of -log P for each sample, and
Adam written out. It takes the architectures that the search drew, since a stream of random numbers has no reference.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import helpers_run as h
import pytest
import torch
from table_problem import Codes, SlowGradient, Table, options_of

import fpnas
from fpnas.errors import InputError
from fpnas.search import CostTerm

KEYS = ["step", "epoch", "entropy", "num_samples", "train_loss", "val_loss", "cost_mean", "joined"]


def table_search(budget: fpnas.Budget | None = None, steps_per_epoch: int = 10, **options: Any) -> fpnas.Search:
    return fpnas.methods.fpnas(
        h.TableEvaluator(steps_per_epoch), budget, **{**h.PINNED, "lam": 1.0, "epochs": 4, **options}
    )


def all_steps(job: fpnas.Search) -> list[dict[str, Any]]:
    return [job.step().metrics for _ in range(job.steps_done, job.steps_total)]


class SlowSearch(SlowGradient):
    """Eq. 7 in dictionaries."""

    def __init__(self, lr: float, temperature: float, target: float, term: CostTerm) -> None:
        super().__init__([(v,) for v in range(5)], lr)
        self.temperature, self.target = temperature, target
        self.beta, self.floor, self.exact = term.beta, term.floor, term.estimator == "exact"

    def probability(self, code: Codes) -> float:
        tables = self.probabilities()
        return math.prod(p[tuple(code[v] for v in cell)] for cell, p in zip(self.cells, tables, strict=True))

    def entropy(self) -> float:
        """By enumeration of all 144 architectures."""
        found = [self.probability(code) for code in h.ALL_CODES]
        return -sum(p * math.log(p) for p in found)

    def join(self) -> None:
        p, cells = self.probabilities(), [(0, 1), (2, 3), (4,)]
        joint = [
            {o: sum(math.log(p[v][(part,)]) for v, part in zip(cell, o, strict=True)) for o in options_of(cell)}
            for cell in cells
        ]
        self.put(joint, cells)

    def excess(self, code: Codes) -> float:
        return max(0.0, h.table_cost(code) / self.target - 1)

    def add_exact_cost(self, gradients: list[Table]) -> None:
        """The gradient of beta * log(E[C] + floor) over all 144 architectures: P(A) C(A) (onehot - p) for each."""
        shares = {code: self.probability(code) * self.excess(code) for code in h.ALL_CODES}
        mean = sum(shares.values())
        if mean + self.floor == 0:
            return
        for cell, p, gradient in zip(self.cells, self.probabilities(), gradients, strict=True):
            for o in p:
                inside = sum(share for code, share in shares.items() if tuple(code[v] for v in cell) == o)
                gradient[o] += self.beta * (inside - mean * p[o]) / (mean + self.floor)

    def learn(self, codes: list[Codes]) -> None:
        scaled = [-16 * h.table_loss(code) / self.temperature for code in codes]
        likely = [math.exp(value - max(scaled)) for value in scaled]
        excess = [self.excess(code) for code in codes]
        total = sum(value + self.floor for value in excess)
        if self.exact:
            excess = [0.0] * len(codes)
        m = [
            q / sum(likely) - (self.beta * c / total if total > 0 else 0.0) for q, c in zip(likely, excess, strict=True)
        ]
        gradients = self.gradients(codes, [value - sum(m) / len(m) for value in m])
        if self.exact:
            self.add_exact_cost(gradients)
        self.adam(gradients)


@pytest.mark.parametrize(
    ("beta", "floor", "estimator"),
    [(0.0, 0.0, "samples"), (0.3, 0.05, "samples"), (1.0, 0.0, "samples"), (0.3, 0.05, "exact"), (1.0, 0.0, "exact")],
)
def test_each_step_is_the_slow_one(beta: float, floor: float, estimator: Any) -> None:
    term = CostTerm(beta, floor, estimator)
    job = table_search(fpnas.Budget(h.TableCost(), 60.0), seed=3, cost_term=term)
    task = job.evaluator
    slow = SlowSearch(job.strategy.update.lr, job.strategy.update.temperature, 60.0, term)
    total = job.steps_total
    assert total == 40
    for number in range(total):
        if number == 18:  # 0.45 of 40
            slow.join()
        record = job.step().metrics
        codes = [tuple(row) for row in task.learned[-1].tolist()]
        assert record["entropy"] == pytest.approx(slow.entropy(), abs=1e-9)
        assert record["num_samples"] == len(codes) == max(2, round(slow.entropy()))
        assert record["joined"] == (number >= 18)
        assert task.progress[-1] == number / total
        losses = [h.table_loss(code) for code in codes]
        assert record["train_loss"] == pytest.approx(sum(losses) / len(losses))
        assert record["cost_mean"] == pytest.approx(sum(h.table_cost(code) for code in codes) / len(codes))
        assert (record["step"], record["epoch"]) == (number, number // 10)
        if number < 4:  # the warm-up, 0.1 of 40
            assert record["val_loss"] is None
        else:
            assert record["val_loss"] == pytest.approx(sum(losses) / len(losses))
            assert torch.equal(task.scored[-1], task.learned[-1])
            slow.learn(codes)
        slow.assert_as(job.distribution)


def test_a_result_stays_as_it_was_and_its_answer_is_worked_out_when_asked_for() -> None:
    budget = fpnas.Budget(h.TableCost(), 60.0)
    job = table_search(budget)
    for _ in range(3):
        job.step()
    early = job.result()
    logits, entropy = early.distribution.logits.detach().clone(), early.entropy
    at_the_time = job.answer()
    all_steps(job)
    assert torch.equal(early.distribution.logits, logits)
    assert not torch.equal(job.distribution.logits, logits)
    assert (early.answer, early.arch, early.cost, early.entropy) == (
        at_the_time,
        at_the_time.arch,
        at_the_time.cost,
        entropy,
    )
    # Of what has been scored nothing may meet the budget yet: that is said where the answer is asked for, no earlier.
    dearest = max(h.ALL_CODES, key=h.table_cost)
    dear = replace(early, seen={dearest: 0.0}, budget=fpnas.Budget(h.TableCost(), h.table_cost(dearest) - 1))
    assert dear.mode == early.mode
    with pytest.raises(InputError, match="a target of coins that the search has met"):
        _ = dear.arch


def test_the_record_has_the_fields_of_the_design() -> None:
    for budget in (None, fpnas.Budget(h.TableCost(), 60.0)):
        for record in all_steps(table_search(budget)):
            assert list(record) == KEYS
            assert (record["cost_mean"] is None) == (budget is None)


@pytest.mark.parametrize(("join_at", "theta"), [(0.0, 0), (0.3, 12), (0.45, 18), (0.99, 40), (1.0, None)])
def test_it_joins_at_theta(join_at: float, theta: int | None) -> None:
    flags = [record["joined"] for record in all_steps(table_search(join_at=join_at))]
    assert flags == [theta is not None and number >= theta for number in range(40)]


def test_entropy_and_k_do_not_jump_at_theta() -> None:
    job = table_search(seed=1)
    for _ in range(18):
        job.step()
    assert not job.joined
    before = job.distribution.entropy().item()
    codes = torch.tensor(h.ALL_CODES)
    log_probs = job.distribution.log_prob(codes).detach()
    assert float(log_probs.std()) > 0.1, "a uniform distribution would prove little"
    joined = job.distribution.joined()
    torch.testing.assert_close(joined.log_prob(codes).detach(), log_probs, rtol=0, atol=1e-9)
    record = job.step().metrics
    assert record["joined"]
    assert record["entropy"] == pytest.approx(before, abs=1e-9)
    assert record["num_samples"] == max(2, round(before))


@pytest.mark.parametrize("warmup", [0.0, 0.25, 1.0])
def test_the_warm_up_trains_weights_only(warmup: float) -> None:
    job = table_search(warmup=warmup, join_at=1.0)
    start = job.distribution.logits.detach().clone()
    for number in range(40):
        job.step()
        assert torch.equal(job.distribution.logits.detach(), start) == (number < round(warmup * 40))
        assert len(job.evaluator.learned) == number + 1
        assert len(job.evaluator.scored) == max(0, number + 1 - round(warmup * 40))


@pytest.mark.parametrize("seed", range(2))
def test_with_a_binding_budget_the_answer_meets_it(seed: int) -> None:
    """And it is the most probable of those that do, by enumeration."""
    target = 60.0
    assert h.table_cost(min(h.ALL_CODES, key=h.table_loss)) > target
    job = table_search(fpnas.Budget(h.TableCost(), target), seed=seed, epochs=20, cost_term=CostTerm(1.0, 0.05, "many"))
    all_steps(job)
    files = job.files()
    found, result = files["arch.json"], files["result.json"]
    code = h.TABLE_SPACE.encode(found["choices"])
    assert h.table_cost(code) == result["cost"] <= target == result["target"]
    log_probs = job.distribution.log_prob(torch.tensor(h.ALL_CODES)).tolist()
    inside = [(p, c) for p, c in zip(log_probs, h.ALL_CODES, strict=True) if h.table_cost(c) <= target]
    assert found["log_prob"] == result["log_prob"] == pytest.approx(max(inside)[0])
    assert code == max(inside)[1]
    mode = max(zip(log_probs, h.ALL_CODES, strict=True))
    assert result["mode_cost"] == h.table_cost(mode[1])
    assert (result["answer"] == "mode") == (mode[1] == code)
    # The cost term has moved the distribution itself, not only the answer.
    assert result["mode_cost"] <= target


def test_without_a_cost_term_the_mode_exceeds_the_target_and_the_result_says_so() -> None:
    job = table_search(fpnas.Budget(h.TableCost(), 60.0), epochs=20, cost_term=CostTerm(beta=0.0))
    all_steps(job)
    result = job.files()["result.json"]
    assert result["mode_cost"] > 60.0
    assert result["answer"] != "mode"
    assert result["cost"] <= 60.0


def test_the_answer_on_a_supernet_is_the_most_probable_within_the_budget() -> None:
    """Of all 576 architectures, each counted on its own."""
    job = h.small_search(target=6000.0, lr=0.5)
    for _ in range(job.steps_total):
        job.step()
    files = job.files()
    space, flops = job.distribution.space, job.budget.cost
    codes = torch.tensor(list(itertools.product(*(range(n) for n in space.cardinalities))))
    costs = flops(codes)
    log_probs = job.distribution.log_prob(codes).detach()
    inside = costs <= 6000.0
    assert 0 < int(inside.sum()) < len(codes)
    assert files["arch.json"]["log_prob"] == pytest.approx(float(log_probs[inside].max()), abs=1e-12)
    assert files["arch.json"]["flops"] == files["result.json"]["cost"] <= 6000.0
    network = job.evaluator.supernet.extract(files["arch.json"]["choices"])
    assert files["arch.json"]["params"] == sum(p.numel() for p in network.parameters())


def test_samples_are_logged_at_the_end_of_each_epoch() -> None:
    job = table_search(fpnas.Budget(h.TableCost(), 60.0))
    for number in range(40):
        step = job.step()
        assert list(step.logs) == (["distribution.jsonl"] if number % 10 == 9 else [])
        if not step.logs:
            continue
        line = step.logs["distribution.jsonl"]
        assert (line["epoch"], line["step"], line["joined"]) == (number // 10, number, number >= 18)
        drawn = [row for codes in job.evaluator.learned[number - 9 :] for row in codes.tolist()]
        assert line["samples"]["codes"] == drawn
        assert line["samples"]["cost"] == [h.table_cost(tuple(row)) for row in drawn]
        unscored = sum(len(codes) for codes in job.evaluator.learned[:4]) if number == 9 else 0
        scores = line["samples"]["score"]
        assert scores[:unscored] == [None] * unscored
        assert scores[unscored:] == pytest.approx([-h.table_loss(tuple(row)) for row in drawn[unscored:]])
        assert [len(row) for row in line["logits"]] == ([3, 2, 3, 4, 2] if number == 9 else [6, 12, 2])
        shown = [row[: len(kept)] for row, kept in zip(job.distribution.logits.tolist(), line["logits"], strict=True)]
        assert shown == line["logits"]


@pytest.mark.parametrize("at", [0, 4, 17, 18, 19, 35])
def test_a_restored_search_goes_on_bit_for_bit(at: int) -> None:
    """40 steps, 10 an epoch; the warm-up ends at 4, theta is at 18."""
    budget = fpnas.Budget(h.TableCost(), 60.0)
    unbroken, first, second = (table_search(budget, seed=5) for _ in range(3))
    wanted = [unbroken.step() for _ in range(40)]
    found = [first.step() for _ in range(at)]
    state = h.through_file(first.state_dict())
    second.load_state_dict(state)
    assert (second.steps_done, second.joined) == (at, at > 18)
    found += [second.step() for _ in range(40 - at)]
    assert found == wanted
    assert second.files() == unbroken.files()
    assert torch.equal(second.distribution.logits, unbroken.distribution.logits)


def test_a_search_neither_reads_nor_moves_the_global_random_state() -> None:
    records = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        job = h.small_search(epochs=1)
        records.append([job.step() for _ in range(4)])
        assert torch.equal(torch.get_rng_state(), before)
    assert records[0] == records[1]


def test_seeds_differ() -> None:
    jobs = [table_search(seed=seed) for seed in (0, 1)]
    for job in jobs:
        job.step()
    assert not torch.equal(jobs[0].evaluator.learned[0], jobs[1].evaluator.learned[0])
