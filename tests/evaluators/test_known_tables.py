"""Tables of one's own: values, costs and the best against plain dictionaries; what is refused, and where."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tables_by_hand as hand
import torch

import fpnas
from fpnas.errors import InputError

SLOW = {tuple(row[name] for name in hand.CHOICES): row for row in hand.rows()}


@pytest.fixture
def table(tmp_path: Path) -> fpnas.tables.KnownTable:
    return fpnas.tables.load(hand.write_csv(tmp_path / "mine.csv", hand.rows()), **hand.OPTIONS)


def everything(space: fpnas.SearchSpace) -> torch.Tensor:
    return torch.tensor(list(itertools.product(*(range(n) for n in space.cardinalities))))


def test_values_and_costs_are_those_of_the_rows(table: fpnas.tables.KnownTable) -> None:
    assert [(c.name, c.options) for c in table.space.choices] == list(hand.CHOICES.items())
    codes = everything(table.space)
    keys = [tuple(table.space.decode(code).values()) for code in codes.tolist()]
    for number, rotation in enumerate(table.rotations):
        others = [run for run in range(3) if run != number]
        for key, reward, truth in zip(keys, rotation.reward(codes), rotation.truth(codes), strict=True):
            assert float(reward) == pytest.approx(SLOW[key][f"acc{number}"] / 100)
            assert float(truth) == pytest.approx(sum(SLOW[key][f"acc{run}"] for run in others) / 200)
    for name in ("macs", "ms"):
        cost = table.cost(name)
        assert cost(codes).tolist() == pytest.approx([SLOW[key][name] for key in keys], rel=1e-12)
        values = [row[name] for row in SLOW.values()]
        assert cost.bounds() == pytest.approx((min(values), max(values)))
    assert table.cost() is table.cost("macs")
    assert [len(factor.scope) for factor in table.cost("macs").table.factors] == [1, 1, 1]
    assert [len(factor.scope) for factor in table.cost("ms").table.factors] == [3]


@pytest.mark.parametrize(("column", "target"), [("macs", 200.0), ("ms", 1.7), ("macs", None)])
def test_the_best_is_the_best_of_all(table: fpnas.tables.KnownTable, column: str, target: float | None) -> None:
    budget = None if target is None else fpnas.Budget(table.cost(column), target)
    for number in range(3):
        others = [f"acc{run}" for run in range(3) if run != number]
        fitting = [row for row in SLOW.values() if target is None or row[column] <= target]
        value = max(sum(row[name] for name in others) / 200 for row in fitting)
        best = table.best(number, budget)
        assert best.exact
        assert best.truth == pytest.approx(value)
        row = SLOW[tuple(best.arch.values())]
        assert sum(row[name] for name in others) / 200 == pytest.approx(value)
        assert best.cost is None if target is None else best.cost == pytest.approx(row[column])


def test_parquet_and_csv_are_one_table_whatever_the_order(table: fpnas.tables.KnownTable, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(hand.rows()[::-1]), tmp_path / "mine.parquet")
    assert fpnas.tables.load(tmp_path / "mine.parquet", **hand.OPTIONS).digest == table.digest


def test_one_metric_is_its_own_truth_and_fractions_are_fractions(tmp_path: Path) -> None:
    rows = [{**row, "acc0": row["acc0"] / 100} for row in hand.rows()]
    path = hand.write_csv(tmp_path / "t.csv", rows)
    table = fpnas.tables.load(path, metric=["acc0"], ignore=["acc1", "acc2", "macs", "ms"])
    codes = everything(table.space)
    assert len(table.rotations) == 1
    assert table.rotations[0].reward(codes).tolist() == table.rotations[0].truth(codes).tolist()
    assert table.best(0).truth == pytest.approx(max(row["acc0"] for row in rows))
    judged = fpnas.tables.load(path, metric=["acc0"], truth="acc1", ignore=["acc2", "macs", "ms"])
    assert judged.best(0).truth == pytest.approx(max(row["acc1"] for row in rows) / 100)


def changed(index: int, **values: Any) -> list[dict[str, Any]]:
    rows = hand.rows()
    rows[index] |= values
    return rows


REFUSALS: dict[str, tuple[list[dict[str, Any]], tuple[str, ...]]] = {
    "absent": ([r for r in hand.rows() if (r["a.kernel"], r["b.width"]) != (5, 16)], ("24", "22 rows", "number 10")),
    "twice": ([*hand.rows()[:20], hand.rows()[3], *hand.rows()[20:]], ("row 21 (line 22)", "repeats row 4")),
    "nan": (changed(4, acc1="nan"), ("row 5 (line 6)", "'acc1'")),
    "infinite": (changed(4, acc1="inf"), ("row 5 (line 6)",)),
    "empty": (changed(6, acc0=""), ("row 7 (line 8)",)),
    "text": (changed(0, acc2="good"), ("row 1 (line 2)", "'good'")),
    "beyond 100 %": (changed(8, acc2=101), ("row 9 (line 10)", "101")),
    "below 0 %": (changed(8, acc2=-1), ("row 9 (line 10)", "-1")),
    "cost nan": (changed(2, ms="nan"), ("row 3 (line 4)", "'ms'")),
    "cost 0": (changed(2, macs=0), ("row 3 (line 4)", "'macs'")),
    "no option": ([{**r, "a.act": "" if i == 9 else r["a.act"]} for i, r in enumerate(hand.rows())], ("row 10",)),
    "constant": ([{**row, "a.act": "relu"} for row in hand.rows()[:4]], ("--ignore-column a.act",)),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_unsound_rows_are_refused_with_their_number(case: str, tmp_path: Path) -> None:
    rows, words = REFUSALS[case]
    with pytest.raises(InputError) as refusal:
        fpnas.tables.load(hand.write_csv(tmp_path / "t.csv", rows), **hand.OPTIONS)
    for word in words:
        assert word in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "header"),
        (b"a,b,acc0\n", "rows"),
        (b"a,a,acc0\n1,2,3\n", "'a' twice"),
        (b"a,b,acc0\n1,2,3\n1,2\n", "row 2 (line 3)"),
        (b"a,b,acc0\n\xff,2,3\n", "UTF-8"),
        (b'a,b,acc0\n"1,2,3\n', "CSV"),
        (b"acc0\n1\n", "each choice"),
    ],
)
def test_files_that_are_no_table_are_refused(content: bytes, word: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match="expected") as refusal:
        fpnas.tables.load(tmp_path / "t.csv", metric=["acc0"])
    assert word in str(refusal.value)


@pytest.mark.parametrize("name", ["t.parquet", "t.npz", "t.json", "t.txt"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04rubbish", b"PAR1rubbishPAR1", b'{"01": 1, "2'])
def test_rubbish_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    if name == "t.parquet":
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError):
        fpnas.tables.load(tmp_path / name, **({"metric": ["acc0"]} if name == "t.parquet" else {}))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, "--metric"),
        ({"metric": ["acc9"]}, "acc9"),
        ({"metric": ["acc0"], "truth": "no"}, "no"),
        ({"metric": ["acc0", "acc0"]}, "for two"),
        ({"metric": ["acc0"], "cost_columns": ["acc0"]}, "for two"),
    ],
)
def test_columns_that_are_not_there_are_refused(options: dict[str, Any], word: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refusal:
        fpnas.tables.load(hand.write_csv(tmp_path / "t.csv", hand.rows()), **options)
    assert word in str(refusal.value)


def test_an_archive_is_not_unpickled_and_its_shapes_are_read_before_its_values(tmp_path: Path) -> None:
    arrays = {
        "arch": np.array([{}], dtype=object),
        "test_acc": np.zeros(1),
        "params": np.zeros(1),
        "flops": np.zeros(1),
    }
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(InputError, match=r"whole numbers in 'arch' .* got object"):
        fpnas.tables.load(tmp_path / "t.npz")
    # A few bytes that promise 8 TB.
    huge = {**arrays, "arch": np.zeros((1, 8), dtype=np.uint8)}
    np.savez(tmp_path / "t.npz", **huge)
    raw = (
        (tmp_path / "t.npz")
        .read_bytes()
        .replace(b"'shape': (1, 8), }" + b" " * 12, b"'shape': (1000000000000, 8), }", 1)
    )
    (tmp_path / "t.npz").write_bytes(raw)
    with pytest.raises(InputError):
        fpnas.tables.load(tmp_path / "t.npz")
