"""What docs/scaling.md derives from the parts of a step, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers_benchmarks import benchmark

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made() -> Any:
    return benchmark("scaling_page")


def test_seconds_of_more_ranks_follow_from_the_parts(made: Any) -> None:
    """A million weights, K = 8, a step of 8 s: one all-reduce between two ranks 0.1 s, one number 1 ms, input 0.5 s."""
    parts = made.Parts(weights=10**6, samples=8, batch_size=64, step=8.0, reduce=0.1, number=0.001, input=0.5)
    assert made.reduce_seconds(parts, 1) == 0
    assert made.reduce_seconds(parts, 2) == pytest.approx(0.1)
    assert made.reduce_seconds(parts, 8) == pytest.approx(0.175)
    assert made.by_data(parts, 1) == made.by_architectures(parts, 1) == 8.0
    assert made.by_data(parts, 2) == pytest.approx(4 + 9 * 0.001 + 0.1)
    assert made.by_data(parts, 8, 8.0) == pytest.approx(8 + 9 * 0.003 + 0.175)
    assert made.by_architectures(parts, 2) == pytest.approx(1 + 7 / 2 + 0.002 + 0.1)
    assert made.by_architectures(parts, 3) == pytest.approx(1 + 7 * 3 / 8 + 0.002 * 1.585 + 0.1 * 4 / 3, abs=1e-4)
    rows = [line.strip("| ").split(" | ") for line in made.derived(parts).splitlines()[2:]]
    assert [row[0] for row in rows] == ["1", "2", "8", "64", "512"]
    assert [row[2] for row in rows][3:] == ["-", "-"], "no more ranks than architectures"
    assert [row[1] for row in rows][3:] == ["-", "-"], "two images a rank at least"
    assert rows[1][5] == "4.0", "each rank sends a million numbers of 4 bytes once"


def test_the_page_has_a_place_for_each_table(made: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "scaling.md"
    page.write_text(made.PAGE.read_text())
    monkeypatch.setattr(made, "PAGE", page)
    parts = made.Parts(weights=10, samples=4, batch_size=64, step=1.0, reduce=0.1, number=0.1, input=0.1)
    for _ in range(2):  # a second time over the first
        made.write(parts, {"two_rank_ratio": 0.5}, {"space": "tiny"})
    text = page.read_text()
    assert text.count("| two rank ratio | 0.5 |") == 1
    assert made.derived(parts) in text
    assert "Not measured yet" not in text
