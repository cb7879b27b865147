"""`fpnas` starts without what a command doesn't need: the limit is on what is imported, not on seconds."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import fpnas
from fpnas.bench import METHODS as ON_TABLES
from fpnas.cli import bench as bench_command
from fpnas.cli import search as search_command
from fpnas.cli.app import app
from fpnas.search.methods import METHODS, SHORT

SRC = Path(fpnas.__file__).parent
HEAVY = {"torch", "numpy", "PIL", "rich", "jaxtyping", "safetensors", "jinja2", "scipy", "sklearn", "onnx"}
COMMANDS = [command.callback.__name__ for command in app.registered_commands if command.callback is not None]
START = """
import sys
from fpnas.cli import main
code = main(sys.argv[1:])
print(sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize("words", [(), ("--help",), ("--version",), *((name, "--help") for name in COMMANDS)])
def test_help_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-c", START, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage: fpnas" in done.stdout or words == ("--version",)
    imported = set(ast.literal_eval(done.stderr))
    assert "fpnas" in imported
    assert not imported & HEAVY


def test_a_refused_flag_and_the_package_itself_import_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", START, "search", "--nope"], capture_output=True, text=True, check=False
    )
    line, imported = done.stderr.splitlines()
    assert done.returncode == 2
    assert line.startswith("error: No such option: --nope")
    assert not set(ast.literal_eval(imported)) & HEAVY
    code = f"import fpnas, sys; sys.exit(bool({HEAVY} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_names_the_methods_that_there_are() -> None:
    assert list(search_command.METHODS) == list(METHODS)
    assert search_command.SHORT == SHORT
    assert list(bench_command.METHODS) == list(ON_TABLES)


@pytest.mark.parametrize("package", ["fpnas", "fpnas.runner", "fpnas.train"])
def test_names_that_come_on_demand_are_those_that_the_types_say(package: str) -> None:
    module = importlib.import_module(package)
    file = SRC.parent.joinpath(*package.split("."), "__init__.py")
    typed = next(node for node in ast.parse(file.read_text()).body if isinstance(node, ast.If))
    names: set[str] = set()
    for line in typed.body:
        assert isinstance(line, ast.ImportFrom)
        assert line.module is not None
        home = importlib.import_module(line.module)
        for alias in line.names:
            assert getattr(module, alias.name) is getattr(home, alias.name)
            names.add(alias.name)
    assert names == set(module.__all__)
    assert names <= set(dir(module))


def test_modules_are_attributes_and_other_names_are_none() -> None:
    code = "import fpnas; assert fpnas.cost.layer_table; assert not hasattr(fpnas, 'nothing')"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="module 'fpnas' has no attribute 'nothing'"):
        fpnas.nothing  # noqa: B018  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec("from fpnas import nothing")
