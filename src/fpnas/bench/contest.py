"""One search on a table, and what its answers were worth after so many queries.

A query is the first look at an architecture. The answer at q queries is what the search would have said before the look
that exceeds q; its simple regret is the true accuracy of the best architecture within the budget, less its own. An
answer that breaks the budget counts as an accuracy of 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from fpnas.cost import Budget
from fpnas.errors import InputError, unknown_name
from fpnas.evaluators import TableEvaluator
from fpnas.search import Search, methods
from fpnas.search.cost_term import CostTerm
from fpnas.space import Arch
from fpnas.tables import KnownTable

MakeSearch = Callable[..., Search]
"""(evaluator, budget, *, epochs, seed) -> a search."""


METHODS: Mapping[str, MakeSearch] = {
    # A table has no weights to warm up, and its log-likelihoods are those of `scale` images. All but the paper's draw
    # within the budget; fpnas-within is eq. 7 with such draws and 1/K taken off its weights.
    "fpnas": partial(methods.fpnas, cost_term=CostTerm(beta=1.0), temperature="product", lam=0.5, lr=0.1, warmup=0.0),
    "fpnas-within": partial(
        methods.fpnas, cost_term=None, baseline="mean", temperature="product", lam=0.5, lr=0.3, warmup=0.0
    ),
    "fpnas-posterior": partial(methods.fpnas_posterior, lam=1.0, join_at=0.0, warmup=0.0),
    "fpnas-thompson": partial(methods.fpnas_thompson, lam=0.25),
    "parsec": partial(methods.parsec, num_samples=8, temperature="product", lr=0.3, warmup=0.0),
    "reinforce": partial(methods.reinforce, num_samples=4, lr=0.3, warmup=0.0),
    "random": partial(methods.random, num_samples=4, warmup=0.0),
    "evolution": partial(methods.evolution, num_samples=1, population=30, tournament=10, warmup=0.0),
}
"""The methods by name. Of each the best of ten settings on Accel-NASBench and made-up tables, none of them chosen on
NAS-Bench-Macro: benchmarks/table_settings.py. Those of fpnas-thompson are yet to be tried there."""

CHECKPOINTS = (25, 50, 100, 200, 400)
PATIENCE = 100
"""Steps without a query after which a search that learns a distribution counts as settled."""

TRIES = 10_000
"""The same of random search and evolution, which know nothing to keep to: they look until their queries are used up, or
until there can be hardly anything left to look at."""


def method(name: str) -> MakeSearch:
    """The method of that name, or `InputError`."""
    if name not in METHODS:
        raise unknown_name("method", name, METHODS)
    return METHODS[name]


@dataclass(frozen=True)
class Contest:
    """What all runs of a bench share; picklable.

    Args:
        table: the table.
        cost_column: whose cost the target is of; None takes the table's first.
        target: None searches without a budget.
        queries: the most that a search may make.
        best: the true accuracy of the best architecture within the budget, a fraction, for each rotation.
        scale: of the log-likelihood, see `TableEvaluator`.

    Raises:
        InputError: no query to make.
    """

    table: KnownTable
    cost_column: str | None
    target: float | None
    queries: int
    best: tuple[float, ...]
    scale: float = 200.0

    @classmethod
    def of(
        cls, table: KnownTable, target: float | None, queries: int, cost_column: str | None = None, scale: float = 200.0
    ) -> Contest:
        """A contest on a table: finds the best architecture of each rotation.

        Raises:
            InputError: no query to make, a cost that the table lacks, or a target that nothing meets.
        """
        if queries < 1:
            raise InputError("1 query or more", str(queries), "use the default")
        budget = _budget(table, cost_column, target)
        best = tuple(table.best(rotation, budget).truth for rotation in range(len(table.rotations)))
        return cls(table, cost_column, target, queries, best, scale)

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """At how many queries answers are judged: 25, 50, 100, 200, 400, as far as they go, and at the end."""
        return tuple(sorted({q for q in CHECKPOINTS if q < self.queries} | {self.queries}))

    def search(self, name: str, rotation: int, seed: int) -> tuple[Search, TableEvaluator]:
        """A fresh search of a method and its judge. Its length is a step a query, in epochs of one step."""
        judge = TableEvaluator(self.table, rotation=rotation, scale=self.scale, steps_per_epoch=1)
        budget = _budget(self.table, self.cost_column, self.target)
        return method(name)(judge, budget, epochs=self.queries, seed=seed), judge


@dataclass(frozen=True)
class Task:
    """One run: which method, which rotation of the table, which seed."""

    method: str
    rotation: int
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What came of a task.

    Args:
        task: the task.
        regret: simple regret in points at each checkpoint of the contest.
        queries: made in all; fewer than the contest's where the search had settled.
        steps: taken in all.
    """

    task: Task
    regret: tuple[float, ...]
    queries: int
    steps: int


def regret_of(contest: Contest, task: Task) -> Outcome:
    """Runs the task to its end."""
    search, judge = contest.search(task.method, task.rotation, task.seed)
    pending, answers = list(contest.checkpoints), list[Arch]()

    def note(codes: Tensor) -> None:
        """Before a look that exceeds a number of queries: what the search would answer."""
        total = judge.queries + judge.unseen(codes)
        while pending and pending[0] < total:
            answers.append(search.answer().arch)
            pending.pop(0)

    search.before_scores = note
    # A distribution has a number of steps to settle in; where none is learnt, steps without a query are no answer.
    learns = not search.strategy.answers_from_seen
    quiet, patience = 0, PATIENCE if learns else TRIES
    while pending and quiet < patience and not (learns and search.steps_done >= search.steps_total):
        before = judge.queries
        search.step()
        quiet = 0 if judge.queries > before else quiet + 1
    if pending:  # it has settled: its answer is the same from here on
        answers += [search.answer().arch] * len(pending)
    codes = torch.tensor([judge.space.encode(arch) for arch in answers])
    truth = judge.truth(codes)
    if search.budget is not None:
        truth = torch.where(search.budget.cost(codes) <= search.budget.target, truth, 0.0)
    regret = 100 * (contest.best[task.rotation] - truth)
    return Outcome(task, tuple(regret.tolist()), judge.queries, search.steps_done)


def _budget(table: KnownTable, cost_column: str | None, target: float | None) -> Budget | None:
    return None if target is None else Budget(table.cost(cost_column), target)
