"""The pictures of a report in the README and in docs/report.md, made anew from a real run in headless Chromium.

    python benchmarks/screenshots.py [RUN] [--out docs/images]

RUN is by default the search that `make run` leaves, seed 0, with the trainings in it. The pictures: report-top,
the page down to the network that was found; report-classes, report-curves, report-score and report-learnt, a section
each; all in light and dark, at desktop width.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from fpnas.report import write_report

CHROMIUM = "/usr/bin/chromium"  # Debian's, as .ci/run installs it
WIDTH = 1280
MARGIN = 24
MAX_BYTES = 300_000
SECTIONS = {
    "classes": "Class by class",
    "curves": "How the search went",
    "score": "Score against cost",
    "learnt": "What it learnt to prefer",
}


def staged(run: Path, folder: Path) -> Path:
    """A copy of the run without what a report doesn't read."""
    place = folder / run.parent.name / run.name
    heavy = shutil.ignore_patterns("*.pt", "*.safetensors", "*.onnx", "report.html", "tensorboard")
    shutil.copytree(run, place, ignore=heavy)
    return place


def shoot(page: Page) -> dict[str, bytes]:
    """Name -> PNG, of the top of the page and of each section that this run has."""
    page.wait_for_function("[...document.querySelectorAll('[data-plot]')].every(place => place.querySelector('svg'))")
    network = _box(page, "The network that was found")
    areas = {"top": {"x": 0, "y": 0, "width": WIDTH, "height": network["y"] + network["height"] + MARGIN}}
    for name, title in SECTIONS.items():
        if page.locator("section", has=page.locator("h2", has_text=title)).count():
            box = _box(page, title)
            areas[name] = {"x": 0, "y": box["y"] - MARGIN, "width": WIDTH, "height": box["height"] + 2 * MARGIN}
    return {name: page.screenshot(full_page=True, clip=area) for name, area in areas.items()}


def _box(page: Page, title: str) -> Any:
    return page.locator("section", has=page.locator("h2", has_text=title)).bounding_box()


def smaller(png: bytes) -> bytes:
    """The same picture in 256 colours: a page of flat colours and text keeps its looks."""
    out = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/make-run/seed0"))
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder, sync_playwright() as driver:
        report = write_report([staged(arguments.run.resolve(), Path(folder))], Path(folder) / "report.html")
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            context = browser.new_context(
                viewport={"width": WIDTH, "height": 900},
                color_scheme="light" if scheme == "light" else "dark",
                offline=True,
            )
            page = context.new_page()
            page.goto(report.as_uri())
            for name, png in shoot(page).items():
                picture = smaller(png)
                path = arguments.out / f"report-{name}-{scheme}.png"
                path.write_bytes(picture)
                print(f"{path}: {len(picture):,} bytes")
                if len(picture) > MAX_BYTES:
                    print(
                        f"error: expected at most {MAX_BYTES:,} bytes a picture, got {len(picture):,}", file=sys.stderr
                    )
                    return 1
            context.close()
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
