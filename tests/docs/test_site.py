"""docs/build.py: what its check finds, that the API pages name everything public, and the whole site in a browser."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import fpnas

ROOT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def build() -> Any:
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_build"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_its_check_finds_what_is_missing(build: Any, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "picture.svg").write_text("<svg/>")
    (tmp_path / "sub" / "other.html").write_text('<h2 id="here">Here</h2><a href="../index.html#top">up</a>')
    good = '<a id="top" href="sub/other.html#here">a</a><a href="https://elsewhere.org">b</a><img src="picture.svg">'
    (tmp_path / "index.html").write_text(good)
    assert build.check(tmp_path) == []
    bad = (
        '<a href="sub/other.html#gone">a</a><a href="gone.html">b</a><img src="gone.png"><img src="//cdn.org/x.png">'
        '<script src="https://cdn.org/x.js"></script><link rel="stylesheet" href="https://cdn.org/x.css">'
    )
    (tmp_path / "index.html").write_text(good + bad)
    assert build.check(tmp_path) == [
        "index.html: sub/other.html#gone has no such anchor",
        "index.html: gone.html isn't there",
        "index.html: gone.png isn't there",
        "index.html: //cdn.org/x.png would be fetched from elsewhere",
        "index.html: https://cdn.org/x.js would be fetched from elsewhere",
        "index.html: https://cdn.org/x.css would be fetched from elsewhere",
    ]


def test_the_api_pages_name_everything_public(build: Any) -> None:
    pages = build.api_pages()
    for name in fpnas.__all__:
        assert f"[`{name}`]" in pages["fpnas"]
    for module in build.MODULES:
        for name in getattr(getattr(fpnas, module), "__all__", []):
            assert f".{name}\n" in pages[module] or f"`{name}`" in pages[module]
    assert "::: fpnas.search.methods.fpnas\n" in pages["methods"]
    assert "::: fpnas.space.Choice\n" in pages["fpnas"]
    assert "::: fpnas.cost.budget.Budget\n" not in pages["fpnas"], "it has its place on the page of costs"


@pytest.fixture(scope="module")
def place(build: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what `make docs` builds from: the pages as they are staged, the settings, the sources."""
    place = tmp_path_factory.mktemp("project")
    build.stage(place / "build" / "docs")
    shutil.copy2(ROOT / "zensical.toml", place)
    (place / "src").symlink_to(ROOT / "src")
    return place


def test_the_site_builds(build: Any, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """And doesn't where a page has a link to nowhere, or a picture that zensical itself overlooks."""
    assert build.build(place) == 0, capfd.readouterr()
    assert len(list((place / "site").rglob("*.html"))) > 35
    page = place / "build" / "docs" / "docs" / "faq.md"
    as_it_is = page.read_text()
    for wrong, named in (("[x](gone.md)", "gone.md"), ('<img src="images/gone.png" alt="none">', "images/gone.png")):
        page.write_text(f"{as_it_is}\n{wrong}\n")
        capfd.readouterr()
        assert build.build(place) == 1
        said = re.sub(r"\x1b\[[\d;]*m", "", "".join(capfd.readouterr()))
        assert named in said
        assert "faq" in said
    page.write_text(as_it_is)


@pytest.mark.soak
def test_the_site_fetches_nothing(build: Any, place: Path) -> None:
    """Each page opened from the file system."""
    assert build.build(place) == 0
    if not CHROMIUM.exists():
        pytest.skip(f"built and checked; to open it needs Debian's chromium at {CHROMIUM}")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright to drive chromium")
    requests: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        tab = browser.new_page()
        tab.on("request", lambda request: requests.append(request.url))
        for page in sorted((place / "site").rglob("*.html")):
            tab.goto(page.as_uri())
            assert tab.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)"), page
        browser.close()
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
