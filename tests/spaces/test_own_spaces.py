"""Spaces of one's own by name: what may be registered, what its function is given, and what is refused."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import helpers_run as h
import pytest
import torch

import fpnas
from fpnas.errors import InputError
from fpnas.spaces import OWN, by_name, import_file, register


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    with patch.dict(OWN, clear=True):
        yield


def mine(**options: int) -> fpnas.Supernet:
    net = h.SmallNet(options.get("in_channels", 1), options.get("num_classes", 3), double=False)
    return fpnas.Supernet(net, name="mine")


def test_its_function_is_given_what_it_names() -> None:
    asked: list[dict[str, int]] = []
    options = {"num_classes": 5, "in_channels": 1, "image_size": 16, "seed": 3}

    @register("mine")
    def some(num_classes: int, width: int = 8) -> fpnas.Supernet:
        asked.append({"num_classes": num_classes, "width": width})
        return mine(num_classes=num_classes)

    assert by_name("mine")(**options).name == "mine"

    @register("mine")
    def every(**given: int) -> fpnas.Supernet:
        asked.append(given)
        return mine(**given)

    by_name("mine")(**options)
    by_name("mine")()
    assert asked == [{"num_classes": 5, "width": 8}, options, {"seed": 0}]
    assert some(num_classes=2).name == every().name == "mine", "the functions stay as they are"


def test_the_seed_decides_what_it_draws_and_the_global_generator_stays() -> None:
    drawn: list[float] = []

    @register("mine")
    def drawing() -> fpnas.Supernet:
        drawn.append(float(torch.rand(())))
        return mine()

    torch.manual_seed(9)
    before = torch.random.get_rng_state()
    for seed in (0, 1, 0):
        with torch.device("meta"):
            net = by_name("mine")(seed=seed)
        assert next(net.parameters()).device.type == "cpu"
    assert drawn[0] == drawn[2] != drawn[1]
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", ["", "Mine", "my_space", "my space", "-mine", "../mine", "x.py:f", "tiny"])
def test_a_name_that_does_not_fit_or_is_taken_is_refused(name: str) -> None:
    words = "no space of fpnas has, got 'tiny'; rename" if name == "tiny" else "small letters, digits and hyphens"
    with pytest.raises(InputError, match=words):
        register(name)


def wants_more(depth: int) -> fpnas.Supernet:
    raise AssertionError(depth)


def no_supernet() -> torch.nn.Module:
    return torch.nn.Identity()


def another_name() -> fpnas.Supernet:
    return fpnas.Supernet(h.SmallNet(1, 3, double=False))


def failing() -> fpnas.Supernet:
    raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def contradicting() -> fpnas.Supernet:
    return fpnas.Supernet(torch.nn.Identity(), name="mine")


def wants_classes(num_classes: int) -> fpnas.Supernet:
    raise AssertionError(num_classes)


def test_a_function_that_wants_something_else_is_refused() -> None:
    words = "any of num_classes, in_channels, image_size, seed, got depth in that of 'mine'"
    with pytest.raises(InputError, match=words):
        register("mine")(wants_more)
    assert not OWN


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (no_supernet, "a Supernet from the function of 'mine', got Identity; return one"),
        (another_name, "name 'mine', got 'custom'; give it name='mine'"),
        (failing, "makes the space 'mine', got RuntimeError: mat1 and mat2 shapes cannot be multiplied (/"),
        (contradicting, "expected at least one choice, got none"),
        (wants_classes, "num_classes for the space 'mine', got none; add it to arch.json"),
    ],
)
def test_what_it_makes_is_looked_at(make: Callable[..., fpnas.Supernet], words: str) -> None:
    register("mine")(make)
    with pytest.raises(InputError, match=re.escape(words)):
        by_name("mine")(in_channels=3)


def test_a_space_that_nobody_registered() -> None:
    with pytest.raises(InputError, match=r"known space, got 'mine'; .* \(your own: fpnas --import FILE\)"):
        by_name("mine")


def test_a_file_is_run_with_its_neighbours_at_hand(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_mine.py").write_text("NAME = 'mine'\n")
    file = tmp_path / "torch.py"  # which doesn't hide the package
    file.write_text("import neighbour_of_mine as n, fpnas\n@fpnas.spaces.register(n.NAME)\ndef f(): ...\n")
    import_file(file)
    import_file(str(file))
    assert list(OWN) == ["mine"]
    assert sys.modules["torch"] is torch


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "a Python file that registers a space, got "),
        ("x = 1\n", "a file that registers a space, got "),
        ("import no_such_package\n", "can be imported, got .*ModuleNotFoundError: No module named 'no_such_package'"),
        ("x =\n", "can be imported, got .*SyntaxError"),
        ("raise SystemExit(3)\n", "can be imported, got .*SystemExit: 3"),
    ],
)
def test_a_file_that_will_not_do_is_refused(text: str | None, words: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match=words):
        import_file(file)
    with pytest.raises(InputError, match="a Python file that registers a space"):
        import_file(tmp_path)
