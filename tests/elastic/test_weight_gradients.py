"""Depthwise convolutions with a backward pass of their own against torch's: the same gradients, in fewer steps."""

from __future__ import annotations

import copy
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fpnas.elastic import weight_gradients
from fpnas.elastic.weight_gradients import input_gradient, quicken, weight_gradient


def made(channels: int, size: tuple[int, int], kernel: int, dtype: torch.dtype, n: int = 3) -> tuple[Tensor, Tensor]:
    stream = torch.Generator().manual_seed(0)
    x = torch.randn(n, channels, *size, generator=stream, dtype=dtype).to(memory_format=torch.channels_last)
    return x, torch.randn(channels, 1, kernel, kernel, generator=stream, dtype=dtype)


@pytest.mark.parametrize(("kernel", "stride"), list(product((1, 3, 4, 5, 7), (1, 2, 3))))
def test_both_gradients_are_torchs_in_float64_for_every_size_and_padding(kernel: int, stride: int) -> None:
    for high, wide, padding in product((1, 2, 3, 8), (1, 2, 5, 9), sorted({0, 1, kernel // 2})):
        if min(high, wide) + 2 * padding < kernel:
            continue
        x, weight = made(4, (high, wide), kernel, torch.float64)
        x.requires_grad_()
        weight.requires_grad_()
        y = F.conv2d(x, weight, None, stride, padding, 1, 4)
        gradient = torch.randn_like(y)
        of_x, of_weight = torch.autograd.grad(y, [x, weight], gradient)
        x, weight = x.detach(), weight.detach()
        torch.testing.assert_close(input_gradient(x, weight, gradient, stride, padding), of_x, rtol=0, atol=1e-10)
        found = weight_gradient(x, gradient, (kernel, kernel), stride, padding)
        torch.testing.assert_close(found, of_weight, rtol=0, atol=1e-10)


def test_a_few_images_at_a_time_come_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _ = made(4, (6, 6), 5, torch.float64, n=7)
    gradient = torch.randn_like(x)
    whole = weight_gradient(x, gradient, (5, 5), 1, 2)
    monkeypatch.setattr(weight_gradients, "AT_ONCE", 2 * x[0].numel() * x.element_size() // torch.get_num_threads())
    torch.testing.assert_close(weight_gradient(x, gradient, (5, 5), 1, 2), whole, rtol=0, atol=1e-12)


def plain(kernel: int = 5, stride: int = 1) -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, kernel, stride, kernel // 2, groups=16), nn.Conv2d(16, 4, 1)
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def learnt(network: nn.Module, x: Tensor) -> list[Tensor]:
    network.zero_grad()
    network(x).square().mean().backward()
    return [parameter.grad for parameter in network.parameters() if parameter.grad is not None]


@pytest.mark.parametrize(("size", "kernel", "stride"), [(16, 5, 1), (16, 7, 2), (2, 3, 1), (2, 5, 2)])
def test_a_quickened_network_learns_the_same(
    size: int, kernel: int, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(600 // size, 3, size, size).to(memory_format=torch.channels_last)
    monkeypatch.setattr(weight_gradients, "ELEMENTS", 1)
    asked: list[tuple[int, ...]] = []

    def noted(*given: object) -> Tensor:
        asked.append(tuple(given[0].shape))  # pyright: ignore[reportAttributeAccessIssue]
        return weight_gradient(*given)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(weight_gradients, "weight_gradient", noted)
    network = plain(kernel, stride)
    other = copy.deepcopy(network)
    quicken(other)
    copied = copy.deepcopy(other)  # as an average of the weights is
    expected = learnt(network, x)
    assert not asked
    for quick in (other, copied):
        assert type(quick.get_submodule("1")) is nn.Conv2d
        torch.testing.assert_close(learnt(quick, x), expected, rtol=1e-4, atol=1e-5)
    assert len(asked) == 2
    with torch.no_grad():
        copied.get_parameter("1.weight").zero_()
    assert not torch.equal(copied(x), other(x)), "the copy runs on its own weights"


def test_only_what_torch_is_slow_at_goes_this_way() -> None:
    x, weight = made(16, (16, 16), 5, torch.float32, n=16)
    weight.requires_grad_()

    def quick(x: Tensor, weight: Tensor, groups: int = 16) -> bool:
        y = weight_gradients.conv2d(x, weight, None, 1, weight.shape[-1] // 2, groups)
        return y.grad_fn is not None and "Depthwise" in type(y.grad_fn).__name__

    assert quick(x, weight)
    assert not quick(x, weight[..., 1:4, 1:4]), "three columns have a routine of their own"
    assert not quick(x[:1], weight), "too little to do"
    assert not quick(x.contiguous(), weight), "not channels last"
    assert not quick(x.double(), weight.double())
    assert not quick(x, weight.detach()), "no gradient is asked for"
    assert not quick(x, torch.randn(16, 16, 5, 5, requires_grad=True), groups=1)
    with torch.no_grad():
        assert not quick(x, weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert not quick(x, weight)
