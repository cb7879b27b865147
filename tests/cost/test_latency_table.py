"""`LatencyTable` in JSON, there and back, and what is refused; tables of the FBNet space on other devices."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fpnas import Budget, InputError, LatencyTable, load_fbnet_latency
from fpnas.cost import fbnet_latency

SHARED = Path(__file__).parents[3] / "shared" / "data"


@given(
    st.dictionaries(st.text(), st.floats(0, 1e9), max_size=5),
    st.integers(1, 1000),
    st.text(max_size=20),
    st.none() | st.integers(1, 64),
)
def test_tables_survive_json(ops: dict[str, float], batch: int, device: str, threads: int | None) -> None:
    table = LatencyTable(ops, batch, device, threads, torch="2.13.0")
    assert LatencyTable.from_json(json.loads(json.dumps(table.to_json())), "here") == table


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "format"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": "1"}, "batch_size"),
        ({"threads": 0}, "threads"),
        ({"operations": [1]}, "operations"),
        ({"operations": {"a": None}}, "operations.a"),
        ({"operations": {"a": float("nan")}}, "operations.a"),
        ({"operations": {"a": -1.0}}, "0 ms or more, got -1 for 'a'"),
        ({"device": "n" * 300}, "device"),
    ],
)
def test_what_is_no_table_is_refused(change: dict[str, object], message: str) -> None:
    good = {"format": "fpnas-latency-1", "batch_size": 1, "operations": {"a": 1.5}}
    assert LatencyTable.from_json(good, "here").operations == {"a": 1.5}
    with pytest.raises(InputError) as caught:
        LatencyTable.from_json({**good, **change}, "here")
    assert message in str(caught.value)
    assert "here" in str(caught.value)
    with pytest.raises(InputError):
        LatencyTable.from_json(3, "here")


# ---------------------------------------------------------------------------------------------------- the FBNet space

OPS = np.array(["k3", "k5", "skip"])
DEVICES = np.array(["phone", "board"])
BASE = np.array([2.0, 5.0], dtype=np.float32)
DELTAS = np.arange(4 * 3 * 2, dtype=np.float32).reshape(4, 3, 2) * (OPS != "skip")[None, :, None]


def by_hand(codes: list[int], device: int) -> float:
    return float(BASE[device]) + sum(float(DELTAS[layer, op, device]) for layer, op in enumerate(codes))


def fitted() -> dict[str, Any]:
    return {"ops": OPS, "devices": DEVICES, "base_ms": BASE, "delta_ms_vs_skip": DELTAS}


def measured() -> dict[str, Any]:
    archs = np.random.default_rng(0).integers(0, 3, (60, 4)).astype(np.uint8)
    times = np.array([[by_hand(row.tolist(), device) for device in range(2)] for row in archs])
    return {"ops": OPS, "devices": DEVICES, "arch": archs, "latency_ms": times}


@pytest.mark.parametrize("arrays", [fitted(), measured()], ids=["fitted tables", "measurements"])
@pytest.mark.parametrize("device", [0, 1])
def test_a_device_of_an_fbnet_table(arrays: dict[str, Any], device: int, tmp_path: Path) -> None:
    np.savez(tmp_path / "table.npz", **arrays)
    model = load_fbnet_latency(tmp_path / "table.npz", str(DEVICES[device]))
    codes = torch.cartesian_prod(*[torch.arange(3)] * 4)
    expected = [by_hand(row, device) for row in codes.tolist()]
    assert model(codes).tolist() == pytest.approx(expected, abs=1e-9)
    assert model.bounds() == pytest.approx((min(expected), max(expected)), abs=1e-9)
    assert model.of({f"layer{n}.op": "skip" for n in range(1, 5)}) == pytest.approx(float(BASE[device]), abs=1e-9)
    assert (model.name, model.device) == ("ms", str(DEVICES[device]))
    assert Budget(model, float(np.median(expected))).binds


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "'ops'"),
        (fitted() | {"ops": np.array(["a", "a", "b"])}, "'ops'"),
        (fitted() | {"devices": np.array([1, 2])}, "'devices'"),
        (fitted() | {"delta_ms_vs_skip": DELTAS[:, :2]}, "'delta_ms_vs_skip' with (4, 2, 2)"),
        (fitted() | {"delta_ms_vs_skip": DELTAS * np.float32("nan")}, "finite numbers in 'delta_ms_vs_skip'"),
        (fitted() | {"delta_ms_vs_skip": DELTAS[0]}, "on 3 axes in 'delta_ms_vs_skip'"),
        (fitted() | {"base_ms": BASE[:1]}, "'base_ms' with (1,)"),
        (measured() | {"arch": measured()["arch"] + 1}, "'arch' with other operations"),
        (measured() | {"arch": measured()["arch"] - 0.5}, "'arch' with other operations"),
        (measured() | {"latency_ms": measured()["latency_ms"][:-1]}, "'latency_ms' with (59, 2)"),
    ],
)
def test_other_arrays_are_refused(arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        fbnet_latency(arrays, "phone", "the file")
    assert message in str(caught.value)
    assert "the file" in str(caught.value)


def test_files_that_are_no_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "good.npz", **fitted())
    with pytest.raises(InputError, match="known device, got 'phones'; did you mean 'phone'"):
        load_fbnet_latency(tmp_path / "good.npz", "phones")
    with pytest.raises(InputError, match="a file that is there"):
        load_fbnet_latency(tmp_path / "none.npz", "phone")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(InputError, match=r"an \.npz of NumPy"):
        load_fbnet_latency(tmp_path / "text.npz", "phone")
    np.savez(tmp_path / "objects.npz", ops=np.array([object()], dtype=object))
    with pytest.raises(InputError, match="numbers or text as 'ops'"):
        load_fbnet_latency(tmp_path / "objects.npz", "phone")
    monkeypatch.setattr("fpnas.runner.latency.LARGEST_NPZ", 4)
    with pytest.raises(InputError, match="at most 4 bytes"):
        load_fbnet_latency(tmp_path / "good.npz", "phone")


def test_a_table_that_explains_little_is_warned_about(tmp_path: Path) -> None:
    np.savez(tmp_path / "table.npz", **fitted(), heldout_r2=np.array([0.3, 0.9]))
    with pytest.warns(UserWarning, match=r"'phone' explains little of its latencies: R2 0\.30"):
        load_fbnet_latency(tmp_path / "table.npz", "phone")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_fbnet_latency(tmp_path / "table.npz", "board")


@pytest.mark.skipif(not (SHARED / "fbnet_latency.npz").exists(), reason="shared/data/fbnet_latency.npz is not here")
@pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.soak)])
def test_the_27_devices_of_help(every: int) -> None:
    """Tables fitted here explain what was measured as well as those that came fitted, or better: they saw all of it."""
    with np.load(SHARED / "fbnet_latency.npz") as file:
        archs, devices, times = (
            torch.from_numpy(file["arch"].astype(np.int64)),
            file["devices"].tolist(),
            file["latency_ms"],
        )
    assert len(devices) == 27
    for place, device in list(enumerate(devices))[::every]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given = load_fbnet_latency(SHARED / "fbnet_lut_additive.npz", device)
            own = load_fbnet_latency(SHARED / "fbnet_latency.npz", device)
        assert (len(own.space), set(own.space.cardinalities)) == (22, {9})
        errors = [np.square(model(archs).numpy() - times[:, place]).mean() for model in (own, given)]
        assert errors[0] <= errors[1] * (1 + 1e-6), device
        assert errors[0] > 0.5 * errors[1], device
        least, greatest = own.bounds()
        assert least < greatest
