"""Several budgets in one search: eq. 7 of each by importance weights, what is drawn, answered, kept and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import helpers_run as h
import pytest
import torch

import fpnas
from fpnas.errors import InputError
from fpnas.estimators import architecture_loss
from fpnas.search.many import Many, name_of
from fpnas.search.moves import Likelihood, Scores

TARGETS = (40.0, 60.0, 90.0)


def budgets_of(targets: tuple[float, ...] = TARGETS, **options: Any) -> list[fpnas.Budget]:
    return [fpnas.Budget(h.TableCost(), target, **{"estimator": "exact", **options}) for target in targets]


def search_of(update: str, **options: Any) -> fpnas.Search:
    settings: dict[str, Any] = {"epochs": 4, "seed": 3, "warmup": 0.1, "lam": 2.0, **options}
    budgets = settings.pop("budgets", None) or budgets_of()
    return fpnas.methods.fpnas(h.TableEvaluator(), budgets, update=update, **settings)


# ------------------------------------------------------------ importance weights


def test_eq_7_of_samples_from_another_distribution_tends_to_that_of_its_own() -> None:
    """80,000 samples of Q, weighed by P / Q, give the gradient that P's exact expectation has; unweighed they don't."""
    p = fpnas.ArchDistribution(h.TABLE_SPACE)
    g = torch.Generator().manual_seed(0)
    p.set_logits(torch.where(p.is_option, torch.randn(p.logits.shape, generator=g, dtype=torch.float64), 0.0))
    q = fpnas.ArchDistribution(h.TABLE_SPACE)
    everything = torch.tensor(h.ALL_CODES)
    scores = torch.tensor([-h.table_loss(code) for code in h.ALL_CODES], dtype=torch.float64)

    def gradient(weights: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        (found,) = torch.autograd.grad(-(weights * p.log_prob(codes)).sum(), p.logits)
        return found

    with torch.no_grad():
        posterior = (p.log_prob(everything) + scores).softmax(dim=0)
    exact = gradient(posterior, everything)
    codes = q.sample(80_000, g)
    drawn = torch.tensor([-h.table_loss(tuple(code)) for code in codes.tolist()], dtype=torch.float64)
    with torch.no_grad():
        ratio = p.log_prob(codes) - q.log_prob(codes)
    move = Likelihood(0.1, "product", "none")
    (weighed,) = torch.autograd.grad(move.loss(p, Scores(codes, drawn, 1, ratio), None), p.logits)
    (plain,) = torch.autograd.grad(move.loss(p, Scores(codes, drawn, 1), None), p.logits)
    assert float((weighed - exact).norm()) < 0.1 * float(exact.norm())
    assert float((plain - exact).norm()) > 0.3 * float(exact.norm())


def test_what_is_subtracted_follows_the_ratios() -> None:
    leaf = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    q, share = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.0, 0.4, 0.6]).double()
    ratios = torch.tensor([0.7, 0.2, 0.1]).double()
    (found,) = torch.autograd.grad(architecture_loss(leaf, q, share, 0.3, True, ratios), leaf)
    weight = q - 0.3 * share
    assert torch.allclose(-found, weight - weight.sum() * ratios)
    (even,) = torch.autograd.grad(architecture_loss(leaf, q, share, 0.3, True, torch.full((3,), 1 / 3).double()), leaf)
    (mean,) = torch.autograd.grad(architecture_loss(leaf, q, share, 0.3, True), leaf)
    assert torch.allclose(even, mean)


def test_ratios_are_those_to_the_mixture(monkeypatch: pytest.MonkeyPatch) -> None:
    """P_t(A) / sum_s (K_s / K) P_s(A): their sum under the mixture's shares is 1, and none is above K / K_t."""
    job = search_of("eq7", warmup=0.0)
    assert isinstance(job.strategy, Many)
    seen: list[Scores] = []
    for member in job.strategy.members:
        move = member.move
        monkeypatch.setattr(member, "move", lambda d, s, b, g, move=move: (seen.append(s), move(d, s, b, g)))
    checked = 0
    for _ in range(6):
        seen.clear()
        told = job.step().metrics
        ratios = torch.stack([s.log_ratio.exp() for s in seen if s.log_ratio is not None])
        assert ratios.shape == (3, told["num_samples"])
        sizes = [max(1, round(told["num_samples"] / 3))] * 3
        if sum(sizes) == told["num_samples"]:
            assert torch.allclose(ratios.mean(dim=0), torch.ones(ratios.shape[1]).double())
            assert float(ratios.max()) <= 3 + 1e-9
            checked += 1
    assert checked >= 3


# ------------------------------------------------------------ the search


@pytest.mark.parametrize("update", ["eq7", "posterior"])
def test_each_answer_meets_its_target_and_looser_ones_are_no_worse(update: str) -> None:
    job = search_of(update, epochs=12)
    alone = fpnas.methods.fpnas(
        h.TableEvaluator(), budgets_of()[-1], update=update, epochs=12, seed=3, warmup=0.1, lam=2.0
    )
    while job.steps_done < job.steps_total:
        job.step()
        alone.step()
    found = job.front()
    assert [answer.cost <= target for answer, target in zip(found, TARGETS, strict=True)] == [True] * 3
    assert job.answer() == found[-1]
    losses = [h.table_loss(tuple(h.TABLE_SPACE.encode(answer.arch))) for answer in found]
    if update == "posterior":
        best = [
            min(h.table_loss(code) for code in h.ALL_CODES if float(h.TableCost()(torch.tensor([code]))) <= target)
            for target in TARGETS
        ]
        assert losses == pytest.approx(best, abs=0.3)
    assert job.result().num_samples_total <= 1.5 * alone.result().num_samples_total


@pytest.mark.parametrize("update", ["eq7", "posterior"])
def test_a_resumed_search_equals_an_unbroken_one(update: str) -> None:
    whole, first = search_of(update), search_of(update)
    for _ in range(9):
        whole.step()
    for _ in range(5):
        first.step()
    second = search_of(update)
    second.load_state_dict(first.state_dict())
    for _ in range(4):
        second.step()
    for one, other in zip(whole.strategy.targets, second.strategy.targets, strict=True):  # pyright: ignore
        assert torch.equal(one[1].logits, other[1].logits)
    assert whole.files() == second.files()


def test_the_folder_holds_a_file_for_each_target_and_the_front(tmp_path: Path) -> None:
    job = search_of("posterior")
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
    assert isinstance(job.strategy, Many)
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
        (budgets_of(estimator="samples"), "samples"),
    ],
)
def test_refused(budgets: list[fpnas.Budget], said: str) -> None:
    with pytest.raises(InputError, match=said):
        search_of("eq7", budgets=budgets)
