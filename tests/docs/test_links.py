"""Links of the Markdown pages lead to files and headings that exist, as they lie, and pictures come with words.

test_site.py checks the built site.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"""\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)\"""")


def without_code(text: str) -> str:
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]+`", lambda code: re.sub(r"[\[\](){}]", "", code.group()), text)


def anchors(page: Path) -> set[str]:
    """Of its headings, as hosts of repositories and zensical alike make them."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text()), flags=re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    missing: list[str] = []
    for link in ("".join(found) for found in LINK.findall(without_code(page.read_text()))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if "benchmarks/results" in path and not (ROOT / "benchmarks" / "results").exists():
            continue  # an sdist leaves them out
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link)
    assert missing == []


def test_every_page_is_in_the_navigation_and_in_the_readme() -> None:
    for page in sorted((ROOT / "docs").glob("*.md")):
        assert f'"docs/{page.name}"' in (ROOT / "zensical.toml").read_text(), page
        assert f"(docs/{page.name}" in (ROOT / "README.md").read_text(), page


def test_the_check_finds_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# There `is` one, with P(A|α)\n")
    page = tmp_path / "page.md"
    page.write_text("[a](other.md#there-is-one-with-paα) [b](other.md#no) [c](no.md)\n\n```\n[d](in-code.md)\n```\n")
    with pytest.raises(AssertionError, match=r"'other\.md#no', 'no\.md'\]"):
        test_links_lead_somewhere(page)


def test_pictures_say_what_they_show() -> None:
    for page in PAGES:
        text = without_code(page.read_text())
        alts = re.findall(r"!\[([^\]]*)\]", text) + re.findall(r'<img [^>]*alt="([^"]*)"', text)
        assert len(alts) == text.count("![") + text.count("<img ")
        assert all(len(alt) > 60 for alt in alts), page


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "images").glob("*.svg")), ids=lambda path: path.stem)
def test_drawings_have_words_and_a_dark_form_and_fetch_nothing(path: Path) -> None:
    svg = ElementTree.parse(path).getroot()
    tags = {element.tag.rpartition("}")[2] for element in svg.iter()}
    assert {"title", "desc"} <= tags
    assert not tags & {"script", "image", "foreignObject"}
    assert "prefers-color-scheme: dark" in "".join(svg.itertext())
    assert f"images/{path.name})" in "".join(page.read_text() for page in PAGES), "no page shows it"


def test_screenshots_are_small() -> None:
    shots = sorted((ROOT / "docs" / "images").glob("*.png"))
    assert len(shots) == 10
    assert all(shot.stat().st_size < 300_000 for shot in shots)
