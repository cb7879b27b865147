"""Per-operation latency tables of the FBNet space (22 layers of 9 operations) on other devices.

In the form of HELP's measurements (Lee et al., 2021): either fitted tables, `ops` (O,), `devices` (D,), `base_ms` (D,)
and `delta_ms_vs_skip` (L, O, D); or the measurements themselves, `arch` (N, L) and `latency_ms` (N, D), to which the
table is fitted by least squares. Reading the file is the shell's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fpnas.cost.latency import AdditiveLatency
from fpnas.cost.tables import AdditiveCost, Factor
from fpnas.errors import InputError, unknown_name
from fpnas.space import Choice, SearchSpace


def fbnet_space(layers: int, operations: tuple[str, ...]) -> SearchSpace:
    """One choice a layer, `layer1.op` and so on, with the operations as options."""
    return SearchSpace(Choice(f"layer{number}.op", operations) for number in range(1, layers + 1))


def fbnet_latency(arrays: Mapping[str, NDArray[Any]], device: str, origin: str) -> AdditiveLatency:
    """The latency model of one device.

    Args:
        arrays: of one of the two forms above.
        device: one of its devices.
        origin: named in errors.

    Raises:
        InputError: an unknown device, or arrays of other names, shapes or kinds.
    """
    operations, devices = _names(arrays, "ops", origin), _names(arrays, "devices", origin)
    if device not in devices:
        raise unknown_name("device", device, devices)
    place = devices.index(device)
    if "delta_ms_vs_skip" in arrays:
        deltas = _numbers(arrays, "delta_ms_vs_skip", 3, origin)
        base = _numbers(arrays, "base_ms", 1, origin)
        _agree(origin, deltas.shape[1:] == (len(operations), len(devices)), "delta_ms_vs_skip", deltas.shape)
        _agree(origin, base.shape == (len(devices),), "base_ms", base.shape)
        constant, tables = float(base[place]), deltas[:, :, place]
    else:
        archs = _numbers(arrays, "arch", 2, origin)
        latencies = _numbers(arrays, "latency_ms", 2, origin)
        whole = bool((archs == np.floor(archs)).all() and archs.min(initial=0) >= 0)
        _agree(origin, whole and archs.max(initial=0) < len(operations), "arch", "other operations")
        _agree(origin, latencies.shape == (len(archs), len(devices)), "latency_ms", latencies.shape)
        constant, tables = _fitted(archs.astype(np.int64), latencies[:, place], operations)
    space = fbnet_space(len(tables), operations)
    factors = [Factor((layer,), table) for layer, table in enumerate(tables)]
    return AdditiveLatency(space, AdditiveCost(space, factors, constant), device)


def _fitted(
    archs: NDArray[np.int64], latencies: NDArray[np.float64], operations: tuple[str, ...]
) -> tuple[float, NDArray[np.float64]]:
    """The least-squares constant and tables (L, O), those of the operation "skip" (else of the first) being 0."""
    base = operations.index("skip") if "skip" in operations else 0
    others = [number for number in range(len(operations)) if number != base]
    one_hot = archs[:, :, None] == np.array(others)
    design = np.concatenate([np.ones((len(archs), 1)), one_hot.reshape(len(archs), -1)], axis=1)
    solution = np.linalg.lstsq(design, latencies, rcond=None)[0]
    tables = np.zeros((archs.shape[1], len(operations)))
    tables[:, others] = solution[1:].reshape(archs.shape[1], len(others))
    return float(solution[0]), tables


def _names(arrays: Mapping[str, NDArray[Any]], name: str, origin: str) -> tuple[str, ...]:
    array = arrays.get(name)
    if array is None or array.ndim != 1 or array.dtype.kind != "U" or len(set(array.tolist())) != len(array):
        got = "none" if array is None else f"{array.dtype} {array.shape}"
        raise InputError(f"distinct names in {name!r} of {origin}", got, "look at the file")
    return tuple(array.tolist())


def _numbers(arrays: Mapping[str, NDArray[Any]], name: str, axes: int, origin: str) -> NDArray[np.float64]:
    array = arrays.get(name)
    if array is None or array.ndim != axes or array.dtype.kind not in "fiu" or not array.size:
        got = "none" if array is None else f"{array.dtype} {array.shape}"
        raise InputError(f"numbers on {axes} axes in {name!r} of {origin}", got, "look at the file")
    numbers = array.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise InputError(f"finite numbers in {name!r} of {origin}", "others", "look at the file")
    return numbers


def _agree(origin: str, holds: bool, name: str, got: object) -> None:
    if not holds:
        fix = "look at the file"
        raise InputError(f"arrays of {origin} that agree in operations and devices", f"{name!r} with {got}", fix)
