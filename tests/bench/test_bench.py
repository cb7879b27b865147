"""The bench against a slow reference that asks for the answer before each step; quartiles, processes, the picture."""

from __future__ import annotations

import itertools
import pickle
import re
from dataclasses import astuple, replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt

import fpnas
from fpnas.bench import Contest, Outcome, Quartiles, Task, markdown, picture, regret_of, run_all, summary
from fpnas.errors import InputError
from fpnas.text import span


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> fpnas.tables.KnownTable:
    """5 choices, 243 architectures, two runs; dear ones are better."""
    path = tmp_path_factory.mktemp("bench") / "t.csv"
    rng = np.random.default_rng(0)
    lines = ["a,b,c,d,e,one,two,cost"]
    for code in itertools.product(range(3), repeat=5):
        noise = rng.uniform(0, 1, 2)
        value = 80 + sum(code) + (code[0] == code[1]) + 0.3 * code[2] * code[3]
        lines.append(",".join(map(str, [*code, *(value + noise), 10 + 3 * code[0] + sum(code)])))
    path.write_text("\n".join(lines) + "\n")
    return fpnas.tables.load(path, metric=["one", "two"], cost_columns=["cost"])


@pytest.fixture(scope="module")
def contest(table: fpnas.tables.KnownTable) -> Contest:
    return Contest.of(table, target=17.0, queries=60)


def slow(contest: Contest, task: Task) -> list[float]:
    """Simple regret at each checkpoint, with an answer for each step."""
    search, judge = contest.search(task.method, task.rotation, task.seed)
    best = contest.table.best(task.rotation, search.budget).truth
    answers: list[tuple[int, float]] = []  # queries after a step, truth of the answer before it
    endless = search.strategy.answers_from_seen
    while judge.queries <= contest.queries if endless else search.steps_done < search.steps_total:
        truth = worth(search, judge)
        search.step()
        answers.append((judge.queries, truth))
    regrets: list[float] = []
    for checkpoint in contest.checkpoints:
        over = [truth for queries, truth in answers if queries > checkpoint]
        regrets.append(100 * (best - (over[0] if over else worth(search, judge))))
    return regrets


def worth(search: fpnas.Search, judge: fpnas.TableEvaluator) -> float:
    """The true accuracy of what the search would answer now."""
    return float(judge.truth(torch.tensor([judge.space.encode(search.answer().arch)])))


@pytest.mark.parametrize("rotation", [0, 1])
@pytest.mark.parametrize("target", [17.0, None])
def test_regret_is_that_of_the_answer_before_the_step_that_goes_beyond(
    table: fpnas.tables.KnownTable, rotation: int, target: float | None
) -> None:
    contest = Contest.of(table, target, queries=60)
    assert contest.checkpoints == (25, 50, 60)
    beyond = 0
    for name in ("fpnas", "parsec", "evolution"):
        task = Task(name, rotation, seed=3)
        outcome = regret_of(contest, task)
        assert outcome.regret == pytest.approx(slow(contest, task), abs=1e-12)
        assert min(outcome.regret) >= 0
        beyond += outcome.queries > 25
    assert beyond, "some search should go beyond a checkpoint"


@pytest.mark.parametrize("name", ["random", "evolution"])
def test_who_learns_no_distribution_looks_until_the_queries_are_used_up(contest: Contest, name: str) -> None:
    """Most of evolution's children are known already: it takes more steps than it has queries."""
    outcomes = [regret_of(contest, Task(name, rotation=0, seed=seed)) for seed in range(3)]
    assert all(outcome.queries >= contest.queries for outcome in outcomes)
    assert name == "random" or all(outcome.steps > contest.queries for outcome in outcomes)


def test_a_search_that_has_settled_keeps_its_answer(table: fpnas.tables.KnownTable) -> None:
    contest = Contest.of(table, None, queries=243)  # it would have to look at more than there are
    outcome = regret_of(contest, Task("fpnas", 0, 0))
    search, judge = contest.search("fpnas", 0, 0)
    for _ in range(outcome.steps):
        search.step()
    final = torch.tensor([judge.space.encode(search.result().arch)])
    assert outcome.queries == judge.queries <= 243
    assert outcome.regret[-1] == pytest.approx(100 * (contest.best[0] - float(judge.truth(final))))


def test_it_is_the_same_however_many_processes_there_are(contest: Contest) -> None:
    tasks = [Task("fpnas", rotation, seed) for rotation in range(2) for seed in range(2)]
    seen: list[int] = []
    alone = run_all(contest, tasks, workers=1, progress=seen.append)
    assert alone == run_all(contest, tasks, workers=2)
    assert seen == [1, 2, 3, 4]
    assert [outcome.task for outcome in alone] == tasks
    assert len({outcome.regret for outcome in alone}) > 1


def outcomes() -> list[Outcome]:
    regrets = {("x", 0): [1, 2, 6], ("x", 1): [0, 4, 2], ("y", 0): [3, 3, 3], ("y", 1): [0, 0, 9]}
    return [
        Outcome(Task(name, rotation, seed), (float(v), v / 2, v / 4), queries=60, steps=9)
        for (name, rotation), values in regrets.items()
        for seed, v in enumerate(values)
    ]


def test_a_figure_is_the_mean_over_rotations_of_a_quantile_over_seeds(contest: Contest) -> None:
    found = summary(contest, outcomes())
    assert list(found) == ["x", "y"]
    assert found["x"][25] == Quartiles(median=2.0, q25=(1.5 + 1) / 2, q75=(4 + 3) / 2)
    assert found["x"][60].median == 0.5
    assert found["y"][50] == Quartiles(median=0.75, q25=0.75, q75=(1.5 + 2.25) / 2)


def test_the_results_file_holds_every_figure(contest: Contest) -> None:
    only = [outcome for outcome in outcomes() if outcome.task.method == "x"]
    only = [Outcome(Task("fpnas-posterior", o.task.rotation, o.task.seed), o.regret, o.queries, o.steps) for o in only]
    text = markdown(contest, summary(contest, only), only, {"Command": "`fpnas bench t`"}, "t.svg")
    assert "| fpnas-posterior | 2.00 [1.25, 3.50] | 1.00 [0.62, 1.75] | 0.50 [0.31, 0.88] |" in text
    for part in ("`fpnas bench t`", "at most 17 cost", "Seeds 0 to 2 in each of 2 rotations", "](t.svg)", "lam 1.0"):
        assert part in text


def test_the_picture_is_sound_xml_with_a_line_a_method(contest: Contest) -> None:
    found = summary(contest, outcomes())
    root = ElementTree.fromstring(picture(found, "a < b & c"))
    tag = "{http://www.w3.org/2000/svg}"
    assert [polygon.get("fill") for polygon in root.iter(f"{tag}polygon")] == ["#0072b2", "#d55e00"]
    assert len(list(root.iter(f"{tag}circle"))) == 2 * 3
    texts = [text.text for text in root.iter(f"{tag}text")]
    for text in ("a < b & c", "queries", "x", "y", "25", "60", "≤ 0.01", "10"):
        assert text in texts
    one = {"x": {1: Quartiles(0.0, 0.0, 0.0)}}
    assert "nan" not in picture(one, "t")


@pytest.mark.parametrize("evil", ["\"'><script>alert(1)</script>", "a](javascript:alert(1)) | `b` **c**\n# d\x08"])
def test_nothing_of_a_table_becomes_markup(contest: Contest, evil: str) -> None:
    """Names of files, of columns and of notes come from whoever made the table."""

    def made(name: str) -> tuple[str, list[str]]:
        known = replace(contest.table, name=name, notes=(name,))
        own = replace(contest, table=known)
        only = [Outcome(Task("fpnas-posterior", o.task.rotation, o.task.seed), *astuple(o)[1:]) for o in outcomes()]
        page = markdown(own, summary(own, only), only, {"Command": span(f"fpnas bench {name}")}, f"{name}.svg")
        html = MarkdownIt("commonmark", {"html": True}).enable("table").render(page)
        svg = picture({name: summary(own, only)["fpnas-posterior"]}, name)
        return svg, re.findall(r"<(/?[a-z0-9]+)", html)

    svg, kinds = made(evil)
    assert kinds == made("good")[1]
    assert "<script" not in svg
    shown = [element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith(("title", "text"))]
    assert sum(text == " ".join(evil.replace("\x08", " ").split("\n")) for text in shown) == 3


def test_contests_that_cannot_be_are_refused(table: fpnas.tables.KnownTable) -> None:
    with pytest.raises(InputError, match="1 query or more"):
        Contest.of(table, None, queries=0)
    with pytest.raises(InputError, match="at least 10 cost"):
        Contest.of(table, 9.0, queries=9)
    with pytest.raises(InputError, match=r"'costs'.*did you mean 'cost'"):
        Contest.of(table, 17.0, queries=9, cost_column="costs")
    with pytest.raises(InputError, match="did you mean 'fpnas'"):
        regret_of(Contest.of(table, None, queries=9), Task("fnas", 0, 0))


def test_errors_survive_the_way_out_of_a_process() -> None:
    error = pickle.loads(pickle.dumps(InputError("a", "b", "c")))
    assert (type(error), str(error)) == (InputError, "expected a, got b; c")


MACRO = Path(__file__).parents[3] / "shared" / "data" / "nas-bench-macro_cifar10.npz"


@pytest.mark.skipif(not MACRO.exists(), reason=f"{MACRO} is not here")
def test_nas_bench_macro_within_a_budget() -> None:
    contest = Contest.of(fpnas.tables.load(MACRO), 50e6, queries=60)
    assert [round(100 * value, 3) for value in contest.best] == [92.36, 92.015, 92.145]
    outcome = regret_of(contest, Task("fpnas", 1, 0))
    assert outcome.regret == pytest.approx(slow(contest, Task("fpnas", 1, 0)), abs=1e-12)
