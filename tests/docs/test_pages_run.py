"""What a page shows runs: its Python as it stands, its `fpnas` commands made short, from top to bottom in one folder.

Commands run in this process. What a page presumes is made up first: a photo, a table, a run that an earlier page made;
digits stand in for all data but the photographs of `find`, and a far smaller space for `tiny` in commands. Commands
that need several processes, a GPU or a table that isn't here are left to test_commands.py, which parses them.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import helpers_run as h
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from fpnas.cli import main
from fpnas.spaces import SPACES

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if "```" in page.read_text()]
TABLES = ROOT.parent / "shared" / "data"
LITE0 = ROOT / "benchmarks" / "pretrained" / "lite0.py"
"""A network with ImageNet weights that come as a package: it stands in for all that pages search inside."""
WITH_TINY = ("shipping", "training")
"""Their commands go on from networks of `tiny` that their Python has made."""
Earlier = Callable[[], Path]
DIGITS = "--data digits --image-size 16"
STEP = "--batch-size 32 --max-steps 2 --threads 1"
# What comes last on a command line counts.
SHORTER = {
    "search": STEP,
    "train": STEP,
    "bench": "--seeds 1 --queries 5 --workers 1",
    "find": "--image-size 32 --method random --search-epochs 1 --search-batch-size 16 --train-epochs 1 --threads 1",
}
MINE = ["a,b,run1,run2,ms", *(f"{n % 4},{n // 4},{80 + n},{81 + n},{1 + n % 4 + n // 4}" for n in range(16))]


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Earlier:
    """Makes a search and, in its folder, the training of what it found; once in the real `tiny`, once in the other."""

    @cache
    def made(of: object) -> Path:
        run = tmp_path_factory.mktemp("earlier") / "run"
        for line in (f"search {DIGITS} {STEP} --out {run}", f"train {run} {STEP}"):
            assert main(shlex.split(line)) == 0
        return run

    return lambda: made(SPACES["tiny"])


def shown(block: str) -> list[list[str]]:
    """The words of each `fpnas` command of a block."""
    lines = [line.removeprefix("$ ") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("fpnas ")]


def photographs(folder: Path) -> None:
    """24 patches of each of two photographs, a folder for each."""
    for name, picture in zip(("china", "flower"), load_sample_images().images, strict=True):
        (folder / name).mkdir(parents=True)
        for number in range(24):
            top, left = 100 * (number // 6), 100 * (number % 6)
            Image.fromarray(picture[top : top + 100, left : left + 100]).save(folder / name / f"{number}.jpg")


def shorter(words: list[str]) -> list[str]:
    """The command in little: of `find` without --minutes, which lengths exclude; on digits, but for `find` and what
    goes on from its folder."""
    if words[0] == "find":
        at = words.index("--minutes") if "--minutes" in words else len(words)
        words = words[:at] + words[at + 2 :]
    found = words[0] == "find" or any((Path(word) / "find.json").exists() for word in words[1:2])
    digits = words[0] in ("search", "train", "evaluate") and not found
    tuned = "--tune-epochs 1" if "--from" in words and words[0] in ("search", "find") else ""
    alone = DIGITS.partition(" --image-size")[0] if "--image-sizes" in words else DIGITS
    return [*words, *shlex.split(f"{SHORTER.get(words[0], '')} {tuned} {alone if digits else ''}")]


def presume(words: list[str], earlier: Earlier) -> None:
    """Makes what the command reads and no earlier line of the page has made."""
    named = [word for word in words[1:] if not word.startswith("-")]
    out = words[words.index("--out") + 1] if "--out" in words else ""
    for path in (Path(word) for word in named if word != out):
        if path.suffix == ".png" and not path.exists():
            Image.fromarray(np.full((16, 16), 99, np.uint8)).save(path)
        elif path.name == "arch.json" and not path.exists():
            path.parent.mkdir()
            shutil.copy2(earlier() / "arch.json", path)
        elif words[0] == "find" and path.name == "photos" and not path.exists():
            photographs(path)
        elif path.parts[0] == "runs" and not path.exists():
            begun = words[0] == "train" and str(path) == words[1]  # to be trained: a training there would be another
            shutil.copytree(earlier(), path, ignore=shutil.ignore_patterns("train" if begun else ""))
        elif path.parts[0] == "docs" and not Path("docs").exists():
            Path("docs").symlink_to(ROOT / "docs")
        elif path.suffix == ".csv" and not path.exists():
            path.write_text("\n".join(MINE))
        elif (TABLES / path.name).is_file():
            shutil.copy2(TABLES / path.name, path)


def runs_here(words: list[str]) -> bool:
    missing = "trackio" in words and find_spec("trackio") is None
    table = words[0] == "bench" and not Path(words[1]).exists()
    elsewhere = "pi.json" in words  # times of another device: tests/cli/test_cli_pack.py makes and reads some
    # LiteRT's packages want an environment of their own: tests/litert runs such exports.
    litert = ("litert" in words or "c" in words) and find_spec("litert_torch") is None
    return not (missing or table or elsewhere or litert or ("cuda" in words and not torch.cuda.is_available()))


def command(words: list[str], earlier: Earlier, python: str = "") -> None:
    """Runs one; what it imports is the page's Python so far."""
    first: list[str] = []
    if words[0] == "--import":
        first, words = words[:2], words[2:]
        Path(first[1]).write_text(python)
    if "--from" in words:  # a library would have to download its weights
        words[words.index("--from") + 1] = f"{LITE0}:lite0"
    presume(words, earlier)
    if runs_here(words):
        line = [*first, *shorter(words)]
        assert main(line) == 0, shlex.join(line)


@pytest.mark.filterwarnings("ignore:the ready-made network is left out")  # where torchvision can't be imported
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_run(page: Path, earlier: Earlier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page.stem not in WITH_TINY:
        monkeypatch.setitem(SPACES, "tiny", h.small_tiny)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    names: dict[str, Any] = {"__name__": "page"}
    text, python = page.read_text(), ""
    for found in BLOCK.finditer(text):
        if found.group(1) == "python":
            above = text[: found.start(2)].count("\n")  # so that a traceback names the line of the page
            python += found.group(2)
            exec(compile("\n" * above + found.group(2), str(page), "exec"), names)
        elif not found.group(1):
            for words in shown(found.group(2)):
                command(words, earlier, python)


def test_the_pages_show_commands_and_one_that_fails_is_seen(earlier: Earlier) -> None:
    blocks = [block for page in PAGES for language, block in BLOCK.findall(page.read_text()) if not language]
    commands = [words for block in blocks for words in shown(block)]
    assert len(commands) > 40
    assert {words[0] for words in commands} >= {
        "find", "search", "train", "evaluate", "report", "export", "predict", "bench"
    }  # fmt: skip
    with pytest.raises(AssertionError, match="no-such-flag"):
        command(["cost", str(earlier()), "--no-such-flag"], earlier)
