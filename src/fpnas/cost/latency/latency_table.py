"""`LatencyTable`: the ms of operations on a device, and its plain form in JSON, which is cache and interchange alike.

    {"format": "fpnas-latency-1", "device": "my phone", "batch_size": 1, "threads": 4, "dtype": "float32",
     "torch": null, "operations": {"add on 16x14x14": 0.011, ...}}

"format", "batch_size" and "operations" are enough. The names are those of `operations`; files of unknown origin are
checked. Reading and writing is the shell's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StrictInt, StrictStr, ValidationError

from fpnas.errors import InputError

FORMAT = "fpnas-latency-1"


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore")

    format: Literal["fpnas-latency-1"]
    device: StrictStr = Field(default="unnamed", max_length=200)
    batch_size: StrictInt = Field(ge=1, le=1_000_000)
    threads: StrictInt | None = Field(default=None, ge=1)
    dtype: StrictStr = "float32"
    torch: StrictStr | None = None
    operations: dict[StrictStr, FiniteFloat]


@dataclass(frozen=True)
class LatencyTable:
    """What operations take, and under which conditions that was measured.

    Args:
        operations: name -> ms.
        batch_size: images a forward pass.
        device: its name.
        threads: of the CPU.
        dtype: of weights and images.
        torch: the version of torch.
    """

    operations: Mapping[str, float]
    batch_size: int = 1
    device: str = "unnamed"
    threads: int | None = None
    dtype: str = "float32"
    torch: str | None = None

    @property
    def conditions(self) -> dict[str, Any]:
        """All but the operations."""
        return {name: getattr(self, name) for name in ("device", "batch_size", "threads", "dtype", "torch")}

    def only(self, names: Iterable[str]) -> LatencyTable:
        """The part of it with these operations; `InputError` where some are missing."""
        wanted = list(names)
        missing = [name for name in wanted if name not in self.operations]
        if missing:
            got = f"one of {self.device!r} without {len(missing):,} of these, such as {missing[0]!r}"
            fix = "measure them for this space and input size"
            raise InputError(f"a table with the {len(wanted):,} operations of the space", got, fix)
        return replace(self, operations={name: self.operations[name] for name in wanted})

    def to_json(self) -> dict[str, Any]:
        """Its plain form."""
        return {"format": FORMAT, **self.conditions, "operations": dict(self.operations)}

    @staticmethod
    def from_json(value: object, origin: str) -> LatencyTable:
        """The inverse of `to_json`, from an untrusted value; `origin` is named in errors.

        Raises:
            InputError: it is no table: another format, or a latency that is no number of 0 or more.
        """
        try:
            file = _File.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the whole"
            raise InputError("a latency table", f"{origin}: {where}: {first['msg']}", "see docs/budgets.md") from None
        negative = next((name for name, ms in file.operations.items() if ms < 0), None)
        if negative is not None:
            got = f"{file.operations[negative]:g} for {negative!r} in {origin}"
            raise InputError("latencies of 0 ms or more", got, "correct the table")
        conditions = file.model_dump(exclude={"format", "operations"})
        return LatencyTable(file.operations, **conditions)
