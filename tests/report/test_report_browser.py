"""The page in headless Chromium, as Debian packages it: every plot drawn, no error, no request, at every width.

Screenshots stay in build/screenshots for people to look at.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from run_folders import FOUND, put, write_run
from test_report_classes import evaluation
from test_report_page import hostile_run

from fpnas.report import write_report

CHROMIUM = Path("/usr/bin/chromium")
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"
SIZES = {"desktop": (1280, 900), "phone": (375, 812)}

pytestmark = pytest.mark.skipif(
    not CHROMIUM.exists(), reason=f"needs Debian's chromium at {CHROMIUM}; .ci/run installs it"
)


@pytest.fixture(scope="module")
def browser() -> Generator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright to drive chromium")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports of one run, of three, of a half-written one, and of a hostile one."""
    folder = tmp_path_factory.mktemp("reports")
    runs = [write_run(folder / f"seed{seed}", epochs=12, seed=seed) for seed in range(3)]
    train = runs[0] / "train"
    train.mkdir()
    put(train / "run.json", {"format": 1, "kind": "train", "settings": {}})
    (train / "metrics.jsonl").write_text("".join(f'{{"step": {n}, "train_loss": {1 / (n + 1)}}}\n' for n in range(40)))
    shutil.copytree(train, runs[0] / "random-1")
    put(train / "arch.json", {"choices": FOUND, "flops": 4440, "params": 680})
    put(train / "result.json", {"accuracy": 87.25, "num_images": 360, "seconds": 3.0})
    put(train / "evaluation.json", evaluation([40] * 25, list(range(25))))
    for name, choices in (("3k", {**FOUND, "group1.kernel": 0}), ("5k", FOUND)):
        put(runs[2] / f"arch-{name}.json", {"choices": choices})
    facts = json.loads((runs[2] / "run.json").read_text())
    put(runs[2] / "run.json", {**facts, "settings": {**facts["settings"], "targets": [3000.0, 5000.0]}})
    rows = [
        {"target": 3e3, "arch": "arch-3k.json", "cost": 2900},
        {"target": 5e3, "arch": "arch-5k.json", "cost": 4440},
    ]
    put(runs[2] / "pareto.json", {"front": rows})
    half = write_run(folder / "half")
    for name in ("arch.json", "layers.json", "result.json", "distribution.jsonl"):
        (half / name).unlink()
    (half / "metrics.jsonl").write_text((half / "metrics.jsonl").read_text()[:3000])
    return {
        "one": write_report(runs[:1]),
        "three": write_report(runs, folder / "three.html"),
        "half": write_report([half]),
        "hostile": write_report([hostile_run(folder / "hostile")]),
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", SIZES)
@pytest.mark.parametrize("name", ["one", "three", "half", "hostile"])
def test_it_opens(name: str, device: str, scheme: str, pages: dict[str, Path], browser: Any) -> None:
    width, height = SIZES[device]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, offline=True)
    page = context.new_page()
    troubles: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: troubles.append(dialog.message))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(pages[name].as_uri())
    specs = json.loads(page.locator("#plots").text_content())
    for place in page.locator("[data-plot]").all():
        place.locator("svg").wait_for(timeout=10_000)
        spec = specs[place.get_attribute("data-plot")]
        if spec["kind"] == "curve":
            assert place.locator("svg g[aria-label=line] path").count() == len(spec["series"])
        elif spec["kind"] == "heat":
            assert place.locator("svg rect").count() >= len(spec["rows"]) * len(spec["epochs"])
        elif spec["kind"] == "matrix":
            assert place.locator("svg rect").count() >= 2 * len(spec["classes"]) ** 2
        else:
            assert place.locator("svg circle").count() >= sum(len(line["cost"]) for line in spec["series"])
        box = place.locator("svg").bounding_box()
        assert box["width"] <= width
        assert box["height"] > 100
        assert place.get_attribute("role") == "img"
        assert len(place.get_attribute("aria-label")) > 40
    drawn = page.locator("[data-plot]").count()
    assert drawn == {"one": 9, "three": 13, "half": 4, "hostile": 7}[name]
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "it scrolls sideways"
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(part) for part in background[4:-1].split(",")) > 382) == (scheme == "light")
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"report-{name}-{device}-{scheme}.png", full_page=True)
    assert troubles == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    context.close()


def test_plots_follow_the_width(pages: dict[str, Path], browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(pages["one"].as_uri())
    plot = page.locator("[data-plot]").first
    wide = plot.locator("svg").bounding_box()["width"]
    page.set_viewport_size({"width": 375, "height": 812})
    page.wait_for_function(f"document.querySelector('[data-plot] svg').getBoundingClientRect().width < {wide - 50}")
    page.close()
