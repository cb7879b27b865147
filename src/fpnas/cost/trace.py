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

from fpnas.elastic import ElasticLayer, ElasticModule, ElasticStructure, Linear, Supernet
from fpnas.elastic.dims import Dim, choices_in, resolve
from fpnas.errors import InputError, SupernetError
from fpnas.space import Choice, Option, SearchSpace

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
        for shown in covering(supernet.space, leaves, seen) if arch is None else (arch,):
            for name, facts in _forward(supernet.select(shown), leaves, input_shape).items():
                if seen.setdefault(name, facts)[1] != facts[1]:
                    raise SupernetError(
                        "a layer whose output size doesn't depend on choices elsewhere",
                        f"{name} with {seen[name][1]} and {facts[1]} positions",
                        "give it the same stride and padding in all",
                    )
    finally:
        supernet.select(before)
    # A layer that no forward pass calls is no part of any network.
    return tuple(LayerSite(name, layer, when, *seen[name]) for name, layer, when in leaves if name in seen)


Part = tuple[str, nn.Module, tuple[Condition, ...]]
"""A module within another: its path, itself, and the conditions under which it runs."""


def _leaves(module: nn.Module, name: str = "", conditions: tuple[Condition, ...] = ()) -> Iterator[Part]:
    if isinstance(module, ElasticLayer) or next(module.children(), None) is None:
        yield name, module, conditions
        return
    if next(module.parameters(recurse=False), None) is not None:
        yield name, module, conditions  # its own parameters, such as a class token
    for local, child in members(module):
        condition = module.condition(local) if isinstance(module, ElasticStructure) else None
        path = f"{name}.{local}" if name else local
        yield from _leaves(child, path, conditions if condition is None else (*conditions, condition))


def members(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The children; those in a list or dict of modules count as the module's own."""
    for local, child in module.named_children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from ((f"{local}.{key}", member) for key, member in child.named_children())
        else:
            yield local, child


def covering(space: SearchSpace, parts: list[Part], seen: Mapping[str, Any]) -> Iterator[Mapping[str, Option]]:
    """Architectures that between them run each part: greedily, as many as agree and aren't in `seen` (by path) yet."""
    waiting = {name: conditions for name, _, conditions in parts if name not in seen}
    while waiting:
        fixed: dict[str, Option] = {}
        aimed_at: list[str] = []
        for name, conditions in waiting.items():
            pick = satisfy(conditions, fixed)
            if pick is not None:
                fixed.update(pick)
            if pick is not None or not fixed:
                aimed_at.append(name)  # where not even one alone can be satisfied, it never runs
        yield {choice.name: fixed.get(choice.name, choice.options[-1]) for choice in space.choices}
        # What was aimed at and still isn't seen is a layer that forward doesn't call.
        waiting = {name: c for name, c in waiting.items() if name not in seen and name not in aimed_at}


def satisfy(conditions: tuple[Condition, ...], fixed: Mapping[str, Option]) -> dict[str, Option] | None:
    """Options that make all conditions hold and agree with `fixed`, or None."""
    if not conditions:
        return {}
    (dim, values), *rest = conditions
    choices = choices_in(dim)
    options = [(fixed[choice.name],) if choice.name in fixed else choice.options for choice in choices]
    for picked in itertools.product(*options):
        pick = {choice.name: option for choice, option in zip(choices, picked, strict=True)}
        if resolve(dim, pick) in values:
            more = satisfy(tuple(rest), {**fixed, **pick})
            if more is not None:
                return {**pick, **more}
    return None


def _forward(supernet: Supernet, leaves: list[Part], input_shape: tuple[int, ...]) -> dict[str, Any]:
    """Shape and positions of each leaf that ran in a forward pass of one example."""
    facts: dict[str, tuple[tuple[int, ...], int]] = {}

    def hook(name: str) -> Any:
        def record(module: nn.Module, inputs: Any, output: Any) -> None:
            del inputs
            facts.setdefault(name, ((), 0))
            if isinstance(output, Tensor) and output.dim() >= 2:
                width = output.shape[-1 if isinstance(module, nn.Linear | Linear) else 1]
                shape, positions = tuple(output.shape[1:]), output.numel() // width // len(output)
                first = facts[name]
                facts[name] = (first[0] or shape, first[1] + positions)

        return record

    handles = [layer.register_forward_hook(hook(name)) for name, layer, _ in leaves]
    try:
        run_one_example(supernet, input_shape)
    finally:
        for handle in handles:
            handle.remove()
    return facts


def run_one_example(supernet: Supernet, input_shape: tuple[int, ...]) -> None:
    """The architecture in force on one example of zeros, in eval mode, for what hooks can see of it.

    Raises:
        InputError: the network can't take `input_shape`.
    """
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
