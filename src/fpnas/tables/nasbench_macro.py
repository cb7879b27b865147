"""NAS-Bench-Macro (Su et al., 2021) from its JSON, or from an .npz with the same: 6,561 networks, three runs each.

In rotation r the test accuracy of run r is the reward and the mean of the other two the truth. The JSON maps 8 digits,
one a layer, to {"test_acc": [3 runs in percent], "params", "flops"}; the .npz has arch, test_acc, params and flops.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fpnas.errors import InputError
from fpnas.npz import Kind, array_names, read_arrays
from fpnas.spaces import nasbench_macro
from fpnas.tables.rows import Column, Rows, in_rotation, place

RUNS = 3
FACTS = {"space": "nasbench-macro", "image_size": 32, "in_channels": 3, "num_classes": 10}
ARRAYS: dict[str, Kind] = {
    "arch": "whole numbers",
    "test_acc": "floats",
    "params": "whole numbers",
    "flops": "whole numbers",
}
MAX_BYTES = 64 * 2**20


def recognises(path: Path) -> bool:
    """A JSON, or an .npz with its arrays."""
    if path.suffix == ".json":
        return True
    return path.suffix == ".npz" and set(ARRAYS) <= array_names(path)


def read(path: Path) -> Rows:
    """The rows of the file, or `InputError`; not yet validated as a table."""
    arch, runs, params, flops = _from_json(path) if path.suffix == ".json" else _from_npz(path)
    with torch.device("meta"):
        space = nasbench_macro().space
    count = len(space)
    rows = arch.shape[:1]
    if [a.shape for a in (arch, runs, params, flops)] != [(*rows, count), (*rows, RUNS), rows, rows]:
        got = f"shapes {arch.shape}, {runs.shape}, {params.shape} and {flops.shape} in {path}"
        expected = f"{count} operations, {RUNS} runs, one number of parameters and of FLOPs in each row"
        raise InputError(expected, got, "get the file anew")
    codes = arch.astype(np.int64)
    for index in np.flatnonzero(((codes < 0) | (codes > 2)).any(axis=1))[:1]:
        got = f"{codes[index].tolist()} in {place(str(path), int(index), None)}"
        raise InputError("operations 0, 1 or 2", got, "mend that row")
    reward, truth = in_rotation(runs.astype(np.float64) / 100)
    costs = {
        "flops": Column("FLOPs", flops.astype(np.float64)),
        "params": Column("parameters", params.astype(np.float64)),
    }
    return Rows("nasbench-macro", str(path), space, codes, reward, truth, costs, FACTS)


_Arrays = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]


def _from_npz(path: Path) -> _Arrays:
    arrays = read_arrays(path, ARRAYS)
    return arrays["arch"], arrays["test_acc"], arrays["params"], arrays["flops"]


def _from_json(path: Path) -> _Arrays:
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"a JSON of at most {MAX_BYTES:,} bytes", f"{path.stat().st_size:,}", "get the file anew")
    try:
        # Pairs, not a dict: a key that comes twice would vanish in one.
        pairs = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise InputError("NAS-Bench-Macro as JSON", f"{path} ({error})", "get the file anew") from None
    if not isinstance(pairs, list) or not pairs:
        raise InputError("an object of architectures", f"{type(pairs).__name__} in {path}", "get the file anew")
    rows = [_row(pair, place(str(path), index, None)) for index, pair in enumerate(pairs)]
    arch, runs, params, flops = zip(*rows, strict=True)
    return np.array(arch, dtype=np.int64), np.array(runs), np.array(params), np.array(flops)


def _row(pair: Any, where: str) -> tuple[list[int], list[float], float, float]:
    digits, pairs = pair if isinstance(pair, tuple) else (None, None)
    if not (isinstance(digits, str) and len(digits) == 8 and set(digits) <= set("012")):
        raise InputError("8 digits of 0 to 2 as an architecture", f"{digits!r:.40} in {where}", "mend that row")
    entry = dict(pairs) if isinstance(pairs, list) and all(isinstance(p, tuple) for p in pairs) else {}
    runs = entry.get("test_acc")
    if not isinstance(runs, list) or len(runs) != RUNS:
        raise InputError(f"{RUNS} accuracies as test_acc", f"{runs!r:.40} in {where}", "mend that row")
    *numbers, params, flops = (_number(v, where) for v in (*runs, entry.get("params"), entry.get("flops")))
    return [int(digit) for digit in digits], numbers, params, flops


def _number(value: Any, where: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else float(value)
    except OverflowError:  # of an int beyond all floats
        number = math.inf
    if not math.isfinite(number):
        raise InputError("finite test_acc, params and flops", f"{value!r:.40} in {where}", "mend that row")
    return number
