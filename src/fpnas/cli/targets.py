"""Flags of what a network may cost, alone and together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

import typer

from fpnas.cli.quantity import parse_targets
from fpnas.errors import InputError

if TYPE_CHECKING:
    from fpnas.cost import Precision

KIBI = 1024


@dataclass(frozen=True)
class Targets:
    """A flag for each kind of target; all that are given must be met."""

    target_flops: Annotated[
        str | None,
        typer.Option(
            "--target-flops",
            help="The most multiply-adds, such as 3M or 2.5e6; in fpnas search several, as 1M,2M,3M, give a network "
            "for each. Targets of several kinds are all met.",
        ),
    ] = None
    target_params: Annotated[str | None, typer.Option("--target-params", help="The most parameters, such as 200k.")] = (
        None
    )
    target_ms: Annotated[
        str | None,
        typer.Option("--target-ms", help="The most milliseconds of a forward pass on --device, such as 3.5."),
    ] = None
    target_ram: Annotated[
        str | None,
        typer.Option(
            "--target-ram",
            help="The most bytes of activations of one image in the exported network, such as 256k: here k is 1,024.",
        ),
    ] = None
    target_flash: Annotated[
        str | None,
        typer.Option("--target-flash", help="The most bytes of its weights, such as 500k: here k is 1,024."),
    ] = None
    memory_precision: Annotated[
        str | None,
        typer.Option(
            "--memory-precision", help="int8 (the default) or float32: what --target-ram and --target-flash count."
        ),
    ] = None

    def by_kind(self) -> dict[str, list[float]]:
        """Those given, by their kind in `fpnas.cost.targets.KINDS`, rising."""
        given = {"flops": self.target_flops, "params": self.target_params, "ms": self.target_ms}
        memory = {"ram": self.target_ram, "flash": self.target_flash}
        if self.memory_precision is not None and not any(memory.values()):
            raise InputError(
                "--target-ram or --target-flash, for --memory-precision", "neither", "give one, or leave it out"
            )
        found = {
            kind: parse_targets(text, f"--target-{kind}", KIBI if kind in memory else 1000)
            for kind, text in {**given, **memory}.items()
            if text is not None
        }
        if len(found) > 1 and any(len(values) > 1 for values in found.values()):
            flags = " and ".join(f"--target-{kind}" for kind in found)
            raise InputError("several targets of one kind, or one of each", f"several of {flags}", "give each kind one")
        return found

    @property
    def memory(self) -> Precision:
        """What bytes are counted in; what is wrong with it the cost models say."""
        return cast("Precision", self.memory_precision or "int8")
