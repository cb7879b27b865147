"""Commands that the pages show exist: `fpnas` by its own parser, without running them, `make` by the Makefile."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from fpnas.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[list[str]]:
    """The words of each command in the blocks that aren't Python or JSON."""
    lines = [line for language, block in BLOCK.findall(text) if not language for line in block.splitlines()]
    shown = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines if re.match(STARTS, line)]
    return [words[1:] if "=" in words[0] else words for words in shown]


STARTS = r"(\$ )?([A-Z_]+=\S+ )?(fpnas|make|torchrun|python|pip|source|git|cd) "


def parse(words: list[str]) -> Any:
    """What `fpnas WORDS` is understood as; click's own error where it isn't."""
    group: Any = get_command(app)
    context = group.make_context("fpnas", list(words))  # which takes the options before the command off
    name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
    return command.make_context(name, rest).params


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for words in commands(page.read_text()):
        if words[0] == "torchrun":
            assert "-m" in words
            words = words[words.index("-m") + 1 :]
        if words[0] == "fpnas":
            parse(words[1:])
        elif words[0] == "make":
            assert words[1] in targets
        elif words[0] == "python":
            assert (ROOT / words[1]).is_file()


def test_the_pages_show_commands() -> None:
    shown = [words for page in PAGES for words in commands(page.read_text())]
    assert len(shown) > 40
    assert {words[1] for words in shown if words[0] == "fpnas"} >= {"search", "train", "report", "export", "bench"}


def test_a_flag_that_is_not_there_is_found() -> None:
    assert parse(["search", "--data", "digits", "--out", "x", "--epochs", "3"])["epochs"] == 3
    for wrong in (["search", "--data", "digits", "--out", "x", "--epoch-s", "3"], ["serch"], ["search", "--out", "x"]):
        with pytest.raises(Exception, match=r"(?i)no such|missing"):
            parse(wrong)
