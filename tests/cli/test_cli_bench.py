"""`fpnas bench`: what it prints and writes, and what it refuses without writing anything."""

from __future__ import annotations

import itertools
from pathlib import Path
from xml.etree import ElementTree

import pytest
from calling import call, document, refused, working_in

HEADER = "a,b,c,acc,other,flops"
ROWS = [
    f"{a},{b},{c},{70 + a + 2 * b + c},{70 + a + 2 * b},{100 + 10 * a + 20 * b + c}"
    for a, b, c in itertools.product(range(3), repeat=3)
]
BENCH = ("bench", "mine.csv", "--metric", "acc", "--cost-column", "flops", "--ignore-column", "other")
QUICK = ("--seeds", "2", "--queries", "12", "--workers", "1", "--methods", "fpnas")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write(tmp_path / "mine.csv", ROWS)
    (tmp_path / "file.md").write_text("precious")
    (tmp_path / "drawn.svg").write_text("precious")
    return tmp_path


def write(path: Path, rows: list[str]) -> None:
    path.write_text("\n".join([HEADER, *rows]) + "\n")


def test_json_and_files(place: Path) -> None:
    with working_in(place):
        called = call(*BENCH, *QUICK, "--target-flops", "130", "--json", "--out", "r.md")
        assert called.code == 0, called
        again = call(*BENCH, *QUICK, "--target-flops", "0.13k", "--json", "--out", "r.md", "--workers", "2")
    assert again.out == called.out
    found = document(called, "bench")
    assert list(found["regret"]) == ["fpnas"]
    (figures,) = found["regret"]["fpnas"].values()
    assert list(found["regret"]["fpnas"]) == ["12"]
    assert 0 <= figures["q25"] <= figures["median"] <= figures["q75"] < 10
    text = (place / "r.md").read_text()
    assert f"{figures['median']:.2f} [{figures['q25']:.2f}, {figures['q75']:.2f}]" in text
    assert "r.svg" in text
    assert ElementTree.parse(place / "r.svg").getroot().tag.endswith("svg")


def test_a_table_on_the_screen_and_the_default_name(place: Path) -> None:
    with working_in(place):
        called = call(*BENCH, *QUICK)
    assert called.code == 0, called
    assert "12 queries" in called.out
    assert "bench-mine.md" in called.out
    assert (place / "bench-mine.md").exists()
    assert (place / "bench-mine.svg").exists()


REFUSALS: dict[str, tuple[tuple[str, ...], str]] = {
    "no table": (("bench",), "TABLE"),
    "table not there": (("bench", "no.csv"), "no.csv: no such file"),
    "table of no kind": (("bench", "file.md"), "file.md"),
    "table is a folder": (("bench", "."), "no such file"),
    "unknown method": ((*BENCH, "--methods", "fpnas,magic"), "magic"),
    "no method": ((*BENCH, "--methods", ","), "methods"),
    "no metric": (("bench", "mine.csv"), "--metric"),
    "unknown metric": (("bench", "mine.csv", "--metric", "acd"), "did you mean 'acc'"),
    "not exhaustive by an extra column": (("bench", "mine.csv", "--metric", "acc"), "--partial"),
    "too few rows for a surrogate": ((*BENCH, "--partial"), "12 rows"),
    "target below the smallest": ((*BENCH, "--target-flops", "99"), "at least 100 flops"),
    "target in words": ((*BENCH, "--target-flops", "few"), "few"),
    "target without a cost": (("bench", "mine.csv", "--metric", "acc", "--ignore-column", "other",
                               "--ignore-column", "flops", "--target", "9"), "cost"),
    "no seeds": ((*BENCH, "--seeds", "0"), "--seeds"),
    "no queries": ((*BENCH, "--queries", "0"), "--queries"),
    "no scale": ((*BENCH, "--scale", "0"), "scale"),
    "out holds something else": ((*BENCH, "--out", "file.md"), "file.md"),
    "the picture would be written over": ((*BENCH, "--out", "drawn.md"), "drawn.svg"),
    "out is no Markdown": ((*BENCH, "--out", "mine.csv"), ".md"),
    "out has no folder": ((*BENCH, "--out", "no/r.md"), "no such folder"),
    "too long a name": (("bench", "n" * 300), ""),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_bench_refuses(case: str, place: Path) -> None:
    arguments, words = REFUSALS[case]
    assert words in refused(place, *arguments)


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        (ROWS[:8] + ROWS[9:], "number 9 in order"),
        ([*ROWS, ROWS[2]], "row 28 (line 29)"),
        ([*ROWS[:4], ROWS[4].replace(",73,", ",nan,"), *ROWS[5:]], "row 5 (line 6)"),
    ],
)
def test_bench_refuses_unsound_rows_with_their_number(rows: list[str], word: str, place: Path) -> None:
    write(place / "mine.csv", rows)
    assert word in refused(place, *BENCH)
