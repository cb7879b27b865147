"""Tables as pools are: comments before the header, several trainings of one architecture, few rows."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

import fpnas

HEADER = "a,b,seed,one,two,cost"


def table(path: Path, rows: list[str], comments: tuple[str, ...] = ("# a pool", "# recipe: lr 0.4, epochs 6")) -> Path:
    file = path / "t.csv"
    file.write_text("\n".join([*comments, HEADER, *rows]) + "\n")
    return file


WHOLE = [f"{a},{b},0,{50 + 3 * a + b},{52 + 3 * a + b},{1 + a + b}" for a, b in itertools.product(range(2), range(3))]
TWICE = [*WHOLE, "1,2,1,70,60,4", "0,1,1,41,63,2"]


def test_comments_are_passed_over_and_seeds_averaged(tmp_path: Path) -> None:
    found = fpnas.tables.load(table(tmp_path, TWICE), metric=["one"], truth="two", cost_columns=["cost"], seed="seed")
    (rotation,) = found.rotations
    codes = torch.tensor(list(itertools.product(range(2), range(3))))
    reward, truth = rotation.reward(codes).numpy(), rotation.truth(codes).numpy()
    assert reward == pytest.approx([0.5, 0.46, 0.52, 0.53, 0.54, (0.55 + 0.70) / 2])
    assert truth == pytest.approx([0.52, (0.53 + 0.63) / 2, 0.54, 0.55, 0.56, (0.57 + 0.60) / 2])
    assert found.cost("cost")(codes).tolist() == [1, 2, 3, 2, 3, 4]
    assert any("8 trainings of 6 architectures" in note for note in found.notes)


def test_a_row_is_named_by_its_line_in_the_file(tmp_path: Path) -> None:
    file = table(tmp_path, [*TWICE[:3], "1,0,0,53,x,2"])
    with pytest.raises(fpnas.InputError, match=r"row 4 \(line 7\)"):
        fpnas.tables.load(file, metric=["one"], truth="two", ignore=["cost"], seed="seed", partial=True)


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        (TWICE, {"ignore": ["seed", "cost"]}, "each architecture once, got row 7.*name the column of seeds"),
        ([*TWICE, TWICE[0]], {"seed": "seed", "ignore": ["cost"]}, "each architecture and seed once, got row 9"),
        ([*WHOLE, "1,2,1,70,60,5"], {"seed": "seed", "cost_columns": ["cost"]}, "one 'cost' for all seeds"),
        (TWICE, {"seed": "run", "ignore": ["cost"]}, "'run'"),
    ],
)
def test_what_cannot_be_averaged_is_refused(tmp_path: Path, rows: list[str], options: dict, said: str) -> None:
    with pytest.raises(fpnas.InputError, match=said):
        fpnas.tables.load(table(tmp_path, rows), metric=["one"], truth="two", **options)


def test_few_rows_will_do_for_a_partial_table(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    draws = np.random.default_rng(0)
    rows = []
    for number in range(48):
        a, b = draws.integers(0, 3, 2)
        rows.append(f"{a},{b},{number},{50 + 3 * a + b:.2f},{52 + 3 * a + b:.2f},3")
    with pytest.raises(fpnas.InputError, match="12 rows or more"):
        fpnas.tables.load(
            table(tmp_path, rows), metric=["one"], truth="two", ignore=["cost"], seed="seed", partial=True
        )
    wide = [f"{n % 3},{n // 3},{0},{50 + n},{50 + n},3" for n in range(48)]
    found = fpnas.tables.load(
        table(tmp_path, wide), metric=["one"], truth="two", ignore=["cost"], seed="seed", partial=True
    )
    assert "48 rows" in found.notes[-1]
    assert "held-out R2" in found.notes[-1]
