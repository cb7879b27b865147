"""Which choices a followed network has: a name and options for each width, and what is kept as it is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fpnas.elastic.dims import Dim, joined, scaled
from fpnas.elastic.follow.walk import Network
from fpnas.elastic.follow.widths import Layout, Width, resolved
from fpnas.elastic.tokens import DotProductAttention
from fpnas.space import Choice


class Choices:
    """The widths of a network as arguments of elastic layers.

    Args:
        network: what was followed.
        widths: fractions of each width.
        divisor: of widths that aren't whole.

    Attributes:
        kept: layer -> why the width that it makes has no choice; also the modules that stay whole.
    """

    def __init__(self, network: Network, widths: Sequence[float], divisor: int) -> None:
        self.kept: dict[str, str] = dict(network.whole)
        self._of: dict[Width, tuple[Choice, int]] = {}
        seen: set[Width] = set()
        heads = _heads(network)
        for followed in network.layers:
            # A width that isn't held is first seen at the layer that makes it.
            for width, unit in (*resolved(followed.ins), *resolved(followed.outs)):
                if width not in seen:
                    seen.add(width)
                    name = heads.get(width, followed.name)
                    each, step = (1, 1) if width in heads else (unit, math.lcm(divisor, unit))
                    options = _options(width.size * each, widths, step)
                    kind = "heads" if width in heads else "width"
                    if width.held:
                        continue
                    if options:
                        self._of[width] = Choice(self._new(f"{in_block(name)}_{kind}"), options), each
                    else:
                        width.held = f"{width.size * each} is too narrow for a smaller multiple of {step}"
            for width, _ in resolved(followed.outs):
                if width.held:
                    self.kept.setdefault(followed.name, width.held)

    def dim(self, layout: Layout) -> Dim:
        """The number of channels of a layout, as an argument."""
        dims: list[Dim] = []
        for width, unit in resolved(layout):
            if width not in self._of:
                dims.append(width.size * unit)
                continue
            choice, each = self._of[width]
            dims.append(choice if unit == each else scaled(choice, unit / each))
        return joined(*dims)

    def _new(self, name: str) -> str:
        taken = {choice.name for choice, _ in self._of.values()}
        number = next(n for n in range(1, len(taken) + 2) if (name if n == 1 else f"{name}_{n}") not in taken)
        return name if number == 1 else f"{name}_{number}"


def _heads(network: Network) -> dict[Width, str]:
    """Widths whose units are heads of attention, and the name of the module around it."""
    found: dict[Width, str] = {}
    for followed in network.layers:
        if isinstance(followed.layer, DotProductAttention):
            for width, unit in resolved(followed.ins):
                if unit == followed.layer.values["head_dim"]:
                    found.setdefault(width, followed.name.removesuffix(".attention"))
    return found


def _options(size: int, widths: Sequence[float], step: int) -> tuple[int, ...]:
    rounded = {max(step, int(size * part + step / 2) // step * step) for part in widths if part < 1}
    smaller = sorted(option for option in rounded if option < size)
    return (*smaller, size) if smaller else ()


def in_block(name: str) -> str:
    """A layer's name with a dot after its block alone, so that the choices of a block are a group."""
    parts = name.split(".")
    end = next((number + 1 for number, part in enumerate(parts) if part.isdigit()), 0)
    block, rest = ".".join(parts[:end]), "_".join(parts[end:])
    return f"{block}.{rest}" if block and rest else f"{block}.layer" if block else rest
