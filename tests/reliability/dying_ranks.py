"""What torchrun starts twice in test_ranks.py: a search of which rank 1 dies, or hangs, once.

torchrun --nproc-per-node 2 --max-restarts 1 tests/reliability/dying_ranks.py FOLDER SIGKILL|SIGSTOP
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from dying import on_supernet, run

from fpnas import parallel

AT = 7
"""The step, from 0, in which it happens; the last checkpoint is then of step 6."""
TIMEOUT = 10.0
"""Seconds; a machine that is busy makes ranks wait, too."""


def broken(number: signal.Signals) -> Any:
    """The search, in which rank 1 sends itself a signal at the beginning of step `AT`."""
    job = on_supernet()
    step = job.strategy.step

    def breaking(*given: Any) -> Any:
        if parallel.rank() == 1 and job.steps_done == AT:
            os.kill(os.getpid(), number)
        return step(*given)

    job.strategy.step = breaking  # pyright: ignore[reportAttributeAccessIssue]
    return job


def main() -> None:
    folder, number = Path(sys.argv[1]), signal.Signals[sys.argv[2]]
    torch.set_num_threads(1)
    first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    with parallel.ranks(timeout=TIMEOUT):
        run(broken(number) if first else on_supernet(), folder)


if __name__ == "__main__":
    main()
