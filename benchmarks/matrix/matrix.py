"""Where fpnas runs: the installed wheel in environments with the oldest and the newest Python, torch and NumPy.

    make matrix ARGS="--python .venv-old/bin/python --python 'chroot .venv-trixie python3'"

Each --python is a command that starts the Python of an environment in which this checkout's wheel is installed, and
which sees the checkout at the same path; CONTRIBUTING.md says how to make such. There `smoke.py` goes from
photographs to a file, with scikit-learn also from digits; then the tests of --tests run, where pytest,
pytest-timeout, hypothesis, jsonschema and beartype are installed. All use one thread. Environments that can't be had
are listed by --without "ROW: why"; torches beyond the range of pyproject.toml are in any case.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))

from results_file import head, source, table, write  # noqa: E402

TESTS = ("tests/golden", "tests/maths", "tests/reliability/test_compatibility.py")
PACKAGES = ("fpnas", "torch", "numpy", "pillow", "typer", "pydantic")
NEEDED = {"photos": (), "digits": ("sklearn",)}
VERSIONS = f"""
import hashlib, json, platform
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
import fpnas, torch
found = {{name: version(name) for name in {PACKAGES}}}
package, digest = Path(fpnas.__file__).parent, hashlib.sha256()
for file in sorted(package.rglob("*.py")):
    digest.update(f"{{file.relative_to(package)}}\\n".encode() + file.read_bytes())
print(json.dumps({{
    "found": {{"Python": platform.python_version(), **found, "torch": torch.__version__}},
    "smokes": [name for name, needed in {NEEDED}.items() if all(map(find_spec, needed))],
    "tests": all(map(find_spec, ("pytest", "pytest_timeout", "hypothesis", "jsonschema", "beartype"))),
    "source": digest.hexdigest()[:16],
}}))
"""


def call(python: list[str], *words: str | Path) -> subprocess.CompletedProcess[str]:
    """In the checkout's folder, which holds the tests; the package comes from the environment."""
    one = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run([*python, *map(str, words)], cwd=ROOT, env=one, capture_output=True, text=True, check=False)


def last(text: str) -> str:
    """The last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "nothing")


def row(command: str, tests: list[str]) -> list[str]:
    """The cells of an environment."""
    python = shlex.split(command)
    asked = call(python, "-W", "ignore", "-c", VERSIONS)
    if asked.returncode:
        return ["-"] * (1 + len(PACKAGES)) + [f"`{command}` can't import it: {last(asked.stderr)}", "-"]
    known = json.loads(last(asked.stdout))
    found = list(known["found"].values())
    if known["source"] != source():
        return [*found, "another fpnas is installed there: install the wheel of this checkout", "-"]
    smokes = []
    for name in known["smokes"]:
        done = call(python, ROOT / "benchmarks/matrix/smoke.py", name)
        smokes.append(f"{name}: {last(done.stdout) if done.returncode == 0 else 'FAILED, ' + last(done.stderr)}")
    counts = "-"
    if known["tests"]:
        counts = last(call(python, "-m", "pytest", "-q", *(ROOT / test for test in tests)).stdout).strip("= ")
    return [*found, "<br>".join(smokes), re.sub(r" in [\d.]+s.*", "", counts)]


def beyond() -> str:
    """Which torches are no rows by intent."""
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    known = next(line.removeprefix("torch") for line in needed if line.startswith("torch"))
    return f"torch beyond {known}, the range that pyproject.toml names"


def main() -> None:
    """Writes a row for each environment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", required=True, help="a command; may be repeated")
    parser.add_argument("--tests", nargs="*", default=TESTS)
    parser.add_argument("--without", action="append", default=[], metavar="ROW: WHY")
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    rows = [row(command, given.tests) for command in given.python]
    columns = ["Python", *PACKAGES, "from data to a file", "tests"]
    lines = [*head("Oldest and newest Python, torch and NumPy"), *table(columns, rows)]
    lines += ["", *(f"* Not tried: {text}" for text in (beyond(), *given.without))]
    print("\n".join(lines))
    write(given.results, lines)


if __name__ == "__main__":
    main()
