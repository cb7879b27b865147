"""The page: what it says of whole and of broken runs; nothing from a file can act in it; large runs stay small."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import helpers_run as h
import pytest
from run_folders import FOUND, epoch_line, put, write_run

import fpnas.report
from fpnas.errors import InputError
from fpnas.report import write_report
from fpnas.report.page import MARK

FILES = ("run.json", "metrics.jsonl", "distribution.jsonl", "arch.json", "layers.json", "result.json")


class Outline(HTMLParser):
    """The text outside scripts and styles, the tags, and what JSON the page holds."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.json = ""
        self._inside: dict[str, str | None] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self._inside = dict(attrs) if tag == "script" else {"style": ""} if tag == "style" else {}

    def handle_data(self, data: str) -> None:
        if self._inside.get("type") == "application/json":
            self.json += data
        elif self.tags and self.tags[-1] not in ("script", "style"):
            self.text += data + " "


def outline(path: Path) -> Outline:
    return Outline(path.read_text(encoding="utf-8"))


def test_it_says_what_the_files_say(tmp_path: Path) -> None:
    page = write_report([write_run(tmp_path / "run")])
    assert page == tmp_path / "run" / "report.html"
    told = outline(page)
    words = " ".join(told.text.split())
    for phrase in (
        "4,440", "680", "target 5,000", "seed 0", "fpnas search --data digits", "0.1.0", "blocks.1", "skipped",
        "1×1 instead", "5×5", "swish", "fewer than at K = 8",
    ):  # fmt: skip
        assert phrase in words, phrase
    assert "What is missing" not in words
    plots = json.loads(told.json)
    kinds = [plot["kind"] for plot in plots.values()]
    assert kinds == ["curve"] * 4 + ["scatter"] + ["heat"] * 2
    shown = [value for name, value in told.attributes if name == "data-plot"]
    assert shown == list(plots)
    labels = [value for name, value in told.attributes if name == "aria-label"]
    for plot in plots.values():
        assert plot["alt"] in labels
        assert len(plot["alt"]) > 40
    assert [rule["at"] for rule in plots["plot1"]["rules"]] == [30]
    won = {(row["variable"], row["option"]) for key in ("plot6", "plot7") for row in plots[key]["rows"] if row["won"]}
    assert won == {(name.partition(".")[2], str(option)) for name, option in FOUND.items()}


def test_the_entropy_at_the_end_is_that_of_the_result(tmp_path: Path) -> None:
    """Alpha moves once more after the last step's draws, whose entropy is the last that is logged; 0.10 here."""
    result = json.loads((write_run(tmp_path / "run") / "result.json").read_text())
    assert "0.10 nats" in outline(write_report([tmp_path / "run"])).text
    put(tmp_path / "run" / "result.json", {**result, "entropy": 1.2345})
    assert "1.23 nats" in outline(write_report([tmp_path / "run"])).text


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "empty", "half", "list", "noise"])
def test_a_page_whatever_is_missing(name: str, damage: str, tmp_path: Path) -> None:
    file = write_run(tmp_path / "run") / name
    if damage == "missing":
        file.unlink()
    else:
        whole = file.read_bytes()
        content = {"empty": b"", "half": whole[: len(whole) - 9], "list": b"[1]\n", "noise": b"\xff\x00{\n" * 5}
        file.write_bytes(content[damage])
    words = outline(write_report([tmp_path / "run"])).text
    assert "What is missing" in words
    assert name in words


@pytest.mark.parametrize("left", FILES[:1] + FILES[1:3])
def test_a_page_of_a_single_file(left: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    for name in FILES:
        if name != left:
            (run / name).unlink()
    words = outline(write_report([run])).text
    assert all(name in words for name in FILES if name not in (left, "layers.json"))


@pytest.mark.parametrize(
    "line",
    [
        {"choices": {"a": [1, 2]}, "partition": [[0]], "logits": [[1.0]]},
        {"choices": {"a": [1, 2]}, "partition": [[0], [0]], "logits": [[1.0, 2.0], [1.0, 2.0]]},
        {"choices": {"a": [1, 2]}, "partition": [[5]], "logits": [[1.0, 2.0]]},
        {"choices": {"a": [1, 2]}, "partition": [[0]], "logits": [["x", None]]},
        {"choices": {"a": 3}, "partition": 7, "logits": {}, "samples": []},
        {"samples": {"codes": [[0]], "score": ["x"], "cost": [[1]]}},
        {"epoch": 1e400, "samples": {"codes": [[9] * 4, None], "score": [1, 2], "cost": [1e300, True]}},
    ],
)
def test_lines_that_do_not_fit_are_said(line: dict[str, Any], tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    with (run / "distribution.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")
    assert "logits that don't fit" in outline(write_report([run])).text


def test_several_runs_side_by_side(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"seed{seed}" / "run", seed=seed) for seed in range(3)]
    other = {**FOUND, "group1.kernel": 3}
    put(runs[1] / "arch.json", {"space": "mine", "choices": other})
    told = outline(write_report(runs, tmp_path / "all.html"))
    words = " ".join(told.text.split())
    assert "3 runs side by side" in words
    assert all(f"seed{seed}/run" in words for seed in range(3))
    assert words.count("differs") == 1
    plots = json.loads(told.json)
    assert all(len(plot["series"]) == 3 for plot in plots.values() if plot["kind"] != "heat")
    assert sum(plot["kind"] == "heat" for plot in plots.values()) == 6


def write_training(folder: Path, choices: dict[str, Any], accuracy: float | None, epochs: int = 9) -> None:
    folder.mkdir()
    put(folder / "run.json", {"format": 1, "kind": "train", "settings": {"space": "mine", "epochs": epochs}})
    lines = [{"step": n, "train_loss": 1 / (n + 1), "accuracy": 50 + n if n % 2 else None} for n in range(9)]
    h.write_lines(folder / "metrics.jsonl", lines)
    put(folder / "arch.json", {"space": "mine", "choices": choices, "flops": 4400, "params": 670})
    if accuracy is not None:
        put(folder / "result.json", {"accuracy": accuracy, "num_images": 360, "seconds": 3.0})


def test_a_training_within_its_search_and_by_itself(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    write_training(run / "train", FOUND, 87.25)
    for folder in (run, run / "train"):
        words = outline(write_report([folder])).text
        assert "87.25 %" in words
        assert "Training the found network" in words


@pytest.mark.parametrize("name", ["train", "any"])
def test_the_found_network_beside_others_that_were_trained(name: str, tmp_path: Path) -> None:
    """Trainings in any sub-folder of the search, the best first; the key figure is the found one's."""
    run = write_run(tmp_path / "run")
    other = {**FOUND, "group1.kernel": 3}
    write_training(run / "random-1", other, 91.5)
    write_training(run / name, FOUND, 87.25)
    write_training(run / "random-2", other, None)
    (run / "tensorboard").mkdir()
    shutil.copytree(run / "random-1", run / "tensorboard" / "deeper")
    write_run(run / "another-search")
    told = outline(write_report([run]))
    words = " ".join(told.text.split())
    table = words[words.index("training took") : words.index("How the search went")]
    assert re.findall(r"(\S+) (\S+) %", table) == [("random-1", "91.50"), ("found", "87.25")]
    assert table.index("found") < table.index("random-2 –")
    assert "87.25 % of 360 held-out images" in words
    assert "random-2/: result.json is missing" in words
    assert "deeper" not in words
    assert "another-search" not in words
    marked = re.findall(r'<tr class="marked">(.*?)</tr>', (run / "report.html").read_text())
    assert ["found" in row for row in marked] == [True]
    assert [line["name"] for line in json.loads(told.json)["plot1"]["series"]].count("found") == 1


def test_the_whole_network_that_a_search_began_with(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    write_training(run / "train", FOUND, 87.25)
    write_training(run / "whole", {}, 91.5, epochs=6)
    words = " ".join(outline(write_report([run])).text.split())
    assert "the whole one, after 6 epochs 91.50 %" in words
    assert "87.25 % of 360 held-out images" in words, "of the found one"


def test_trained_networks_of_several_runs(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name) for name in "ab"]
    for run in runs:
        write_training(run / "train", FOUND, 80)
    one = " ".join(outline(write_report(runs, tmp_path / "all.html")).text.split())
    assert "Training the found network" in one
    write_training(runs[1] / "random-1", {}, 70)
    words = " ".join(outline(write_report(runs, tmp_path / "all.html")).text.split())
    assert "Trained networks" in words
    assert "/b found 80.00 %" in words
    assert "/a found" not in words


def test_a_search_for_several_targets(tmp_path: Path) -> None:
    """Each target's network with its accuracy where it was trained; lines in the plots for all."""
    run = write_run(tmp_path / "run", targets=[3000.0, 5000.0])
    small = {**FOUND, "group1.kernel": 0}
    put(tmp_path / "arch-secret.json", {"choices": {"secret": 1}})
    front = [
        {"target": 3000.0, "arch": "arch-3k.json", "cost": 2900.0, "flops": 2900, "params": 500},
        {"target": 5000.0, "arch": "arch-5k.json", "cost": 4440.0, "flops": 4440, "params": 680},
        {"target": 6000.0, "arch": "../arch-secret.json", "cost": None},
    ]
    put(run / "pareto.json", {"cost_name": "FLOPs", "front": front})
    for name, choices in (("3k", small), ("5k", FOUND)):
        put(run / f"arch-{name}.json", {"choices": choices})
    write_training(run / "train-3k", small, 61.5)
    told = outline(write_report([run]))
    words = " ".join(told.text.split())
    assert "3,000 2,900 500 61.50 % arch-3k.json 5,000 4,440 680 – arch-5k.json 6,000 – – –" in words
    assert "secret 1" not in words
    write_training(run / "other", FOUND, 70.0)
    words = " ".join(outline(write_report([run])).text.split())
    assert "found within 5,000 70.00 %" in words
    assert "found within 3,000 61.50 %" in words
    plots = json.loads(told.json)
    (scatter,) = (plot for plot in plots.values() if plot["kind"] == "scatter")
    assert (scatter["targets"], scatter["series"][0]["found"]) == ([3000, 5000], [2900, 4440])
    rules = [rule["at"] for plot in plots.values() if plot["kind"] == "curve" for rule in plot["rules"]]
    assert {3000, 5000} <= set(rules)
    (run / "pareto.json").unlink()
    assert "pareto.json is missing" in outline(write_report([run])).text


def test_very_many_trainings_are_cut(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    for number in range(30):
        write_training(run / f"random-{number:02}", {}, number)
    words = outline(write_report([run])).text
    assert "30 trainings lie in the folder; 24 of them are shown" in words
    assert "random-23" in words
    assert "random-24" not in words


EVIL = "</script><script>hacked()</script><img src=x onerror=hacked()>\"'{{7*7}}<!--"


def test_nothing_from_a_file_can_act(tmp_path: Path) -> None:
    run = hostile_run(tmp_path / "run")
    told = outline(write_report([run]))
    assert told.tags.count("script") == 4
    assert "img" not in told.tags
    assert not [name for name, _ in told.attributes if name.startswith("on")]
    assert EVIL in told.text
    assert EVIL in json.dumps(json.loads(told.json), ensure_ascii=False).replace('\\"', '"')
    html = (run / "report.html").read_text()
    assert html.count("<script") == html.count("</script") == 4
    assert "49" not in re.findall(r"<h1>.*?</h1>", html, re.DOTALL)[0]


def hostile_run(folder: Path) -> Path:
    """Every text of every file is hostile."""
    run = write_run(folder, space=EVIL, data=EVIL)
    for name in FILES:
        text = (run / name).read_text()
        for word in ("fpnas search --data digits", "group1", "swish", "blocks", "0.1.0", "DepthwiseConv2d", "FLOPs"):
            text = text.replace(word, json.dumps(EVIL)[1:-1])
        (run / name).write_text(text)
    return run


NAME = "\"'><script>hacked()<script><img src=x onerror=hacked()>{{7*7}}<!--"
"""Such a folder: a name has no slash."""


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], bool]]:
    """Where a JSON value holds a text (False), and where a mapping a name (True); of lists the first and last."""
    if isinstance(value, str):
        yield at, False
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield (*at, key), True
            yield from places(inner, (*at, key))
    elif isinstance(value, list):
        for index in sorted({0, len(value) - 1} if value else ()):
            yield from places(value[index], (*at, index))


def with_evil(value: Any, at: tuple[Any, ...], is_name: bool) -> Any:
    """A copy in which the text, or the name, at that place is hostile."""
    if not at:
        return EVIL
    first, *rest = at
    if is_name and not rest:
        return {EVIL if key == first else key: inner for key, inner in value.items()}
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[first] = with_evil(value[first], tuple(rest), is_name)
    return copy


def test_no_text_at_any_place_of_any_file_can_act(tmp_path: Path) -> None:
    """One after another, the rest as it should be; a training is in the folder, whose name is hostile too."""
    run = write_run(tmp_path / NAME, epochs=1, steps=4)
    train = run / "train"
    train.mkdir()
    put(train / "run.json", {"format": 1, "kind": "train", "settings": {"data": "digits"}, "command": "fpnas train"})
    put(train / "metrics.jsonl", {"step": 0, "train_loss": 1.0, "accuracy": 50.0})
    put(train / "result.json", {"accuracy": 87.25, "heldout_from": "test", "seconds": 3.0})
    tried = 0
    for file in sorted(path for path in run.rglob("*.json*") if path.name != "metrics.jsonl"):
        first, *rest = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
        sound = json.loads(first)
        for at, is_name in places(sound):
            file.write_text("\n".join([json.dumps(with_evil(sound, at, is_name)), *rest, ""]))
            told = outline(write_report([run]))
            assert told.tags.count("script") == 4, (file, at)
            assert not {"img", "iframe", "base", "form"} & set(told.tags), (file, at)
            assert not [name for name, _ in told.attributes if name.startswith("on")], (file, at)
            assert json.loads(told.json)
            tried += 1
        file.write_text("\n".join([first, *rest, ""]))
    assert tried > 80
    assert NAME in told.text


def test_only_the_pages_own_scripts_may_run(tmp_path: Path) -> None:
    html = write_report([write_run(tmp_path / "run")]).read_text()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy.startswith("default-src &#39;none&#39;; script-src &#39;sha256-")
    assert "unsafe-inline" not in policy.split("style-src")[0]


def test_the_vendored_library_is_as_published() -> None:
    vendor = Path(fpnas.report.__file__).parent / "vendor"
    rows = re.findall(r"\| (\S+\.js) \| .* \| ([0-9a-f]{64}) \|", (vendor / "README.md").read_text())
    assert {name for name, _ in rows} == {path.name for path in vendor.glob("*.js")}
    for name, digest in rows:
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == digest


def test_files_that_are_no_report_stay(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    precious = tmp_path / "precious.html"
    precious.write_text("mine")
    for out in (precious, tmp_path):
        with pytest.raises(InputError, match=r"expected .*, got .*; "):
            write_report([run], out)
    assert precious.read_text() == "mine"
    page = write_report([run], tmp_path / "page.html")
    assert MARK in page.read_text()
    assert write_report([run], page) == page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "precious.html", "run"]


@pytest.mark.parametrize("kind", ["absent", "file", "empty", "other", "none"])
def test_what_is_no_run_is_refused(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "place"
    if kind == "file":
        place.write_text("x")
    elif kind != "absent":
        place.mkdir()
    if kind == "other":
        (place / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="run folders" if kind == "none" else "the folder of a run"):
        write_report([] if kind == "none" else [place])


def test_a_hundred_thousand_steps(tmp_path: Path) -> None:
    """Within 10 s of processor time (the machine may be busy otherwise) and 5 MB."""
    run = write_run(tmp_path / "run")
    lines = (run / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(lines[number * len(lines) // 100_000]) | {"step": number} for number in range(100_000)]
    h.write_lines(run / "metrics.jsonl", rows)
    with (run / "distribution.jsonl").open("w") as log:
        for epoch in range(100):
            line = epoch_line(epoch, 1000 * epoch + 999, epoch >= 45)
            line["samples"] = {name: values * 400 for name, values in line["samples"].items()}
            log.write(json.dumps(line) + "\n")
    started = time.process_time()
    page = write_report([run])
    assert time.process_time() - started < 10
    assert page.stat().st_size < 5e6
    curve = json.loads(outline(page).json)["plot1"]["series"][0]
    assert len(curve["x"]) <= 300


def test_many_runs_stay_below_five_megabytes(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"run{number}", epochs=40, steps=30) for number in range(23)]
    shutil.copytree(runs[0], tmp_path / "last")
    page = write_report([*runs, tmp_path / "last"], tmp_path / "page.html")
    assert page.stat().st_size < 5e6
    with pytest.raises(InputError, match="1 to 24"):
        write_report([*runs, tmp_path / "last", tmp_path], tmp_path / "other.html")
