"""Tables of known results: `load` takes a file and gives a `KnownTable`, for a `TableEvaluator` to judge by.

`known` says what that is, `rows` validates, `surrogate` fills in what a partial table lacks; a module each reads
NAS-Bench-Macro, Accel-NASBench, and a CSV or parquet of your own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fpnas.errors import InputError
from fpnas.tables import accel, columns, nasbench_macro
from fpnas.tables.costs import TableCost
from fpnas.tables.known import Best, KnownTable, Rotation, SurrogateFit

__all__ = ["Best", "SurrogateFit", "KnownTable", "Rotation", "TableCost", "load"]


def load(
    path: str | Path,
    *,
    metric: Sequence[str] = (),
    truth: str | None = None,
    cost_columns: Sequence[str] = (),
    ignore: Sequence[str] = (),
    partial: bool = False,
    seed: str | None = None,
) -> KnownTable:
    """Reads and validates a table of known results.

    Args:
        path: NAS-Bench-Macro's JSON or .npz, Accel-NASBench's .npz, or a .csv or .parquet of your own.
        metric: of your own table: the accuracy columns that a search sees, one a rotation.
        truth: of your own table: the column that judges; by default the mean of the other metrics.
        cost_columns: of your own table: the cost columns.
        ignore: of your own table: columns to leave out.
        partial: your own table holds a sample of the space: surrogates are fitted. By default it must hold all of it.
        seed: of your own table: the column that tells trainings of one architecture apart; they are averaged.

    Raises:
        InputError: no such table, or rows that are missing, repeated or not finite, with the row's number.
    """
    place = Path(path)
    if not place.is_file():
        got = f"{path}: no such file"
        raise InputError("a table: .json, .npz, .csv or .parquet", got, "check the path")
    if columns.recognises(place):
        return columns.read(place, metric, truth, cost_columns, ignore, seed).known(partial)
    own = {"metric": metric, "truth": truth, "cost columns": cost_columns, "ignore": ignore, "a seed column": seed}
    for flag, value in own.items():
        if value:
            got = f"{value!r} for {place.name}"
            raise InputError(f"{flag} for a .csv or .parquet alone", got, "leave it out; this table's are known")
    if nasbench_macro.recognises(place):
        if partial:
            raise InputError("NAS-Bench-Macro as a whole table", "partial", "leave that out")
        return nasbench_macro.read(place).known()
    if accel.recognises(place):
        return accel.read(place).known(partial=True)
    raise InputError("a table: NAS-Bench-Macro, Accel-NASBench, .csv or .parquet", str(path), "see docs/tables.md")
