"""The documentation site: `make docs` builds it in site/ and fails where a link, an anchor or a picture is missing.

The pages are Markdown that also reads well where it lies, with links from file to file. So that these hold in the site
too, the pages are staged in build/docs as they lie in the project: docs/, the results in benchmarks/, examples/ and the
texts at the top, the README as the home page. Pages of the API are written from each module's `__all__`; mkdocstrings
fills them in. Zensical builds; then the built pages are checked, since zensical's own strict mode overlooks pictures,
scripts and links in HTML. Nothing may be fetched from elsewhere when a page is opened.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
TEXTS = ("ARCHITECTURE.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "Makefile", "constraints.txt")
FOLDERS = {
    "docs": ("*.md", "*.css", "*.svg", "*.png", "*.json"),
    "benchmarks": ("*.md", "*.py", "*.svg"),
    "examples": ("*.py",),
}
MODULES = ("elastic", "spaces", "methods", "data", "cost", "train", "shipping", "tables", "parallel")
"""Each has a page of its own; what else is public in fpnas is described on the page of fpnas."""


def main() -> int:
    """Stages and builds; the exit code is 1 where something is missing, 2 without zensical."""
    if importlib.util.find_spec("zensical") is None:
        print("error: expected zensical, got none; use make docs", file=sys.stderr)
        return 2
    stage(ROOT / "build" / "docs")
    return build(ROOT)


def build(place: Path) -> int:
    """From place/build/docs to place/site by place/zensical.toml, checked; 1 where something is missing."""
    site = place / "site"
    shutil.rmtree(site, ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    if subprocess.run(command, cwd=place, check=False).returncode:
        return 1
    troubles = check(site)
    print("\n".join(troubles) or f"{len(list(site.rglob('*.html')))} pages in {site}, each link and anchor is there")
    return 1 if troubles else 0


# ------------------------------------------------------------------------------------------------------------- staging


def stage(folder: Path) -> None:
    """Lays the site's sources into an empty folder, as they lie in the project."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in TEXTS:
        shutil.copy2(ROOT / name, folder / name)
    shutil.copy2(ROOT / "README.md", folder / "index.md")
    for top, patterns in FOLDERS.items():
        for path in (path for pattern in patterns for path in (ROOT / top).rglob(pattern)):
            target = folder / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
    results = folder / "benchmarks" / "results"
    titles = {path.name: path.read_text().partition("\n")[0].lstrip("# ") for path in sorted(results.glob("*.md"))}
    lines = [f"* [{title}]({name})" for name, title in titles.items()]
    (results / "index.md").write_text(
        "\n".join(["# Results", "", "What the scripts in benchmarks/ printed.", "", *lines])
    )
    (folder / "docs" / "api").mkdir()
    for name, text in api_pages().items():
        (folder / "docs" / "api" / f"{name}.md").write_text(text)


def api_pages() -> dict[str, str]:
    """Page -> Markdown: one a module of `MODULES`, and `fpnas` with what is in none of them."""
    top = importlib.import_module("fpnas")
    modules = {name: getattr(top, name) for name in MODULES}
    homes = {id(value): name for name, module in modules.items() for value in public(module).values()}
    pages = {name: page(f"fpnas.{name}", module, public(module)) for name, module in modules.items()}
    here: dict[str, object] = {}
    rows = ["| name | what it is |", "| --- | --- |"]
    for name, value in public(top).items():
        home = name if name in modules else homes.get(id(value))
        place = f"{home or 'fpnas'}.md" + (f"#{symbol(value, name)}" if name not in modules else "")
        rows.append(f"| [`{name}`]({place}) | {first_line(value)} |")
        if home is None:
            here[name] = value
    pages["fpnas"] = "\n".join([page("fpnas", top, {}), *rows, "", *(entry(name, here[name]) for name in here)])
    return pages


def public(module: ModuleType) -> dict[str, object]:
    """The public names of a module: its `__all__`, else the functions and classes that are defined in it."""
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]
    return {name: getattr(module, name) for name in names}


def page(title: str, module: ModuleType, values: dict[str, object]) -> str:
    """A module's docstring, and an entry for each value that has a place of its own; plain values are named."""
    named = {name: value for name, value in values.items() if inspect.isclass(value) or inspect.isfunction(value)}
    others = ", ".join(f"`{name}`" for name in values if name not in named)
    text = [f"# `{title}`", "", inspect.getdoc(module) or "", "", f"Also there: {others}.\n" if others else ""]
    return "\n".join([*text, *(entry(name, value) for name, value in named.items())])


def entry(name: str, value: object) -> str:
    """What mkdocstrings fills in."""
    return f"::: {symbol(value, name)}\n"


def symbol(value: object, name: str) -> str:
    """Where it is defined, which is also its anchor."""
    return f"{getattr(value, '__module__', 'fpnas')}.{getattr(value, '__qualname__', name)}"


def first_line(value: object) -> str:
    return (inspect.getdoc(value) or "").partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")


# ------------------------------------------------------------------------------------------------------------ checking


@dataclass
class Page(HTMLParser):
    """What a built page refers to, and the places in it that others may refer to."""

    text: str
    links: list[str] = field(default_factory=list)
    resources: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif "src" in given:
            self.resources.append(given["src"])
        elif tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload", "modulepreload", "preconnect"):
            self.resources.append(given.get("href", ""))


def check(site: Path) -> list[str]:
    """A line for each link, anchor or file of the pages that isn't there, and for each fetch from elsewhere."""
    pages = {path.resolve(): Page(path.read_text()) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}
    troubles: list[str] = []
    for path, found in pages.items():
        for is_link, url in [(True, link) for link in found.links] + [(False, each) for each in found.resources]:
            parts = urlsplit(url)
            if parts.scheme in ("http", "https") or parts.netloc:
                trouble = "" if is_link else "would be fetched from elsewhere"
            elif parts.scheme:
                trouble = ""  # mailto:, data: and the like
            else:
                target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
                target = target / "index.html" if target.is_dir() else target
                trouble = "" if target.is_file() else "isn't there"
                anchor = unquote(parts.fragment)
                if not trouble and anchor and target in pages and anchor not in pages[target].anchors | {"__top"}:
                    trouble = "has no such anchor"
            if trouble:
                troubles.append(f"{path.relative_to(site.resolve())}: {url} {trouble}")
    return troubles


if __name__ == "__main__":
    sys.exit(main())
