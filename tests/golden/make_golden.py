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
    from golden_problems import MAKERS

    torch.set_num_threads(1)
    for name in sys.argv[1:] or MAKERS:
        path = HERE / f"{name}.json"
        path.write_text(json.dumps(MAKERS[name]()) + "\n")
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
