"""A pack: written, timed by its own script in a process without fpnas, read back, and used by a search."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from calling import SEARCH, call, refused, small_tiny

import fpnas
from fpnas.cost.latency import distinct_operations, operation_sites
from fpnas.runner import read_latency_table
from fpnas.runner.latency_pack import Pack
from fpnas.spaces import SPACES

onnxruntime = pytest.importorskip("onnxruntime")

SHAPE = (1, 16, 16)
PACK = ("--image-size", "16", "--in-channels", "1")


@pytest.fixture(autouse=True)
def small_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "tiny", small_tiny)


def packed(folder: Path, *more: str) -> None:
    called = call("latency", "pack", folder, *PACK, *more)
    assert called.code == 0, called.err
    assert f"fpnas latency read {folder}" in called.out


def timed(folder: Path, **times: Any) -> dict[str, Any]:
    """Writes made-up times: file number n takes n ms more than doing nothing, which takes 1 ms."""
    pack = json.loads((folder / "pack.json").read_text())
    files = sorted(path.name for path in folder.glob("*.onnx"))
    ms = {file: 1.0 + number for number, file in enumerate(["idle.onnx", *(f for f in files if f != "idle.onnx")])}
    found = {
        "format": "fpnas-times-1",
        "pack": pack["digest"],
        "device": "a pi",
        "threads": 4,
        "version": "1.9",
        "ms": ms,
    }
    (folder / "times.json").write_text(json.dumps({**found, **times}))
    return ms


@pytest.mark.parametrize("runtime", ["onnxruntime", "onnxruntime-int8"])
def test_from_a_pack_to_a_search(tmp_path: Path, runtime: str) -> None:
    pack = tmp_path / "pack"
    packed(pack, "--runtime", runtime)
    command = [sys.executable, "-I", str(pack / "measure.py"), "--rounds", "1", "--threads", "2", "--device", "a pi"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    called = call("latency", "read", pack, "--out", tmp_path / "pi.json")
    assert called.code == 0, called.err
    table = read_latency_table(tmp_path / "pi.json")
    assert (table.device, table.threads, table.runtime) == ("a pi", 2, runtime)
    assert (table.version, table.dtype) == (onnxruntime.__version__, "int8" if "int8" in runtime else "float32")
    net = small_tiny(in_channels=1)
    assert set(table.operations) == set(distinct_operations(net, operation_sites(net, SHAPE)))
    least, most = fpnas.Latency(net, SHAPE, table).bounds()
    search = (*SEARCH, "--out", tmp_path / "run", "--target-ms", str((least + most) / 2))
    assert call(*search, "--runtime", runtime, "--latency-table", tmp_path / "pi.json").code == 0
    assert json.loads((tmp_path / "run" / "latency.json").read_text())["device"] == "a pi"


def test_the_script_needs_numpy_and_the_runtime_alone(tmp_path: Path) -> None:
    packed(tmp_path / "pack")
    tree = ast.parse((tmp_path / "pack" / "measure.py").read_text())
    names = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    names |= {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names - set(sys.stdlib_module_names) == {"numpy", "onnxruntime"}


def test_files_compute_what_their_operations_do(tmp_path: Path) -> None:
    packed(tmp_path / "pack")
    pack = json.loads((tmp_path / "pack" / "pack.json").read_text())
    net = small_tiny(in_channels=1)
    operations = distinct_operations(net, operation_sites(net, SHAPE))
    for name, file in pack["operations"].items():
        if file is None:
            assert name.startswith(("Identity", "call of"))
            continue
        function, inputs = operations[name].build(1, torch.device("cpu"))
        flat = [x.clone() for one in inputs for x in (one if isinstance(one, list) else [one]) if torch.is_tensor(x)]
        with torch.no_grad():
            expected = function(*inputs).numpy()
        session = onnxruntime.InferenceSession(tmp_path / "pack" / file, providers=["CPUExecutionProvider"])
        got = session.run(None, {f"x{at}": x.contiguous().numpy() for at, x in enumerate(flat)})[0]
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_a_table_is_times_less_idling(tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    packed(folder)
    ms = timed(folder)
    assert call("latency", "read", folder).code == 0
    table = read_latency_table(folder / "latency.json")
    for name, file in json.loads((folder / "pack.json").read_text())["operations"].items():
        expected = 1.0 if name == "call of the network" else 0.0 if file is None else ms[file] - 1.0
        assert table.operations[name] == pytest.approx(expected)
    (fit,) = table.fits.values()
    assert fit.networks == sum("network" in file for file in ms)


def test_what_comes_back_is_checked(tmp_path: Path) -> None:
    good = tmp_path / "good"
    packed(good)
    assert "expected a new folder, for a pack" in refused(tmp_path, "latency", "pack", "good", *PACK)
    assert "run its measure.py on the device" in refused(tmp_path, "latency", "read", "good")
    ms = timed(good)
    pack = json.loads((good / "pack.json").read_text())
    bad: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        ({}, {"pack": "0"}, "times of this pack"),
        ({}, {"threads": 0}, "threads"),
        ({}, {"ms": {**ms, "idle.onnx": -1}}, "ms.idle.onnx"),
        ({}, {"ms": {**ms, "idle.onnx": float("nan")}}, "ms.idle.onnx"),
        ({}, {"ms": {"idle.onnx": 1.0}}, "run its measure.py again"),
        ({}, {"ms": 3}, "ms"),
        ({"space": 3}, {}, "space"),
        ({"shape": [1, 16]}, {}, "shape"),
        ({"shape": [1, 10**9, 10**9]}, {}, "shape.1"),
        ({"space": "none-such"}, {"pack": None}, "none-such"),
        ({"operations": {}}, {"pack": None}, "without"),
        ({"networks": {next(iter(pack["networks"])): {"a": 1}}}, {"pack": None}, "networks of tiny"),
    ]
    for number, (of_pack, of_times, words) in enumerate(bad):
        folder = tmp_path / f"bad{number}"
        shutil.copytree(good, folder)
        (folder / "pack.json").write_text(json.dumps({**pack, **of_pack}))
        if "pack" in of_times and of_times["pack"] is None:
            changed = {key: value for key, value in {**pack, **of_pack}.items() if key != "digest"}
            of_times = {"pack": Pack(**changed).digest}
        timed(folder, **{"pack": pack["digest"], **of_times})
        assert words in refused(tmp_path, "latency", "read", folder.name), number
    assert "a known runtime" in refused(tmp_path, "latency", "pack", "new", *PACK, "--runtime", "tflite")
    assert "a runtime of ONNX files" in refused(tmp_path, "latency", "pack", "new", *PACK, "--runtime", "torch")
    assert "a known" in refused(tmp_path, "latency", "pack", "new", *PACK, "--space", "none-such")
    assert not (tmp_path / "new").exists()
