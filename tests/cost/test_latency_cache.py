"""Measuring latencies, their tables in JSON, and the cache of these: measured once, kept by conditions, never torn."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from counting import SHAPE, Clock, small_supernet
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fpnas import Arch, InputError, Latency, LatencyTable, Supernet, latency_table
from fpnas.cost.latency import Operation, distinct_operations, operation_sites
from fpnas.cost.latency.timing import CHUNK, measure
from fpnas.runner import latency_cache as shell
from fpnas.runner import read_latency_table

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def no_whole_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations alone are timed; test_latency_runtimes.py times whole networks."""
    monkeypatch.setattr(shell, "NETWORKS", 0)


@pytest.fixture
def net() -> Supernet:
    return small_supernet()


def test_a_table_made_directly_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match=r"a latency table, got operations.add -1: .* equal to 0; correct the table"):
        LatencyTable({"add": -1})
    with pytest.raises(InputError, match="a latency table, got batch_size 0: "):
        replace(LatencyTable({"add": 1}), batch_size=0)
    with pytest.raises(InputError, match="a latency table, got my file: batch_size 0: "):
        LatencyTable.from_json({"format": "fpnas-latency-1", "batch_size": 0, "operations": {}}, "my file")


def test_measured_once(net: Supernet, tmp_path: Path) -> None:
    clock = Clock()
    told: list[tuple[int, int]] = []
    first = latency_table(net, SHAPE, cache=tmp_path, timer=clock, told=lambda done, total: told.append((done, total)))
    assert set(first.operations) == set(distinct_operations(net, operation_sites(net, SHAPE)))
    assert told[-1] == (len(first.operations), len(first.operations))
    calls = clock.calls
    assert calls > 0
    assert latency_table(net, SHAPE, cache=tmp_path, timer=clock) == first
    assert clock.calls == calls, "a second search measures nothing"
    assert first.device == shell.device_name("cpu")
    assert first.torch == torch.__version__.partition("+")[0]
    # The cache's form is that of --latency-table: a copied file is a table to use.
    (file,) = tmp_path.glob("*.json")
    assert read_latency_table(file) == first
    assert Latency(net, SHAPE, read_latency_table(file)).digest == Latency(net, SHAPE, first).digest


def test_only_what_is_missing_is_measured(net: Supernet, tmp_path: Path) -> None:
    arch = Arch(net.arch)
    part = latency_table(net, SHAPE, arch=arch, cache=tmp_path, timer=Clock())
    clock = Clock()
    whole = latency_table(net, SHAPE, cache=tmp_path, timer=clock)
    assert clock.calls == 11 * (len(whole.operations) - len(part.operations))
    assert part.operations.items() <= whole.operations.items()
    # Another input size shares what doesn't depend on it.
    clock = Clock()
    other = latency_table(net, (2, 11, 7), cache=tmp_path, timer=clock)
    assert clock.calls == 11 * len(other.operations.keys() - whole.operations.keys())


def test_other_conditions_are_other_tables(net: Supernet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arch = Arch(net.arch)
    tables = [
        latency_table(net, SHAPE, arch=arch, cache=tmp_path, timer=Clock(), batch_size=batch, threads=threads)
        for batch, threads in ((1, 1), (2, 1), (1, 2))
    ]
    assert [(table.batch_size, table.threads) for table in tables] == [(1, 1), (2, 1), (1, 2)]
    monkeypatch.setattr(shell, "device_name", lambda device: "Another CPU")
    latency_table(net, SHAPE, arch=arch, cache=tmp_path, timer=Clock(), threads=1)
    monkeypatch.setattr(torch, "__version__", "3.0.0")
    latency_table(net, SHAPE, arch=arch, cache=tmp_path, timer=Clock(), threads=1)
    files = sorted(path.name for path in tmp_path.glob("*.json"))
    assert len(files) == 5
    assert sum(name.startswith("another-cpu-batch1-threads1-") for name in files) == 2


def test_the_number_of_threads_is_put_back(net: Supernet, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []

    def clock(run: Callable[[], object]) -> float:
        seen.append(torch.get_num_threads())
        return 1.0

    latency_table(net, SHAPE, cache=tmp_path, timer=clock, threads=before + 1)
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "other"}', '{"format": "fpnas-latency-1"}'])
def test_a_damaged_file_is_measured_anew(net: Supernet, tmp_path: Path, content: str) -> None:
    table = latency_table(net, SHAPE, cache=tmp_path, timer=Clock())
    (file,) = tmp_path.glob("*.json")
    file.write_text(content)
    with pytest.warns(UserWarning, match="measured anew"):
        assert latency_table(net, SHAPE, cache=tmp_path, timer=Clock()).operations.keys() == table.operations.keys()
    assert read_latency_table(file).operations.keys() == table.operations.keys()


def test_conditions_within_the_file_count(net: Supernet, tmp_path: Path) -> None:
    """A file that was renamed by hand isn't taken for another device's."""
    latency_table(net, SHAPE, cache=tmp_path, timer=Clock())
    (file,) = tmp_path.glob("*.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "device": "a phone"}))
    clock = Clock()
    latency_table(net, SHAPE, cache=tmp_path, timer=clock)
    assert clock.calls > 0


def test_a_measurement_that_is_cut_off_goes_on(net: Supernet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "SAVE_EVERY", 4)

    class Stops(Clock):
        def __call__(self, run: Callable[[], object]) -> float:
            if self.calls == 11 * 9:
                raise KeyboardInterrupt
            return super().__call__(run)

    with pytest.raises(KeyboardInterrupt):
        latency_table(net, SHAPE, cache=tmp_path, timer=Stops())
    (file,) = tmp_path.glob("*.json")
    assert len(read_latency_table(file).operations) == 8
    clock = Clock()
    whole = latency_table(net, SHAPE, cache=tmp_path, timer=clock)
    assert clock.calls == 11 * (len(whole.operations) - 8)


def test_who_comes_second_waits_and_measures_nothing(tmp_path: Path) -> None:
    """Two at once: one of them measures, both have the same numbers."""
    clocks = [Clock(), Clock()]
    # Made before the threads start: torch.fx, which follows a new supernet's forward, allows no others meanwhile.
    nets = [small_supernet(), small_supernet()]

    def work(number: int) -> LatencyTable:
        def slow(run: Callable[[], object]) -> float:
            time.sleep(0.0005)
            return clocks[number](run)

        return latency_table(nets[number], SHAPE, cache=tmp_path, timer=slow)

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(work, range(2))
    assert first == second
    assert 0 in [clock.calls for clock in clocks]


WRITER = """
import sys, torch
sys.path[:0] = {path!r}
from counting import SHAPE, small_supernet
from fpnas import latency_table
torch.set_num_threads(1)
for batch in (1, 2, 1, 2):
    table = latency_table(small_supernet(), SHAPE, cache={cache!r}, batch_size=batch)
print(sum(table.operations.values()).hex())
"""


def test_processes_that_write_at_once(tmp_path: Path) -> None:
    program = WRITER.format(path=[str(Path(__file__).parents[1])], cache=str(tmp_path))
    running = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(said) == 1, "all read the same numbers"
    assert len([read_latency_table(file) for file in tmp_path.glob("*.json")]) == 2
    assert not list(tmp_path.glob("*.tmp"))


def test_a_folder_that_cannot_be_written(net: Supernet, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="can't be kept"):
        table = latency_table(net, SHAPE, cache=tmp_path / "file" / "cache", timer=Clock())
    assert Latency(net, SHAPE, table).bounds()[0] > 0


def test_the_folder_of_the_cache(net: Supernet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    latency_table(net, SHAPE, timer=Clock())
    assert list((tmp_path / "fpnas" / "latency").glob("*.json"))


def test_numbers_out_of_range(net: Supernet) -> None:
    for name in ("batch_size", "threads"):
        with pytest.raises(InputError, match="1 or more"):
            latency_table(net, SHAPE, **{name: 0})  # pyright: ignore[reportArgumentType]


def test_the_real_clock(net: Supernet, tmp_path: Path) -> None:
    """A longer wait is a longer time, in seconds."""
    clock = shell._clock("cpu")
    short, long = clock(lambda: time.sleep(0.001)), clock(lambda: time.sleep(0.05))
    assert 0.001 <= short < long
    assert long >= 0.05


# --------------------------------------------------------------------------------------------------------- measuring


def dummies(count: int, log: list[str]) -> list[Operation]:
    def named(name: str) -> Operation:
        return Operation(name, lambda batch, device: (lambda x: log.append(name), (torch.zeros(batch),)))

    return [named(f"op{number}") for number in range(count)]


def test_medians_of_rounds_in_turn() -> None:
    log: list[str] = []
    found = measure(dummies(3, log), Clock(lambda call: call // 3 + call % 3 / 10), batch_size=1, device=CPU, rounds=5)
    assert log == ["op0", "op1", "op2"] * 7, "each round runs each operation once"
    # Two rounds to warm up, then rounds 2 to 6: the median is that of round 4.
    assert found == pytest.approx({"op0": 4000.0, "op1": 4100.0, "op2": 4200.0})


def test_one_slow_round_leaves_no_trace() -> None:
    slow = Clock(lambda call: 50.0 if call // 2 == 3 else 1.0)
    assert measure(dummies(2, []), slow, batch_size=1, device=CPU, rounds=3) == {"op0": 1000.0, "op1": 1000.0}


def test_few_operations_are_in_memory_at_a_time() -> None:
    told: list[int] = []
    count = 2 * CHUNK + 1
    found = measure(dummies(count, []), Clock(lambda call: 1.0), batch_size=1, device=CPU, rounds=1, told=told.append)
    assert len(found) == count
    assert told == [CHUNK, 2 * CHUNK, count]


def test_no_gradients(net: Supernet) -> None:
    (name, operation), *_ = [i for i in distinct_operations(net, operation_sites(net, SHAPE)).items() if "Conv" in i[0]]
    seen: list[bool] = []

    def timer(run: Callable[[], object]) -> float:
        output = run()
        assert isinstance(output, Tensor)
        seen.append(output.requires_grad)
        return 1.0

    assert measure([operation], timer, batch_size=1, device=CPU, rounds=1) == {name: 1000.0}
    assert seen == [False] * 3


# ------------------------------------------------------------------------------------------------------------- in JSON


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
        ({"operations": {"a": -1.0}}, "operations.a -1.0: Input should be greater than or equal to 0"),
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
