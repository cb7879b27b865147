"""Names of code on the pages exist; what they quote of the code and of the results is what these say."""

from __future__ import annotations

import importlib
import re
from functools import reduce
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        return bool(reduce(lambda found, part: found and getattr(found, part, None), parts[cut:], module))
    return False


def names(text: str) -> list[str]:
    return re.findall(r"`(fpnas(?:\.\w+)+)(?:\([^`]*\))?`", text)


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.stem)
def test_names_exist(page: Path) -> None:
    assert [name for name in names(page.read_text()) if not exists(name)] == []


def test_names_in_the_tables_of_the_paper_page_exist() -> None:
    """Those with a dot, after the `fpnas.` that the page leaves out."""
    rows = [line for line in (ROOT / "docs" / "paper.md").read_text().splitlines() if line.startswith("|")]
    found = [name for row in rows for name in re.findall(r"`(\w+(?:\.\w+)+)(?:\(|`)", row)]
    assert len(found) > 25
    assert [name for name in found if not exists(name if name.startswith("fpnas.") else f"fpnas.{name}")] == []


def test_a_name_that_is_not_there_is_found() -> None:
    assert exists("fpnas.search.alpha_update.Likelihood")
    assert exists("fpnas.elastic.Supernet.mix")
    assert not exists("fpnas.search.alpha_update.Likelyhood")
    assert names("`fpnas.Budget(floor=0)` and `fpnas.nothing`") == ["fpnas.Budget", "fpnas.nothing"]


def test_troubleshooting_quotes_what_the_code_says() -> None:
    code = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    quoted = re.findall(r"^\| `([^`]+)` \|", page, flags=re.MULTILINE)
    assert len(quoted) > 8
    assert [line for line in quoted if line not in code] == []


@pytest.mark.skipif(not (ROOT / "benchmarks" / "results").exists(), reason="an sdist leaves benchmarks/results out")
def test_the_table_of_methods_is_that_of_the_results() -> None:
    page = (ROOT / "docs" / "methods.md").read_text()
    (name,) = set(re.findall(r"bench_nas-bench-macro[\w-]+\.md", page))
    measured = (ROOT / "benchmarks" / "results" / name).read_text().splitlines()
    rows = [line for line in page.splitlines() if re.match(r"\| [\w-]+ \| \d+( queries|\.\d+ \[)", line)]
    assert len(rows) == 8  # the head and seven methods
    assert [row for row in rows if row not in measured] == []


@pytest.mark.skipif(not (ROOT / "benchmarks" / "results").exists(), reason="an sdist leaves benchmarks/results out")
def test_the_table_of_landscapes_is_that_of_the_results() -> None:
    """A row of the page holds the cells of both tables of the results file."""
    page = (ROOT / "docs" / "methods.md").read_text()
    (name,) = set(re.findall(r"tables_at_queries[\w-]+\.md", page))
    measured: dict[str, list[str]] = {}
    for line in (ROOT / "benchmarks" / "results" / name).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7 and "±" in line:
            measured.setdefault(cells[0], []).extend(cells[1:4])
    shown = page.partition("| method | K = 3, 100 looks")[2].partition("\n\n")[0].splitlines()[2:]
    assert len(shown) == len(measured) == 8
    assert [row for row in shown if row != f"| {' | '.join([(n := row.split(' | ')[0][2:]), *measured[n]])} |"] == []


@pytest.mark.skipif(not (ROOT / "benchmarks" / "results").exists(), reason="an sdist leaves benchmarks/results out")
def test_the_tables_of_the_readme_are_those_of_the_results() -> None:
    """Each figure stands in a row of a results file that the README links to, in this order."""
    page = (ROOT / "README.md").read_text()
    files = [ROOT / name for name in set(re.findall(r"\((benchmarks/results/[\w.-]+\.md)\)", page))]
    measured = [line for file in files for line in file.read_text().splitlines() if line.startswith("|")]
    table = [line for line in page.splitlines() if line.startswith("|")]
    rows = [line.split(" | ", 1)[1] for line in table if re.search(r"\d \[\d|±", line)]
    assert len(rows) >= 6
    assert [row for row in rows if not any(line.endswith(row) for line in measured)] == []
