"""Slow and obvious: what an elastic layer must do, as a plain torch function on slices that the test names."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from fpnas import Arch, Supernet
from fpnas.elastic import ElasticLayer
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
    slices: Slices | None,
    inputs: Sequence[Tensor],
    call: Callable[..., Tensor] | None = None,
) -> None:
    """Output and gradients of `layer` are those of `plain(leaves, *inputs)`, and what doesn't run gets no gradient.

    To 1e-12, gradients to 1e-11.

    Args:
        layer: elastic, its pick in force.
        plain: takes a dict of leaves, then the inputs.
        slices: what of each parameter runs, which are the leaves; None hands `plain` copies of the whole parameters, so
            that autograd itself says where a gradient belongs.
        inputs: tensors.
        call: how to call the layer on the inputs, where that is not `layer(*inputs)`.
    """
    layer.zero_grad(set_to_none=True)
    parameters = dict(layer.named_parameters())
    ours = [x.clone().requires_grad_() for x in inputs]
    theirs = [x.clone().requires_grad_() for x in inputs]
    # Times 1: layers may work in place, as batch norm's output isn't needed again, and a leaf can't be written to.
    output = (call or layer)(*(x * 1 for x in ours))
    parts = dict.fromkeys(parameters, ()) if slices is None else slices
    leaves = {name: parameters[name].detach()[part].clone().requires_grad_() for name, part in parts.items()}
    expected = plain(leaves, *theirs)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)

    cotangent = random(*output.shape, seed=99)
    output.backward(cotangent)
    expected.backward(cotangent)
    for mine, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, wanted.grad, rtol=0, atol=1e-11)
    for name, parameter in parameters.items():
        gradient = leaves[name].grad if name in leaves else None
        if gradient is None:
            assert slices is None or name not in slices, f"{name} did not run in plain torch"
            assert parameter.grad is None, f"{name} ran"
            continue
        if slices is not None:
            assert bool((gradient != 0).any()), f"a test in which {name} has no gradient proves nothing"
        whole = torch.zeros_like(parameter)
        whole[parts[name]] = gradient
        torch.testing.assert_close(parameter.grad, whole, rtol=0, atol=1e-11)


def assert_every_arch(
    layer: ElasticLayer,
    plain: Callable[..., Tensor],
    slices: Callable[[Arch], Slices],
    shape: Callable[[Arch], Sequence[int]],
    *,
    training: bool = True,
) -> None:
    """`assert_as_plain` at every pick, and `assert_extracted`; kernel 0 is a bypass, which a Switch takes instead.

    Args:
        layer: elastic.
        plain: takes the architecture, a dict of the sliced parameters and the input.
        slices: of an architecture, what of each parameter runs.
        shape: of an architecture, that of the input.
        training: the layer's mode.
    """
    net = lone(layer).train(training)
    for arch in every_arch(net):
        if arch.get("kernel") != 0:
            net.select(arch)
            x = random(*shape(arch))
            assert_as_plain(layer, partial(plain, arch), slices(arch), [x])
            assert_extracted(layer, x)


def assert_extracted(layer: ElasticLayer, x: Tensor) -> nn.Module:
    """`extract()` computes the same, is torch's own, has as many parameters as are counted, and shares nothing."""
    plain = layer.extract().train(layer.training)
    assert type(plain).__module__.startswith("torch.nn")
    assert sum(p.numel() for p in plain.parameters()) == layer.num_params(layer.values)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    torch.testing.assert_close(plain(x.clone()), layer(x.clone()), rtol=0, atol=1e-12)
    layer.load_state_dict(before)  # running statistics have moved
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    return plain


def sizes(arch: Mapping[str, Option], *names: str) -> list[int]:
    """Options that are whole numbers, by name."""
    return [int(arch[name]) for name in names]
