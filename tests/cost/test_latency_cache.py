"""The cache of latency tables: measured once, kept by conditions, whole whatever happens to the file."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from counting import SHAPE, small_supernet

from fpnas import Arch, InputError, Latency, LatencyTable, Supernet, latency_table
from fpnas.cost.operations import distinct_operations, operation_sites
from fpnas.runner import latency as shell
from fpnas.runner import read_latency_table


class Clock:
    """Counts its calls; each operation takes a second more than the one before."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, run: Callable[[], object]) -> float:
        run()
        self.calls += 1
        return float(self.calls)


@pytest.fixture
def net() -> Supernet:
    return small_supernet()


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


def test_a_copied_file_is_a_table_to_use(net: Supernet, tmp_path: Path) -> None:
    """The cache's form is that of --latency-table."""
    table = latency_table(net, SHAPE, cache=tmp_path, timer=Clock())
    (file,) = tmp_path.glob("*.json")
    assert read_latency_table(file) == table
    assert Latency(net, SHAPE, read_latency_table(file)).digest == Latency(net, SHAPE, table).digest


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
    tables: dict[int, LatencyTable] = {}

    def work(number: int) -> None:
        def slow(run: Callable[[], object]) -> float:
            time.sleep(0.0005)
            return clocks[number](run)

        tables[number] = latency_table(nets[number], SHAPE, cache=tmp_path, timer=slow)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tables[0] == tables[1]
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
    program = WRITER.format(path=[str(Path(__file__).parent)], cache=str(tmp_path))
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


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"threads": 0}])
def test_numbers_out_of_range(net: Supernet, wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="1 or more"):
        latency_table(net, SHAPE, **wrong)


def test_the_real_clock(net: Supernet, tmp_path: Path) -> None:
    """A longer wait is a longer time, in seconds."""
    clock = shell._clock("cpu")
    short, long = clock(lambda: time.sleep(0.001)), clock(lambda: time.sleep(0.05))
    assert 0.001 <= short < long
    assert long >= 0.05
