"""What each layer of a supernet sees: when it runs, and how many output positions it has at a given input size.

A layer's cost is a function of few choices (its own arguments, and the switches above it) once the number of its output
positions is known. That number is read off a few real forward passes, chosen so that each layer runs at least once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fpnas.elastic import ElasticLayer, ElasticModule, ElasticStructure, Supernet
from fpnas.elastic.dims import Dim, choices_in, resolve
from fpnas.errors import InputError, SupernetError
from fpnas.space import Choice, Option

Condition = tuple[Dim, frozenset[Any]]
"""A `Dim` and the values of it under which something runs."""


@dataclass(frozen=True)
class LayerSite:
    """A leaf layer in its place.

    Args:
        name: qualified name within the supernet's module.
        layer: elastic, or one of torch's own.
        conditions: all must hold for the layer to run.
        output_shape: of one example, as seen in a forward pass in which it ran (its first call).
        positions: output elements by channel, height x width for a convolution; summed over its calls.
    """

    name: str
    layer: nn.Module
    conditions: tuple[Condition, ...]
    output_shape: tuple[int, ...]
    positions: int

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
        return all(resolve(dim, arch) in values for dim, values in self.conditions)


def trace_sites(
    supernet: Supernet, input_shape: tuple[int, ...], arch: Mapping[str, Option] | None = None
) -> tuple[LayerSite, ...]:
    """The sites of all leaf layers at this input shape (C, H, W), in order of definition.

    Args:
        supernet: left as it was.
        input_shape: of one example.
        arch: take the shapes from this architecture alone; by default from as many as show each layer.

    Raises:
        InputError: the supernet can't take the shape.
        SupernetError: the number of a layer's positions depends on other choices than those that switch it.
    """
    leaves = list(_leaves(supernet.module))
    seen: dict[str, tuple[tuple[int, ...], int]] = {}
    before = supernet.arch
    try:
        for shown in _covering(supernet, leaves, seen) if arch is None else (arch,):
            for name, facts in _forward(supernet.select(shown), leaves, input_shape).items():
                if seen.setdefault(name, facts)[1] != facts[1]:
                    raise SupernetError(
                        "a layer whose output size doesn't depend on choices elsewhere",
                        f"{name} with {seen[name][1]} and {facts[1]} positions",
                        "give it the same stride and padding in all",
                    )
    finally:
        supernet.select(before)
    return tuple(LayerSite(name, layer, when, *seen.get(name, ((), 0))) for name, layer, when in leaves)


_Leaf = tuple[str, nn.Module, tuple[Condition, ...]]


def _leaves(module: nn.Module, name: str = "", conditions: tuple[Condition, ...] = ()) -> Iterator[_Leaf]:
    if isinstance(module, ElasticLayer) or next(module.children(), None) is None:
        yield name, module, conditions
        return
    for local, child in _members(module):
        condition = module.condition(local) if isinstance(module, ElasticStructure) else None
        path = f"{name}.{local}" if name else local
        yield from _leaves(child, path, conditions if condition is None else (*conditions, condition))


def _members(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The children; those in a list or dict of modules count as the module's own."""
    for local, child in module.named_children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from ((f"{local}.{key}", member) for key, member in child.named_children())
        else:
            yield local, child


def _covering(supernet: Supernet, leaves: list[_Leaf], seen: Mapping[str, Any]) -> Iterator[Mapping[str, Option]]:
    """Architectures that between them run each leaf: greedily, as many unseen leaves as agree in each."""
    hopeless: set[str] = set()
    while True:
        fixed: dict[str, Option] = {}
        for name, _, conditions in leaves:
            if name not in seen and name not in hopeless:
                pick = _satisfy(conditions, fixed)
                if pick is not None:
                    fixed.update(pick)
                elif not fixed:
                    hopeless.add(name)
        waiting = [name for name, _, _ in leaves if name not in seen and name not in hopeless]
        if not waiting:
            return
        yield {choice.name: fixed.get(choice.name, choice.options[-1]) for choice in supernet.space.choices}


def _satisfy(conditions: tuple[Condition, ...], fixed: Mapping[str, Option]) -> dict[str, Option] | None:
    """Options that make the conditions hold, one after another, and agree with `fixed`; None where none are found."""
    decided: dict[str, Option] = {}
    for dim, values in conditions:
        choices = choices_in(dim)
        known = {**fixed, **decided}
        options = [(known[choice.name],) if choice.name in known else choice.options for choice in choices]
        picks = ({c.name: o for c, o in zip(choices, pick, strict=True)} for pick in itertools.product(*options))
        pick = next((pick for pick in picks if resolve(dim, pick) in values), None)
        if pick is None:
            return None
        decided.update(pick)
    return decided


def _forward(supernet: Supernet, leaves: list[_Leaf], input_shape: tuple[int, ...]) -> dict[str, Any]:
    """Shape and positions of each leaf that ran in a forward pass of one example."""
    facts: dict[str, tuple[tuple[int, ...], int]] = {}

    def hook(name: str) -> Any:
        def record(module: nn.Module, inputs: Any, output: Any) -> None:
            del module, inputs
            if isinstance(output, Tensor) and output.dim() >= 2:
                channel = 1 if output.dim() == 4 else -1
                shape, positions = tuple(output.shape[1:]), output.numel() // output.shape[channel] // len(output)
                first = facts.get(name, (shape, 0))
                facts[name] = (first[0], first[1] + positions)

        return record

    handles = [layer.register_forward_hook(hook(name)) for name, layer, _ in leaves]
    training = supernet.training
    example = next(iter(supernet.parameters()), torch.zeros(()))
    try:
        with torch.no_grad():
            supernet.eval()(torch.zeros(1, *input_shape, dtype=example.dtype, device=example.device))
    except RuntimeError as error:
        fix = "use a size that it can take"
        raise InputError("an input shape that the network takes", f"{input_shape} ({error})", fix) from error
    finally:
        supernet.train(training)
        for handle in handles:
            handle.remove()
    return facts
