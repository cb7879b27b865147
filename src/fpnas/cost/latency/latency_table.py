"""`LatencyTable`: the ms of operations on a device, and its plain form in JSON, which is cache and interchange alike.

    {"format": "fpnas-latency-1", "device": "my phone", "batch_size": 1, "threads": 4, "dtype": "float32",
     "torch": null, "operations": {"add on 16x14x14": 0.011, ...}}

"format", "batch_size" and "operations" are enough. The names are those of `operations`; files of unknown origin are
checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Annotated, Any

from pydantic import Field, StrictInt, StrictStr
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from fpnas.errors import InputError, refuses

LARGEST_BATCH = 1_000_000
FORMAT = "fpnas-latency-1"


def _refusal(flaw: ErrorDetails) -> InputError:
    given = "" if flaw["type"] == "missing" else f" {flaw['input']!r:.40}"
    got = f"{'.'.join(map(str, flaw['loc']))}{given}: {flaw['msg']}"
    return InputError("a latency table", got, "correct the table, see docs/budgets.md")


@refuses(_refusal)
@dataclass(frozen=True)
class LatencyTable:
    """What operations take, and under which conditions that was measured.

    Args:
        operations: name -> ms.
        batch_size: inputs a forward pass.
        device: its name.
        threads: of the CPU.
        dtype: of weights and inputs.
        torch: the version of torch.

    Raises:
        InputError: a value of a wrong type or out of range.
    """

    operations: Mapping[StrictStr, Annotated[float, Field(ge=0, allow_inf_nan=False)]]
    batch_size: Annotated[StrictInt, Field(ge=1, le=LARGEST_BATCH)] = 1
    device: Annotated[StrictStr, Field(max_length=200)] = "unnamed"
    threads: Annotated[StrictInt, Field(ge=1)] | None = None
    dtype: StrictStr = "float32"
    torch: StrictStr | None = None

    @property
    def conditions(self) -> dict[str, Any]:
        """All but the operations."""
        return {field.name: getattr(self, field.name) for field in fields(self)[1:]}

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
        known: dict[str, Any] = value if isinstance(value, dict) else {}
        if known.get("format") != FORMAT or "batch_size" not in known:
            raise InputError(
                "a latency table", f"{origin}: no format {FORMAT!r} or no batch_size", "see docs/budgets.md"
            )
        try:
            return LatencyTable(**{key: known[key] for key in LatencyTable.__dataclass_fields__ if key in known})
        except InputError as error:
            raise error.about(origin) from None
