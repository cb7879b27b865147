"""Slow and obvious: what an elastic layer must do, as a plain torch function on slices that the test names."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from fpnas import Arch, Supernet
from fpnas.space import Option

Slices = Mapping[str, tuple[slice, ...]]
"""Parameter name -> the part of it that runs; a parameter that isn't named must not run at all."""

first = slice
"""first(n) is the first n, as in `weight[:n]`."""


def every_arch(net: Supernet) -> Iterator[Arch]:
    """All architectures of a supernet's space."""
    names = [choice.name for choice in net.space.choices]
    for options in itertools.product(*(choice.options for choice in net.space.choices)):
        yield Arch(dict(zip(names, options, strict=True)))


def lone(layer: nn.Module, seed: int = 0) -> Supernet:
    """A supernet around one layer, in float64, every parameter and buffer of its own made random."""
    net = Supernet(nn.ModuleList([layer])).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*net.parameters(), *(b for b in net.buffers() if b.is_floating_point())]:
            tensor.copy_(torch.rand(tensor.shape, generator=generator, dtype=torch.float64) + 0.2)
            if tensor.dim() > 1:
                tensor.sub_(0.7)
    return net


def random(*shape: int, seed: int = 1) -> Tensor:
    """A normal tensor in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_as_plain(
    layer: nn.Module,
    plain: Callable[..., Tensor],
    slices: Slices,
    inputs: Sequence[Tensor],
    call: Callable[..., Tensor] | None = None,
) -> None:
    """Output and gradients of `layer` are those of `plain(slices, *inputs)`, whose slices are leaves of their own; and
    what lies outside the slices gets no gradient. All to 1e-12.

    Args:
        layer: elastic, its pick in force.
        plain: takes a dict of the sliced parameters, then the inputs.
        slices: what of each parameter runs.
        inputs: tensors.
        call: how to call the layer on the inputs, where that is not `layer(*inputs)`.
    """
    layer.zero_grad(set_to_none=True)
    parameters = dict(layer.named_parameters())
    ours = [x.clone().requires_grad_() for x in inputs]
    theirs = [x.clone().requires_grad_() for x in inputs]
    # Times 1: layers may work in place, as batch norm's output isn't needed again, and a leaf can't be written to.
    output = (call or layer)(*(x * 1 for x in ours))
    leaves = {name: parameters[name].detach()[part].clone().requires_grad_() for name, part in slices.items()}
    expected = plain(leaves, *theirs)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)

    cotangent = random(*output.shape, seed=99)
    output.backward(cotangent)
    expected.backward(cotangent)
    for mine, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, wanted.grad, rtol=0, atol=1e-12)
    for name, parameter in parameters.items():
        wanted = torch.zeros_like(parameter)
        if name in slices:
            leaf = leaves[name].grad
            assert leaf is not None
            assert bool((leaf != 0).any()), f"a test in which {name} has no gradient proves nothing"
            wanted[slices[name]] = leaf
        else:
            assert parameter.grad is None, f"{name} ran"
            continue
        torch.testing.assert_close(parameter.grad, wanted, rtol=0, atol=1e-12)


def sizes(arch: Mapping[str, Option], *names: str) -> list[int]:
    """Options that are whole numbers, by name."""
    return [int(arch[name]) for name in names]
