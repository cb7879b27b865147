"""A rank that dies or hangs: the other names it in time; started again, the search ends as one that nothing befell.

Two ranks joined by gloo. They are forked, and find in this process the store that torchrun would keep for them; that
torchrun itself starts them again is tried once, and for a rank that hangs, which it takes 30 s to end, by `make soak`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dying_ranks as two
import helpers_run as h
import pytest
from dying import EVERY, check_folder, ended, forked, on_supernet, run
from torch import distributed

import fpnas
from fpnas import parallel, roll_call
from fpnas.errors import InputError, RankError

Work = Callable[[], object]
Start = Callable[[Work], list[int]]


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """Starts two processes as torchrun does, each time with one and the same store; their ids."""
    store = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": "2"}
    told |= {"TORCHELASTIC_RUN_ID": "test", "TORCHELASTIC_USE_AGENT_STORE": "True"}

    def as_rank(number: int, work: Work) -> None:
        os.environ.update({**told, "RANK": str(number), "LOCAL_RANK": str(number)})
        work()

    yield lambda work: [forked(lambda number=number: as_rank(number, work)) for number in (0, 1)]
    del store  # it lives until here


@pytest.fixture(scope="module")
def unbroken(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks") / "unbroken"
    run(on_supernet(), folder.with_name("warm"), max_steps=1)  # what torch imports late is then there in all
    assert [ended(child) for child in start(lambda: search(folder))] == [0, 0]
    return folder


def search(folder: Path, make: Callable[[], fpnas.Search] = on_supernet) -> None:
    """One rank's part."""
    with parallel.ranks(timeout=two.TIMEOUT):
        if parallel.rank() == 1:
            time.sleep(0.2)
        run(make(), folder)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_rank_that_dies_or_hangs_is_named_and_the_search_goes_on(
    number: signal.Signals, start: Start, unbroken: Path, tmp_path: Path
) -> None:
    folder, said = tmp_path / "run", tmp_path / "said"

    def work() -> None:
        try:
            search(folder, lambda: two.broken(number))
        except RankError as error:
            said.write_text(str(error))

    began = time.monotonic()
    other, broken = start(work)
    assert ended(other) == 0
    took = time.monotonic() - began
    os.kill(broken, signal.SIGKILL)
    assert ended(broken) == -signal.SIGKILL
    hangs = number == signal.SIGSTOP
    expected = "an answer of each rank within 10 s, got none" if hangs else "ranks that stay until the end, got no sign"
    assert re.match(rf"expected {expected} (of|from) rank 1 \(process {broken} on .+\); see ", said.read_text())
    assert took > two.TIMEOUT / 2 or not hangs, "it was given its time"
    assert check_folder(folder) == two.AT // EVERY * EVERY
    assert [ended(child) for child in start(lambda: search(folder))] == [0, 0]
    assert h.outcome(folder) == h.outcome(unbroken)


def test_a_rank_that_never_comes_is_named(start: Start, tmp_path: Path) -> None:
    def work() -> None:
        if os.environ["RANK"] == "1":
            return
        with pytest.raises(RankError, match=r"an answer of each rank within 0\.5 s, got none from rank 1;"):
            roll_call.meet(0.5)

    assert [ended(child) for child in start(work)] == [0, 0]


def test_another_error_of_a_rank_stays_what_it_is(start: Start) -> None:
    def work() -> None:
        with pytest.raises(RuntimeError, match=r"^out of memory$"), parallel.ranks():
            raise RuntimeError("out of memory")

    assert [ended(child) for child in start(work)] == [0, 0]


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e9])
def test_a_timeout_that_is_none_is_refused(timeout: float) -> None:
    with pytest.raises(InputError, match="above 0 and of at most 604,800 seconds"), parallel.ranks(timeout=timeout):
        pass


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", ["SIGKILL", pytest.param("SIGSTOP", marks=pytest.mark.soak)])
def test_torchrun_starts_the_ranks_again(number: str, unbroken: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--max-restarts", "1", str(Path(two.__file__)), str(tmp_path / "run"), number]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert number == "SIGKILL" or "got none from rank 1 (process" in done.stderr
    assert h.outcome(tmp_path / "run") == h.outcome(unbroken)
