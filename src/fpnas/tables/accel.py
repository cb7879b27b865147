"""Accel-NASBench (2024) from an .npz: 5,138 networks of MnasNet's space, trained on ImageNet by a proxy recipe.

Seven blocks of expansion, kernel, layers and squeeze-excite: about 1e11 architectures, so surrogates are fitted. In
rotation r a third of the rows fits the reward and the rest the truth. Multiply-adds and parameters are exact sums over
the blocks, found by least squares. Arrays: factors, choices (JSON), arch (N, 28), val_top1 (percent), macs_M, params_M.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fpnas.errors import InputError, SupernetError
from fpnas.npz import Kind, array_names, read_arrays
from fpnas.space import Choice, SearchSpace
from fpnas.tables.rows import Column, Rows, place

ARRAYS: dict[str, Kind] = {
    "factors": "text",
    "choices": "text",
    "arch": "whole numbers",
    "val_top1": "floats",
    "macs_M": "floats",
    "params_M": "floats",
}
VARIABLES = {"e": "expansion", "k": "kernel", "l": "layers", "se": "se"}


def recognises(path: Path) -> bool:
    """An .npz with its arrays."""
    return path.suffix == ".npz" and set(ARRAYS) <= array_names(path)


def read(path: Path) -> Rows:
    """The rows of the file, or `InputError`; of networks that were trained more than once, their mean."""
    arrays = read_arrays(path, ARRAYS)
    space = _space(arrays["factors"], arrays["choices"], path)
    codes = arrays["arch"].astype(np.int64)
    columns = {name: arrays[name].astype(np.float64) for name in ("val_top1", "macs_M", "params_M")}
    if codes.ndim != 2 or codes.shape[1] != len(space) or any(c.shape != codes.shape[:1] for c in columns.values()):
        got = f"arch of shape {codes.shape} in {path}"
        raise InputError(f"{len(space)} codes and one of each number in each row", got, "get the file anew")
    sound = (codes >= 0) & (codes < np.array(space.cardinalities))
    # Here, not in `Rows`: averaging would hide which row it was.
    finite = np.isfinite(np.stack(list(columns.values()), axis=1)).all(axis=1) & (columns["val_top1"] <= 100)
    for index in np.flatnonzero(~(sound.all(axis=1) & finite))[:1]:
        got = f"{place(str(path), int(index), None)}, which has others"
        raise InputError("codes of known options and finite numbers", got, "mend that row")
    distinct, back, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    means = {name: np.bincount(back.ravel(), column) / counts for name, column in columns.items()}
    accuracy = means["val_top1"][:, None] / 100
    costs = {"flops": Column("FLOPs", 1e6 * means["macs_M"]), "params": Column("parameters", 1e6 * means["params_M"])}
    repeats = len(codes) - len(distinct)
    notes = (f"{repeats} of {len(codes):,} rows repeat an architecture and are averaged with it",) if repeats else ()
    return Rows("accel-nasbench", str(path), space, distinct, accuracy, accuracy, costs, notes=notes)


def _space(factors: NDArray[Any], choices: NDArray[Any], path: Path) -> SearchSpace:
    """block0_e with choices "[1, 4, 6]" is the choice block0.expansion."""
    found: list[Choice] = []
    try:
        for factor, text in zip(factors.tolist(), choices.tolist(), strict=True):
            block, _, variable = factor.rpartition("_")
            found.append(Choice(f"{block}.{VARIABLES[variable]}", tuple(json.loads(text))))
        return SearchSpace(found)
    except (ValueError, KeyError, TypeError, RecursionError, SupernetError) as error:
        got = f"{path} ({error})"
        raise InputError("factors such as block0_e with their choices as JSON", got, "get the file anew") from None
