"""Writes the stored trajectories anew: `.venv/bin/python tests/golden/make_golden.py`.

To be run only with a numeric change that is meant, and stated with figures before and after (DESIGN, rule 7): a
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
    from golden_problems import PROBLEMS, training_problem, training_trajectory, trajectory

    torch.set_num_threads(1)
    path = HERE / "training_8.json"
    path.write_text(json.dumps(training_trajectory(training_problem())) + "\n")
    for name, problem in PROBLEMS.items():
        path = HERE / f"{name}.json"
        path.write_text(json.dumps(trajectory(problem())) + "\n")
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
