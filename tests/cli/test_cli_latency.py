"""Budgets in ms on the command line: measured once, kept in the run, brought by a file; `fpnas cost --latency`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from calling import SEARCH, Found, call, refused, small_tiny

import fpnas
from fpnas.runner import latency_cache as shell
from fpnas.runner import latency_runtimes
from fpnas.spaces import SPACES

SHAPE = (1, 16, 16)


class Clock:
    """Every operation takes 10 us; how often it was asked is counted."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, run: Callable[[], object]) -> float:
        run()
        self.calls += 1
        return 1e-5


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clock:
    """In place of the real one, with a cache of its own and the small network that goes by the name of tiny."""
    clock = Clock()
    monkeypatch.setattr(shell, "_clock", lambda device: clock)
    monkeypatch.setattr(shell, "NETWORKS", 0)
    monkeypatch.setattr(latency_runtimes, "default_runtime", lambda device: "torch")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(SPACES, "tiny", small_tiny)
    return clock


def search(out: Path, *more: str | Path) -> int:
    return call(*SEARCH, "--out", out, *more).code


def latency(table: fpnas.LatencyTable) -> fpnas.Latency:
    return fpnas.Latency(small_tiny(in_channels=1), SHAPE, table)


def test_a_search_within_milliseconds(clock: Clock, tmp_path: Path) -> None:
    run = tmp_path / "run"
    called = call(*SEARCH, "--out", run, "--target-ms", "0.2")
    assert called.code == 0, called.err
    assert "(target 0.2 ms)" in called.out
    result = json.loads((run / "result.json").read_text())
    assert (result["cost_name"], result["target"]) == ("ms", 0.2)
    assert result["cost"] <= 0.2
    table = fpnas.LatencyTable.from_json(json.loads((run / "latency.json").read_text()), "run")
    assert table.batch_size == 1
    arch = json.loads((run / "arch.json").read_text())["choices"]
    assert latency(table).of(arch) == pytest.approx(result["cost"], abs=1e-12)
    settings = json.loads((run / "run.json").read_text())["settings"]
    assert settings["cost_digest"] == latency(table).digest
    # As many operations as the extracted network has parts, 10 us each.
    called = call("cost", run, "--latency", "--json")
    cost = json.loads(called.out)
    assert cost["latency_ms"] == pytest.approx(result["cost"], abs=1e-12)
    assert cost["latency_ms"] == pytest.approx(0.01 * sum(op["count"] for op in cost["latency"]["operations"]))


def test_measured_once_and_kept_in_the_run(clock: Clock, tmp_path: Path) -> None:
    assert search(tmp_path / "a", "--target-ms", "0.2") == 0
    calls = clock.calls
    assert calls > 0
    assert search(tmp_path / "b", "--target-ms", "0.25") == 0
    assert clock.calls == calls, "the cache knows them all"
    # Without the cache too a run goes on with its own numbers.
    for file in (tmp_path / "cache").rglob("*.json"):
        file.unlink()
    assert search(tmp_path / "a", "--target-ms", "0.2", "--max-steps", "3") == 0
    assert clock.calls == calls


def test_a_run_of_other_numbers_is_refused(clock: Clock, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    assert search(place / "run", "--target-ms", "0.2") == 0
    table = json.loads((place / "run" / "latency.json").read_text())
    table["operations"] = {name: 2 * ms for name, ms in table["operations"].items()}
    (place / "slower.json").write_text(json.dumps(table))
    more = (*SEARCH, "--max-steps", "3", "--out", "run", "--target-ms", "0.2")
    assert "cost_digest" in refused(place, *more, "--latency-table", "slower.json")
    assert "batches of 4" in refused(place, *more, "--latency-batch", "4")


def test_a_table_of_another_device(clock: Clock, tmp_path: Path) -> None:
    table = fpnas.latency_table(small_tiny(in_channels=1), SHAPE, timer=clock, cache=tmp_path / "other")
    foreign = {**table.to_json(), "device": "my phone", "batch_size": 4}
    foreign["operations"] = dict.fromkeys(table.operations, 3.0)
    (tmp_path / "phone.json").write_text(json.dumps(foreign))
    calls = clock.calls
    assert search(tmp_path / "run", "--target-ms", "60", "--latency-table", tmp_path / "phone.json") == 0
    assert clock.calls == calls
    assert json.loads((tmp_path / "run" / "latency.json").read_text())["device"] == "my phone"
    cost = json.loads(call("cost", tmp_path / "run", "--latency", "--json").out)
    assert cost["latency_ms"] == pytest.approx(3.0 * sum(op["count"] for op in cost["latency"]["operations"]))
    assert (cost["latency"]["device"], cost["latency"]["batch_size"]) == ("my phone", 4)
    # Goes on without the file: the run has its numbers.
    (tmp_path / "phone.json").unlink()
    assert search(tmp_path / "run", "--target-ms", "60", "--max-steps", "3") == 0


def test_cost_measures_one_architecture(clock: Clock, small: Found, tmp_path: Path) -> None:
    called = call("cost", small.folder, "--latency", "--latency-batch", "3", "--threads", "1", "--json")
    assert called.code == 0, called.err
    cost = json.loads(called.out)
    operations = cost["latency"]["operations"]
    assert clock.calls == 11 * len(operations)
    assert cost["latency_ms"] == pytest.approx(0.01 * sum(operation["count"] for operation in operations))
    assert (cost["latency"]["batch_size"], cost["latency"]["threads"]) == (3, 1)
    assert cost["latency"]["device"] == shell.device_name("cpu")
    plain = call("cost", small.folder, "--latency", "--latency-batch", "3", "--threads", "1")
    where = f"in torch on {shell.device_name('cpu')}, batch 3, threads 1"
    assert plain.out.splitlines()[-1] == f"{cost['latency_ms']:.3g} ms {where}"
    assert "latency_ms" not in json.loads(call("cost", small.folder, "--json").out)


@pytest.mark.filterwarnings("default")
def test_flags_without_effect_are_warned_about(clock: Clock, small: Found, tmp_path: Path) -> None:
    called = call(*SEARCH, "--out", tmp_path / "run", "--latency-batch", "2")
    assert called.code == 0
    assert "warning: --latency-batch has no effect without --target-ms\n" in called.err
    called = call("cost", small.folder, "--latency-table", "none.json")
    assert called.code == 0
    assert called.err == "warning: --latency-table has no effect without --latency\n"
    assert clock.calls == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--target-ms", "0"), "--target-ms"),
        (("--target-ms", "-1"), "--target-ms"),
        (("--target-ms", "fast"), "fast"),
        (("--target-ms", "0.2", "--target-flops", "1M,2M"), "several of --target-flops and --target-ms"),
        (("--target-ms", "0.2", "--latency-batch", "0"), "--latency-batch"),
        (("--target-ms", "0.2", "--latency-table", "none.json"), "none.json"),
        (("--target-ms", "0.2", "--latency-table", "text.json"), "text.json"),
        (("--target-ms", "0.2", "--latency-table", "lacking.json"), "without"),
        (("--target-ms", "0.2", "--latency-table", "negative.json"), "greater than or equal to 0"),
        (("--target-ms", "0.2", "--latency-table", "lacking.json", "--latency-batch", "2"), "batches of 2"),
    ],
)
def test_refusals(clock: Clock, tmp_path: Path, flags: tuple[str, ...], words: str) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "text.json").write_text("no table")
    head = {"format": "fpnas-latency-1", "batch_size": 1}
    (place / "lacking.json").write_text(json.dumps({**head, "operations": {"a": 1.0}}))
    (place / "negative.json").write_text(json.dumps({**head, "operations": {"a": -1.0}}))
    assert words in refused(place, *SEARCH, "--out", "run", *flags)


def test_a_target_below_the_fastest_network_names_it(clock: Clock, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    least = latency(fpnas.latency_table(small_tiny(in_channels=1), SHAPE, timer=clock)).bounds()[0]
    words = refused(place, *SEARCH, "--out", "run", "--target-ms", str(least / 2))
    assert f"a target of at least {least:.3g} ms" in words
    assert torch.get_num_threads() == 1


def test_a_search_within_milliseconds_of_onnxruntime(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency_runtimes, "default_runtime", lambda device: "onnxruntime")
    place = tmp_path / "place"
    place.mkdir()
    assert search(place / "run", "--target-ms", "2") == 0
    table = json.loads((place / "run" / "latency.json").read_text())
    assert (table["runtime"], table["threads"], table["dtype"]) == ("onnxruntime", 1, "float32")
    # It goes on with what it has, without a word about the runtime or with the right one.
    calls = clock.calls
    assert search(place / "run", "--target-ms", "2", "--max-steps", "3") == 0
    assert search(place / "run", "--target-ms", "2", "--max-steps", "4", "--runtime", "onnxruntime") == 0
    assert clock.calls == calls
    more = (*SEARCH, "--max-steps", "5", "--out", "run", "--target-ms", "2")
    words = refused(place, *more, "--runtime", "torch")
    assert "expected latencies in torch, got run/latency.json, of onnxruntime; leave --runtime out" in words
    cost = json.loads(call("cost", place / "run", "--latency", "--json").out)
    assert cost["latency"]["runtime"] == "onnxruntime"


def test_fits_to_whole_networks_hold_in_a_search(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "NETWORKS", 3)
    assert search(tmp_path / "run", "--target-ms", "0.2") == 0
    table = fpnas.LatencyTable.from_json(json.loads((tmp_path / "run" / "latency.json").read_text()), "run")
    (fit,) = table.fits.values()
    assert fit.networks == 3
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    cost = json.loads(call("cost", tmp_path / "run", "--latency", "--json").out)
    assert cost["latency_ms"] == pytest.approx(result["cost"], abs=1e-12)


def test_runtimes_that_are_refused(clock: Clock, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    table = {"format": "fpnas-latency-1", "batch_size": 1, "operations": {"a": 1.0}}
    (place / "torch.json").write_text(json.dumps(table))
    ms = (*SEARCH, "--out", "run", "--target-ms", "0.2")
    assert "a known runtime, got 'tflite'" in refused(place, *ms, "--runtime", "tflite")
    words = refused(place, *ms, "--runtime", "onnxruntime", "--latency-table", "torch.json")
    assert "latencies in onnxruntime, got torch.json, of torch" in words
    find = ("find", "--data", "digits", "--out", "found", "--target-ms", "1", "--latency-table", "torch.json")
    assert "latencies in onnxruntime-int8" in refused(place, *find, "--runtime", "onnxruntime-int8")
