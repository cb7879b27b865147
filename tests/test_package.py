"""What a user gets from an index works: wheel and sdist are whole, and each runs from an environment of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA = (".npz", ".parquet", ".gz", ".pt", ".safetensors")
# Not ours to give away: what lies in the data folder that this project is developed with.
SHARED = ("cifar10", "tinyimagenet", "nas-bench-macro", "accel-nasbench", "fbnet_latency", "fbnet_lut")

pytestmark = pytest.mark.timeout(300)


def call(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed, run without what would let this checkout shine through."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name not in hidden},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command} in {cwd}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sdist of this checkout, and the wheel that is built from the sdist, as an index would serve them."""
    folder = tmp_path_factory.mktemp("archives")
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (wheel,) = folder.glob("fpnas-*.whl")
    (sdist,) = folder.glob("fpnas-*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


def test_the_version_is_one() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    headings = re.findall(r"^## \[(.*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[:2] == ["Unreleased", version]


def test_wheel_holds_the_package_alone(archives: dict[str, Path]) -> None:
    with zipfile.ZipFile(archives["wheel"]) as file:
        names = set(file.namelist())
    modules = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "fpnas").rglob("*.py")}
    assert modules <= names
    assert "fpnas/py.typed" in names
    assert {"fpnas/report/assets/page.html", "fpnas/report/vendor/LICENSE-d3", "fpnas/cli/schemas/cost.json"} <= names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"fpnas"}
    assert not [name for name in names if name.endswith(DATA)]


def test_sdist_holds_the_project_without_data(archives: dict[str, Path]) -> None:
    with tarfile.open(archives["sdist"]) as file:
        sizes = {member.name.partition("/")[2]: member.size for member in file.getmembers()}
    wanted = {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "CHANGELOG.md", "src/fpnas/py.typed"}
    assert wanted <= sizes.keys()
    assert "tests/test_package.py" in sizes
    unwanted = ("shared/", "runs/", "benchmarks/results/", ".ci/", ".venv/", ".git/", "dist/")
    assert not [name for name in sizes if name.startswith(unwanted) or "__pycache__" in name]
    data = [name for name in sizes if name.endswith(DATA)]
    assert all(name.startswith("tests/") for name in data), data
    assert not [name for name in data if any(word in name.lower() for word in SHARED)]
    assert sum(sizes.values()) < 10e6, "an sdist of more than 10 MB: what crept in?"


@pytest.mark.parametrize("kind", ["wheel", pytest.param("sdist", marks=pytest.mark.soak)])
def test_it_runs_from_an_environment_of_its_own(kind: str, archives: dict[str, Path], tmp_path: Path) -> None:
    """fpnas comes from the new environment; its dependencies are lent by this one through a path file.

    A folder named in a path file is searched last and its own path files aren't read, so the editable install of this
    checkout can't win.
    """
    call(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    lent = dict.fromkeys(sysconfig.get_path(key) for key in ("purelib", "platlib"))
    (site / "lent.pth").write_text("\n".join(lent) + "\n")
    install = (sys.executable, "-m", "pip", "--python", python, "install", "--ignore-installed")
    call(*install, "--no-deps", "--no-index", "--no-build-isolation", archives[kind], cwd=tmp_path)
    show = "import fpnas, importlib.metadata as m; print(fpnas.__file__); print(m.version('fpnas'))"
    file, version = call(python, "-c", show, cwd=tmp_path).splitlines()
    assert Path(file).is_relative_to(site)
    assert archives[kind].name.startswith(f"fpnas-{version}")
    assert "search" in call(python, "-m", "fpnas", "--help", cwd=tmp_path)
    if kind == "sdist":  # with the long proofs
        assert "guesses as the job does" in call(python, ROOT / "benchmarks/matrix/smoke.py", "photos", cwd=tmp_path)
    assert "search" in call(python.with_name("fpnas"), "--help", cwd=tmp_path)
