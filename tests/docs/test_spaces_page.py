"""docs/spaces.md says what the code says, and our rows meet the printed figures that they are made for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers_benchmarks import benchmark

from fpnas.spaces import IMAGE_SIZES, PUBLISHED, SPACES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "spaces.md"


@pytest.fixture(scope="module")
def made() -> Any:
    """The script that writes the tables."""
    space_tables = benchmark("space_tables")
    assert space_tables.PAGE == PAGE
    return space_tables


@pytest.fixture(scope="module")
def parts(made: Any) -> dict[str, str]:
    """All that it writes; the medians take most of a minute."""
    return made.tables()


def on_the_page(name: str, part: str) -> bool:
    return f"<!-- table {name} -->\n\n{part}\n\n<!-- end -->" in PAGE.read_text()


@pytest.mark.parametrize("name", ["tiny", "fbnetv2-f", "fbnetv2-fpp", "linear"])
def test_the_page_holds_the_tables_that_are_quickly_made(made: Any, name: str) -> None:
    part = made.linear_in_the_splits() if name == "linear" else made.rows_of(name)
    assert on_the_page(name, part), "run python benchmarks/space_tables.py"


@pytest.mark.soak
def test_the_page_holds_the_tables_that_the_code_gives(parts: dict[str, str]) -> None:
    for name, part in parts.items():
        assert on_the_page(name, part), f"{name}: run python benchmarks/space_tables.py"
    page = PAGE.read_text()
    assert page.count("<!-- table ") == page.count("<!-- end -->") == len(parts)


@pytest.mark.soak
def test_medians_and_sizes_of_the_large_spaces_are_near_the_printed_ones(parts: dict[str, str]) -> None:
    """Median FLOPs of 10,000 random networks within 5 %, sizes within a factor of 1.5; read off the table."""
    lines = [line.strip("| ").split(" | ") for line in parts["printed"].splitlines()]
    rows = {line[0].strip("`"): line for line in lines}
    for name, printed in (("fpnas-l0", (2e32, 390)), ("fpnas-l1", (1e36, 900)), ("fpnas-l2", (1e36, 1100))):
        _, _, _, size, our_size, _, median, our_median, _ = (cell.replace(",", "") for cell in rows[name])
        assert (float(size), float(median)) == printed
        assert abs(float(our_median) / float(median) - 1) < 0.05
        assert 1 / 1.5 < float(our_size) / float(size) < 1.5


def test_published_figures_are_those_of_the_papers() -> None:
    """As the FP-NAS and NAS-Bench-Macro papers print them, by hand."""
    small = ("fbnetv2-f", "fbnetv2-f-fine", "fbnetv2-fpp", "nasbench-macro")
    assert [PUBLISHED[name].size for name in small] == [6e25, 1e45, None, 6561]
    large = [PUBLISHED[f"fpnas-l{n}"] for n in range(3)]
    found = [(p.size, p.image_size, p.blocks, p.median_flops) for p in large]
    assert found == [(2e32, 224, 27, 0.39e9), (1e36, 240, 32, 0.9e9), (1e36, 256, 32, 1.1e9)]
    assert PUBLISHED["fbnetv2-fpp"].largest_flops == (128, 122e6)
    assert set(IMAGE_SIZES) == set(SPACES)
    assert set(PUBLISHED) == set(SPACES) - {"tiny", "tiny-int8", "fbnetv2-f-int8"}
