"""`LatencyTable`: the ms of operations on a device, and its plain form in JSON, which is cache and interchange alike.

    {"format": "fpnas-latency-1", "device": "my phone", "batch_size": 1, "threads": 4, "dtype": "float32",
     "torch": null, "runtime": "onnxruntime", "version": "1.22.0", "operations": {"add on 16x14x14": 0.011, ...},
     "fits": {}}

"format", "batch_size" and "operations" are enough. The names are those of `operations`; files of unknown origin are
checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, field, fields, replace
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


@dataclass(frozen=True)
class Fit:
    """From the sum of a network's operations to what the whole network takes: factor * sum + constant, in ms.

    Args:
        factor: above 0.
        constant: 0 or more, in ms.
        networks: how many were timed whole.
    """

    factor: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    constant: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    networks: Annotated[StrictInt, Field(ge=0)] = 0


@refuses(_refusal)
@dataclass(frozen=True)
class LatencyTable:
    """What operations take, and under which conditions that was measured.

    Args:
        operations: name -> ms.
        batch_size: inputs a forward pass.
        device: its name.
        threads: of the CPU.
        dtype: of weights and inputs, or "int8".
        torch: the version of torch, where that ran them.
        runtime: what ran them: "torch", "onnxruntime" or "onnxruntime-int8".
        version: that of another runtime than torch.
        fits: by `key` of a space's operations, how whole networks relate to their sums.

    Raises:
        InputError: a value of a wrong type or out of range.
    """

    operations: Mapping[StrictStr, Annotated[float, Field(ge=0, allow_inf_nan=False)]]
    batch_size: Annotated[StrictInt, Field(ge=1, le=LARGEST_BATCH)] = 1
    device: Annotated[StrictStr, Field(max_length=200)] = "unnamed"
    threads: Annotated[StrictInt, Field(ge=1)] | None = None
    dtype: StrictStr = "float32"
    torch: StrictStr | None = None
    runtime: Annotated[StrictStr, Field(max_length=100)] = "torch"
    version: Annotated[StrictStr, Field(max_length=100)] | None = None
    fits: Mapping[StrictStr, Fit] = field(default_factory=dict[str, Fit])

    @property
    def conditions(self) -> dict[str, Any]:
        """Under which it was measured."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ("operations", "fits")}

    @staticmethod
    def key(names: Iterable[str]) -> str:
        """What a fit for these operations, all of a space, goes by."""
        return hashlib.blake2b("\n".join(sorted(names)).encode(), digest_size=8).hexdigest()

    def fit(self, names: Iterable[str]) -> Fit:
        """The fit for a space with these operations; where there is none, whole networks take the sum."""
        return self.fits.get(self.key(names), Fit())

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
        fits = {key: asdict(fit) for key, fit in self.fits.items()}
        return {"format": FORMAT, **self.conditions, "operations": dict(self.operations), "fits": fits}

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
