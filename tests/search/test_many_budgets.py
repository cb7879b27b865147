"""Several budgets in one search: what is drawn, answered, kept and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import helpers_run as h
import pytest
import torch

import fpnas
from fpnas.errors import InputError
from fpnas.search.multi_budget import MultiBudget, name_of

TARGETS = (40.0, 60.0, 90.0)


def budgets_of(targets: tuple[float, ...] = TARGETS) -> list[fpnas.Budget]:
    return [fpnas.Budget(h.TableCost(), target) for target in targets]


def search_of(**options: Any) -> fpnas.Search:
    settings: dict[str, Any] = {"epochs": 4, "seed": 3, "warmup": 0.1, "lam": 2.0, **options}
    budgets = settings.pop("budgets", None) or budgets_of()
    return fpnas.methods.fpnas_posterior(h.TableEvaluator(), budgets, **settings)


def test_each_answer_meets_its_target_and_looser_ones_are_no_worse() -> None:
    job = search_of(epochs=12)
    alone = fpnas.methods.fpnas_posterior(h.TableEvaluator(), budgets_of()[-1], epochs=12, seed=3, warmup=0.1, lam=2.0)
    while job.steps_done < job.steps_total:
        job.step()
        alone.step()
    found = job.front()
    assert [answer.cost <= target for answer, target in zip(found, TARGETS, strict=True)] == [True] * 3
    assert job.answer() == found[-1]
    losses = [h.table_loss(tuple(h.TABLE_SPACE.encode(answer.arch))) for answer in found]
    best = [
        min(h.table_loss(code) for code in h.ALL_CODES if float(h.TableCost()(torch.tensor([code]))) <= target)
        for target in TARGETS
    ]
    assert losses == pytest.approx(best, abs=0.3)
    assert job.result().num_samples_total <= 1.5 * alone.result().num_samples_total


def test_the_folder_holds_a_file_for_each_target_and_the_front(tmp_path: Path) -> None:
    job = search_of()
    fpnas.run(job, tmp_path / "run")
    front = json.loads((tmp_path / "run" / "pareto.json").read_text())
    assert [row["target"] for row in front["front"]] == list(TARGETS)
    assert [row["arch"] for row in front["front"]] == [f"arch-{name_of(target)}.json" for target in TARGETS]
    for row in front["front"]:
        arch = json.loads((tmp_path / "run" / row["arch"]).read_text())
        codes = torch.tensor([h.TABLE_SPACE.encode(fpnas.Arch.from_mapping(arch["choices"]))])
        assert float(h.TableCost()(codes)) == row["cost"] <= row["target"]
    last = json.loads((tmp_path / "run" / "arch.json").read_text())
    assert last == json.loads((tmp_path / "run" / front["front"][-1]["arch"]).read_text())
    line = json.loads((tmp_path / "run" / "distribution.jsonl").read_text().splitlines()[-1])
    assert [each["target"] for each in line["targets"]] == list(TARGETS)
    assert isinstance(job.strategy, MultiBudget)
    for each, (_, distribution) in zip(line["targets"], job.strategy.targets, strict=True):
        rows = [row[used].tolist() for row, used in zip(distribution.logits, distribution.is_option, strict=True)]
        assert each["logits"] == rows
    assert line["logits"] == line["targets"][-1]["logits"]


def test_names() -> None:
    assert [name_of(target) for target in (20e6, 2.5e6, 400e3, 1.1e9, 12.5)] == ["20M", "2.5M", "400k", "1.1G", "12.5"]


@pytest.mark.parametrize(
    ("budgets", "said"),
    [
        (budgets_of((40.0,)), "two or more targets"),
        (budgets_of((60.0, 40.0)), "the least first"),
        (budgets_of((40.0, 40.0)), "the least first"),
    ],
)
def test_refused(budgets: list[fpnas.Budget], said: str) -> None:
    with pytest.raises(InputError, match=said):
        search_of(budgets=budgets)
