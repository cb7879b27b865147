"""Writes stored trajectories anew: `.venv/bin/python tests/golden/make_golden.py NAME...`, or all of them.

To be run only with a numeric change that is meant, and stated with figures before and after: a
refactor leaves these files as they are.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent


def main() -> None:
    sys.path.insert(0, str(HERE.parent))
    from golden_problems import (
        METHOD_PROBLEMS,
        PROBLEMS,
        method_trajectory,
        training_problem,
        training_trajectory,
        trajectory,
    )

    torch.set_num_threads(1)
    makers = {
        "training_8": lambda: training_trajectory(training_problem()),
        **{name: lambda problem=problem: trajectory(problem()) for name, problem in PROBLEMS.items()},
        **{name: lambda problem=problem: method_trajectory(problem()) for name, problem in METHOD_PROBLEMS.items()},
    }
    for name in sys.argv[1:] or makers:
        path = HERE / f"{name}.json"
        path.write_text(json.dumps(makers[name]()) + "\n")
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
