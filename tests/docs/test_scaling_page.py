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


def test_efficiency_is_what_links_and_numbers_leave_of_a_step(made: Any) -> None:
    """A step of 8 s, 10 times as fast; the ring sends 2 * 63 / 64 times 4 MB, and nine numbers take six exchanges."""
    parts = made.Parts(weights=10**6, samples=8, batch_size=64, step=8.0, reduce=0.1, number=0.001, input=0.5)
    assert made.ring_seconds(10**6, 64, 1e6) == pytest.approx(4 * 2 * 63 / 64)
    wanted = 0.8 / (0.8 + 9 * 6 * 0.001 + 4 * 2 * 63 / 64)
    assert made.efficiency(parts, 64, 1e6, 10) == pytest.approx(wanted)
    rows = [line.strip("| ").split(" | ") for line in made.efficiencies(parts).splitlines()[2:]]
    assert [row[0] for row in rows] == ["as measured", "10 times as fast", "30 times as fast"]
    assert [row[1] for row in rows] == ["8.000", "0.800", "0.267"]
    assert rows[1][3] == f"{100 * made.efficiency(parts, 64, 12.5e9, 10):.0f} %"


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
    assert made.efficiencies(parts) in text
    assert "Not measured yet" not in text
