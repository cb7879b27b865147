"""`Call`: a node of a graph as the rules see it, with its arguments and what is known of their channels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, fx
from torch.utils._pytree import tree_leaves

from fpnas.elastic.checks import LIBRARIES
from fpnas.elastic.follow.moves import Channels, adapts, moved
from fpnas.elastic.follow.widths import Layout, fresh, hold, length, tie


@dataclass
class Call:
    """A node with its arguments, its result, and the channels of the tensors that it reads."""

    node: fx.Node
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    value: Any
    known: list[Any]
    channels: list[Channels] = field(init=False)

    def __post_init__(self) -> None:
        self.channels = list(_flat(self.known))

    @property
    def name(self) -> str:
        """Of the function, without what tells its in-place form."""
        target: Any = self.node.target
        name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
        name = name.strip("_")
        return name[1:] if name in ("iadd", "isub", "imul", "itruediv") else name

    def stop(self, why: str) -> None:
        """Holds all that it reads."""
        hold([channels.layout for channels in self.channels], why + self._place())

    def only(self) -> Channels | None:
        """The channels of its one tensor; None where it reads several, or none that vary."""
        tensors = [leaf for leaf in tree_leaves((self.args, dict(self.kwargs))) if isinstance(leaf, Tensor)]
        return self.channels[0] if len(tensors) == len(self.channels) == 1 else None

    def taken(self, what: str, size: int, axis: int) -> Layout:
        """The channels that a layer reads on an axis: the given ones, or fixed ones."""
        given = self.only()
        if given is not None and given.axis == axis % self.args[0].dim() and length(given.layout) == size:
            return given.layout
        self.stop(f"{what} isn't on the channels")
        return fresh(size, f"{what} isn't on the channels" if self.channels else "what it reads is fixed")

    def on_maps(self, given: Channels, what: str) -> Channels | None:
        """Of a call that works on height and width, or leaves the number of channels at least."""
        if given.axis == 1 and self.value.dim() == 4 and self.value.shape[1] == self.args[0].shape[1]:
            return given
        return self.stop(f"{what} isn't beside the channels")

    def moved(self, function: Any, given: Channels, what: str) -> Any:
        """Of a call that only moves numbers; its parts, if several, get one width."""
        made = moved(lambda x: function(x, *self.args[1:], **self.kwargs), given, self.args[0].shape)
        found = [channels for channels in made or () if channels is not None]
        if not found or not all(adapts(self.node, self.name, channels.axis) for channels in found):
            return self.stop(what)
        first = found[0]
        if self.name == "getitem" and length(first.layout) < length(given.layout):
            return self.stop(what)
        for other in found[1:]:
            tie(first.layout, other.layout, what)
        return found if isinstance(self.value, tuple | list) else first

    def _place(self) -> str:
        """The user's own line, where it is known."""
        lines = [line.strip() for line in (self.node.stack_trace or "").splitlines()]
        own = [n for n, line in enumerate(lines) if line.startswith('File "') and not line[6:].startswith(LIBRARIES)]
        return f" at {' '.join(lines[own[-1] : own[-1] + 2])}" if own else ""


def _flat(known: Iterable[Any]) -> Iterable[Channels]:
    for one in known:
        if isinstance(one, Channels):
            yield one
        elif isinstance(one, list):
            yield from _flat(one)
