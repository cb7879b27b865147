"""`TableEvaluator`: rewards, queries, state; and NAS-Bench-Macro from both of its files."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import helpers_run as h
import numpy as np
import pytest
import tables_by_hand as hand
import torch

import fpnas
from fpnas.errors import InputError

FAST = {"lam": 1.0, "temperature": "product", "warmup": 0.0, "lr": 0.1}


@pytest.fixture
def table(tmp_path: Path) -> fpnas.tables.KnownTable:
    return fpnas.tables.load(hand.write_csv(tmp_path / "mine.csv", hand.rows()), **hand.OPTIONS)


def test_a_query_is_the_first_look(table: fpnas.tables.KnownTable) -> None:
    task = fpnas.TableEvaluator(table, rotation=1, scale=50)
    codes = torch.tensor([[0, 0, 0], [2, 1, 3], [0, 0, 0]])
    assert task.train_step(codes, 0.0).loss is None
    task.truth(codes)
    task.best()
    assert (task.queries, task.unseen(codes)) == (0, 2)
    first = task.score(codes)
    assert (task.queries, task.unseen(codes)) == (2, 0)
    assert first.tolist() == pytest.approx(
        [50 * hand.accuracy(k, a, w, 1) / 100 for k, a, w in ((3, "relu", 8), (7, "swish", 32), (3, "relu", 8))]
    )
    assert task.score(codes[[1, 1]]).tolist() == first[[1, 1]].tolist()
    assert task.queries == 2
    assert first.mean() / task.num_images == pytest.approx(float(first.mean()) / 50)


def test_state_and_copies_go_on_where_it_stood(table: fpnas.tables.KnownTable) -> None:
    task = fpnas.TableEvaluator(table)
    codes = torch.tensor([[0, 0, 0], [2, 1, 3]])
    empty = h.through_file(task.state_dict())
    scores = task.score(codes)
    other = fpnas.TableEvaluator(table)
    other.load_state_dict(h.through_file(task.state_dict()))
    for copy in (other, pickle.loads(pickle.dumps(task))):
        assert (copy.queries, copy.unseen(codes)) == (2, 0)
        assert copy.score(codes).tolist() == scores.tolist()
        assert copy.settings() == task.settings()
    other.load_state_dict(empty)
    assert other.queries == 0


def test_a_search_on_a_table_runs_in_a_folder_and_resumes(table: fpnas.tables.KnownTable, tmp_path: Path) -> None:
    def search() -> fpnas.Search:
        task = fpnas.TableEvaluator(table, steps_per_epoch=5)
        return fpnas.methods.fpnas(task, fpnas.Budget(table.cost(), 200.0), epochs=4, **FAST)

    fpnas.run(search(), tmp_path / "whole")
    fpnas.run(search(), tmp_path / "parts", max_steps=7)
    resumed = search()
    fpnas.run(resumed, tmp_path / "parts")
    assert h.outcome(tmp_path / "whole") == h.outcome(tmp_path / "parts")
    record = json.loads((tmp_path / "whole" / "arch.json").read_text())
    assert hand.macs(*record["choices"].values()) == record["macs"] <= 200
    assert resumed.evaluator.queries > 2


@pytest.mark.parametrize("options", [{"rotation": 3}, {"rotation": -1}, {"scale": 0.0}, {"scale": float("nan")}])
def test_numbers_out_of_range_are_refused(options: dict[str, float], table: fpnas.tables.KnownTable) -> None:
    with pytest.raises(InputError):
        fpnas.TableEvaluator(table, **options)
    with pytest.raises(InputError):
        fpnas.TableEvaluator(table, steps_per_epoch=0)


# ---------------------------------------------------------------------------------------------------- NAS-Bench-Macro

needs_macro = pytest.mark.skipif(not hand.MACRO_NPZ.exists(), reason=f"{hand.MACRO_NPZ} is not here")


@needs_macro
def test_nas_bench_macro_is_the_same_from_both_files() -> None:
    table, other = fpnas.tables.load(hand.MACRO_NPZ), fpnas.tables.load(hand.MACRO_JSON)
    assert table.digest == other.digest
    entries = json.loads(hand.MACRO_JSON.read_text())
    digits = list(entries)[::7]
    codes = torch.tensor([[int(digit) for digit in key] for key in digits])
    runs = np.array([entries[key]["test_acc"] for key in digits])
    for number, rotation in enumerate(table.rotations):
        assert rotation.reward(codes).tolist() == pytest.approx((runs[:, number] / 100).tolist())
        truth = np.delete(runs, number, axis=1).mean(axis=1) / 100
        assert rotation.truth(codes).tolist() == pytest.approx(truth.tolist())
    with torch.device("meta"):
        net = fpnas.spaces.nasbench_macro()
    assert table.space == net.space
    for key, model in (("flops", fpnas.Flops), ("params", fpnas.Params)):
        assert torch.equal(table.cost(key)(codes), model(net, (3, 32, 32))(codes))
    arch = table.space.decode(codes[0].tolist())
    assert fpnas.TableEvaluator(table).describe(arch) == {
        "space": "nasbench-macro",
        "image_size": 32,
        "in_channels": 3,
        "num_classes": 10,
        "choices": dict(arch),
        "flops": entries[digits[0]]["flops"],
        "params": entries[digits[0]]["params"],
    }


@needs_macro
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda pairs: pairs[:5] + pairs[6:], "6,560 rows"),
        (lambda pairs: [*pairs[:9], pairs[2], *pairs[9:]], "row 10"),
        (lambda pairs: [*pairs[:9], (pairs[9][0], {**pairs[9][1], "test_acc": [90.0, float("nan"), 90.0]})], "row 10"),
        (lambda pairs: [*pairs[:9], (pairs[9][0], {**pairs[9][1], "flops": None})], "row 10"),
        (lambda pairs: [*pairs[:9], ("0000000", pairs[9][1])], "row 10"),
        (lambda pairs: [*pairs[:9], (pairs[9][0], 3)], "row 10"),
    ],
)
def test_a_damaged_nas_bench_macro_is_refused(damage: object, words: str, tmp_path: Path) -> None:
    pairs = damage(list(json.loads(hand.MACRO_JSON.read_text()).items()))
    text = "{" + ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in pairs) + "}"
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(InputError) as refusal:
        fpnas.tables.load(tmp_path / "t.json")
    assert words in str(refusal.value)
