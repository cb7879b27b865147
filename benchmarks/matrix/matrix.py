"""Where fpnas runs: the installed wheel in environments with the oldest and the newest Python, torch and NumPy.

    make matrix ARGS="--python .venv-old/bin/python --python 'chroot /srv/trixie python3'"

Each --python is a command that starts the Python of an environment in which fpnas is installed from the wheel, as
CONTRIBUTING.md says how. There `smoke.py` goes from photographs to an exported file, where fpnas[digits,onnx] is
installed also from digits to ONNX; then the tests of --tests run, where pytest, pytest-timeout, hypothesis and
jsonschema are installed. Environments that can't be had are rows by --without "ROW: why".
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))

from results_file import head, table, write  # noqa: E402

TESTS = ("tests/golden", "tests/maths", "tests/reliability/test_compatibility.py")
PACKAGES = ("fpnas", "torch", "numpy", "pillow", "typer", "pydantic")
EXTRAS = {"photos": (), "digits": ("sklearn", "onnx", "onnxscript", "onnxruntime")}
VERSIONS = f"""
import json, platform
from importlib.metadata import version
from importlib.util import find_spec
import fpnas, torch
found = {{name: version(name) for name in {PACKAGES}}}
wanted = {EXTRAS}
print(json.dumps({{
    "found": {{"Python": platform.python_version(), **found, "torch": torch.__version__}},
    "smokes": [name for name, needed in wanted.items() if all(map(find_spec, needed))],
    "tests": all(map(find_spec, ("pytest", "pytest_timeout", "hypothesis", "jsonschema", "beartype"))),
    "place": fpnas.__file__,
}}))
"""


def call(python: list[str], *words: str | Path) -> subprocess.CompletedProcess[str]:
    """In the checkout's folder, which holds the tests; the package comes from the environment."""
    return subprocess.run([*python, *map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False)


def last(text: str) -> str:
    """The last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "nothing")


def row(command: str, checkout: Path, tests: list[str]) -> list[str]:
    """The cells of an environment."""
    python = shlex.split(command)
    asked = call(python, "-W", "ignore", "-c", VERSIONS)
    if asked.returncode:
        return [command, *["-"] * len(PACKAGES), f"can't be imported: {last(asked.stderr)}", "-"]
    known = json.loads(last(asked.stdout))
    cells = []
    for name in known["smokes"]:
        done = call(python, checkout / "benchmarks/matrix/smoke.py", name)
        cells.append(f"{name}: {'passed' if done.returncode == 0 else last(done.stderr)}")
    passed = "-"
    if known["tests"]:
        passed = last(call(python, "-m", "pytest", "-q", *(checkout / test for test in tests)).stdout)
    return [*known["found"].values(), "; ".join(cells), passed.strip("= ")]


def main() -> None:
    """Writes a row for each environment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", default=[], help="a command; may be repeated")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="where the environments see this checkout")
    parser.add_argument("--tests", nargs="*", default=TESTS)
    parser.add_argument("--without", action="append", default=[], metavar="ROW: WHY")
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    rows = [row(command, given.checkout, given.tests) for command in given.python or [sys.executable]]
    columns = ["Python", *PACKAGES, "from data to a file", "tests"]
    lines = [*head("Oldest and newest Python, torch and NumPy"), *table(columns, rows)]
    lines += ["", *(f"* Not tried: {text}" for text in given.without)] if given.without else []
    print("\n".join(lines))
    write(given.results, lines)


if __name__ == "__main__":
    main()
