"""What each layer of a supernet sees: when it runs, and how many output positions it has at a given input size.

A layer's cost is a function of few choices (its own arguments, and the switches above it) once the number of its output
positions is known. That number is read off a few real forward passes, chosen so that each layer runs at least once;
two more, at the small end of the choices and at mixed ends, must bear out what the first ones said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import attrgetter

import torch
from torch import nn

from fpnas.cost.recorder import recording
from fpnas.elastic import ElasticModule, Supernet
from fpnas.elastic.checks import choices_of, stays_whole
from fpnas.elastic.dims import Dim, choices_in
from fpnas.elastic.submodules import Condition, holds, is_leaf, parts_of
from fpnas.errors import SupernetError
from fpnas.space import Choice, Option


@dataclass(frozen=True)
class LayerSite:
    """A layer in its place; a layer that has several names has a site for each.

    Args:
        name: qualified name within the supernet's module.
        layer: elastic, one of torch's own, or a module with parameters or multiply-adds beside those of its children.
        conditions: all must hold for the layer to run.
        output_shape: of one example, as seen in a forward pass in which it ran (its first call).
        positions: what an elastic layer's multiply-adds are proportional to: of most, output elements by channel,
            height x width for a convolution; summed over its calls.
        flops: multiply-adds that a layer which isn't elastic was seen to do, summed over its calls; None where
            they hang on choices.
    """

    name: str
    layer: nn.Module
    conditions: tuple[Condition, ...]
    output_shape: tuple[int, ...]
    positions: int
    flops: int | None = 0

    @property
    def dims(self) -> Mapping[str, Dim]:
        """The layer's arguments that may depend on choices."""
        return self.layer.dims if isinstance(self.layer, ElasticModule) else {}

    @property
    def scope(self) -> tuple[Choice, ...]:
        """The choices on which the layer's cost depends."""
        dims = [*self.dims.values(), *(dim for dim, _ in self.conditions)]
        return tuple(dict.fromkeys(choice for dim in dims for choice in choices_in(dim)))

    def runs(self, arch: Mapping[str, Option]) -> bool:
        """Whether the layer runs under `arch`."""
        return holds(self.conditions, arch)


def trace_sites(
    supernet: Supernet,
    input_shape: tuple[int, ...],
    arch: Mapping[str, Option] | None = None,
    input_dtype: torch.dtype | None = None,
) -> tuple[LayerSite, ...]:
    """The sites of all layers at this input shape, such as (C, H, W), in order of definition.

    Args:
        supernet: left as it was.
        input_shape: of one example.
        arch: take the shapes from this architecture alone; by default from as many as show each layer.
        input_dtype: of the input; by default that of the parameters. Tokens are torch.int64.

    Raises:
        InputError: the supernet can't take the shape, or layers don't fit one another.
        SupernetError: when a layer runs, or the number of its positions, depends on other choices than those that
            switch it.
    """
    # A layer that no forward pass calls is no part of any network.
    seen: dict[str, LayerSite | None] = {part.path: None for part in parts_of(supernet.module)}
    idle: dict[str, Mapping[str, Option]] = {}
    alike = attrgetter("positions", "flops")
    with recording(supernet, input_shape, input_dtype, arch, alike=alike) as passes:
        for selected, part, calls in passes:
            name, layer, old = part.path, part.module, seen[part.path]
            if calls:
                positions, flops = sum(call.positions for call in calls), sum(call.flops for call in calls)
                new = LayerSite(name, layer, part.conditions, calls[0].output[1:], positions, flops)
                seen[name] = new if old is None else _agreed(old, new)
            else:
                idle[name] = selected
            if seen[name] is not None and name in idle and is_leaf(layer):
                got = f"{name!r} ({type(layer).__name__}), left out under {dict(idle[name])}"
                raise SupernetError("layers that run whenever the structures above them say so", got, "use a Switch")
    called = [site for site in seen.values() if site is not None]
    if arch is None:
        _refuse_unread(supernet, called)
    return tuple(site for site in called if _can_cost(site))


def _agreed(old: LayerSite, new: LayerSite) -> LayerSite:
    """What two forward passes say of a layer."""
    count = "positions" if counts_itself(old.layer) else "flops"
    first, second = getattr(old, count), getattr(new, count)
    if first == second:
        return old
    if not stays_whole(old.layer) and not counts_itself(old.layer):
        return replace(old, flops=None)  # a user's own arithmetic
    raise SupernetError(
        "a layer whose output size doesn't depend on choices elsewhere",
        f"{old.name!r} ({type(old.layer).__name__}) with {first} and {second} {count}",
        "give it the same stride and padding in all, and as many calls: Repeat is for variable depth",
    )


def _can_cost(site: LayerSite) -> bool:
    """All layers, and of the modules around them those that have parameters or multiply-adds of their own."""
    return is_leaf(site.layer) or counts_itself(site.layer) or site.flops != 0 or bool(own_parameters(site.layer))


def _refuse_unread(supernet: Supernet, called: list[LayerSite]) -> None:
    read = {choice for site in called for choice in site.scope}
    for choice in supernet.space.choices:
        if choice not in read:
            readers = [n or "the module itself" for n, m in supernet.module.named_modules() if choice in choices_of(m)]
            got = f"{choice!r}, of which {' and '.join(readers)} alone know, which forward never calls"
            raise SupernetError("choices that a layer which runs reads", got, "call it, or remove the choice")


def counts_itself(layer: nn.Module) -> bool:
    """Whether an elastic module has a rule of its own for its multiply-adds."""
    return isinstance(layer, ElasticModule) and type(layer).flops is not ElasticModule.flops


def own_parameters(layer: nn.Module) -> list[nn.Parameter]:
    """Those of a layer, or those that a module holds beside its children."""
    lists = [child for child in layer.children() if isinstance(child, nn.ParameterDict | nn.ParameterList)]
    own = list(layer.parameters(recurse=stays_whole(layer)))
    return own + [parameter for held in lists for parameter in held.parameters()]
