"""Each elastic layer at every pick against plain torch on slices: outputs, gradients where they belong, none elsewhere.

In float64 to 1e-12. And each layer's plain counterpart computes the same, from copies.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from slices import assert_as_plain, every_arch, first, lone, random, sizes
from torch import Tensor, nn

from fpnas import Choice, InputError
from fpnas.elastic import (
    Activation,
    BatchNorm2d,
    Conv2d,
    DepthwiseConv2d,
    Derived,
    ElasticLayer,
    Linear,
    SplitAttention,
    SqueezeExcite,
    batch_statistics,
    scaled,
)
from fpnas.elastic.dims import largest, values_of
from fpnas.errors import SupernetError

INS, OUTS, KERNEL = Choice("ins", (2, 3)), Choice("outs", (3, 5)), Choice("kernel", (1, 3, 5))


def assert_plain_counterpart(layer: ElasticLayer, x: Tensor) -> nn.Module:
    """`extract()` computes the same, is torch's own, and shares nothing with the layer."""
    plain = layer.extract()
    expected = layer(x.clone())
    assert type(plain).__module__.startswith("torch.nn")
    torch.testing.assert_close(plain(x.clone()), expected, rtol=0, atol=1e-12)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    return plain


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(6, 6), (7, 5)])
def test_conv2d(stride: int, size: tuple[int, int]) -> None:
    layer = Conv2d(INS, OUTS, KERNEL, stride, bias=False)
    net = lone(layer)
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {
        "weights.1": (5, 3, 1, 1),
        "weights.3": (5, 3, 3, 3),
        "weights.5": (5, 3, 5, 5),
    }
    for arch in every_arch(net):
        net.select(arch)
        ins, outs, k = sizes(arch, "ins", "outs", "kernel")
        name = f"weights.{k}"

        def plain(w: dict[str, Tensor], x: Tensor, name: str = name, k: int = k) -> Tensor:
            return F.conv2d(F.pad(x, [k // 2] * 4), w[name], stride=stride)

        assert_as_plain(layer, plain, {name: (first(outs), first(ins))}, [random(2, ins, *size)])
        extracted = assert_plain_counterpart(layer, random(2, ins, *size))
        assert sum(p.numel() for p in extracted.parameters()) == ins * outs * k * k == layer.num_params(layer.values)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(6, 6), (7, 5)])
def test_depthwise_conv2d(stride: int, size: tuple[int, int]) -> None:
    kernel = Choice("kernel", (0, 3, 5))
    layer = DepthwiseConv2d(OUTS, kernel, stride, bias=False)
    net = lone(layer)
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {
        "weights.3": (5, 1, 3, 3),
        "weights.5": (5, 1, 5, 5),
    }
    for arch in every_arch(net):
        channels, k = sizes(arch, "outs", "kernel")
        if k == 0:
            continue  # kernel 0 is a bypass, which a Switch takes instead
        net.select(arch)
        name = f"weights.{k}"

        def plain(w: dict[str, Tensor], x: Tensor, name: str = name, k: int = k) -> Tensor:
            padded = F.pad(x, [k // 2] * 4)
            each = [F.conv2d(padded[:, [c]], w[name][[c]], stride=stride) for c in range(x.shape[1])]
            return torch.cat(each, dim=1)

        assert_as_plain(layer, plain, {name: (first(channels),)}, [random(2, channels, *size)])
        extracted = assert_plain_counterpart(layer, random(2, channels, *size))
        assert sum(p.numel() for p in extracted.parameters()) == channels * k * k == layer.num_params(layer.values)


@pytest.mark.parametrize("shape", [(4,), (2, 3)])
def test_linear(shape: tuple[int, ...]) -> None:
    layer = Linear(INS, OUTS)
    net = lone(layer)
    for arch in every_arch(net):
        net.select(arch)
        ins, outs = sizes(arch, "ins", "outs")

        def plain(w: dict[str, Tensor], x: Tensor) -> Tensor:
            return (x[..., None, :] * w["weight"]).sum(-1) + w["bias"]

        slices = {"weight": (first(outs), first(ins)), "bias": (first(outs),)}
        assert_as_plain(layer, plain, slices, [random(*shape, ins)])
        extracted = assert_plain_counterpart(layer, random(*shape, ins))
        assert sum(p.numel() for p in extracted.parameters()) == (ins + 1) * outs == layer.num_params(layer.values)


def batch_norm_by_hand(x: Tensor, mean: Tensor, variance: Tensor, w: dict[str, Tensor], eps: float) -> Tensor:
    shape = (1, -1, 1, 1)
    return (x - mean.view(shape)) / (variance.view(shape) + eps).sqrt() * w["weight"].view(shape) + w["bias"].view(
        shape
    )


@pytest.mark.parametrize("momentum", [0.1, 0.3])
def test_batch_norm_in_train_mode(momentum: float) -> None:
    layer = BatchNorm2d(OUTS, eps=1e-3, momentum=momentum)
    net = lone(layer).train()
    for arch in every_arch(net):
        net.select(arch)
        (width,) = sizes(arch, "outs")
        x = random(3, width, 4, 5)
        before = {name: value.clone() for name, value in layer.named_buffers()}
        torch_layer = nn.BatchNorm2d(width, eps=1e-3, momentum=momentum).double()
        for name in ("running_mean", "running_var"):
            torch_layer.get_buffer(name).copy_(before[name][:width])

        def plain(w: dict[str, Tensor], x: Tensor) -> Tensor:
            return batch_norm_by_hand(x, x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False), w, 1e-3)

        assert_as_plain(layer, plain, {"weight": (first(width),), "bias": (first(width),)}, [x])
        # One forward pass: the slice's running statistics are those of torch's own layer, the rest is as it was.
        torch_layer(x)
        assert int(layer.num_batches_tracked) == int(before["num_batches_tracked"]) + 1
        for name in ("running_mean", "running_var"):
            value = layer.get_buffer(name)
            torch.testing.assert_close(value[:width], torch_layer.get_buffer(name), rtol=0, atol=1e-12)
            assert torch.equal(value[width:], before[name][width:])
            assert not torch.equal(value[:width], before[name][:width])


def test_batch_norm_in_eval_mode() -> None:
    layer = BatchNorm2d(OUTS, eps=1e-3)
    net = lone(layer).eval()
    before = {name: value.clone() for name, value in layer.named_buffers()}
    for arch in every_arch(net):
        net.select(arch)
        (width,) = sizes(arch, "outs")

        def plain(w: dict[str, Tensor], x: Tensor, width: int = width) -> Tensor:
            mean, variance = before["running_mean"][:width], before["running_var"][:width]
            return batch_norm_by_hand(x, mean, variance, w, 1e-3)

        assert_as_plain(layer, plain, {"weight": (first(width),), "bias": (first(width),)}, [random(3, width, 4, 5)])
    assert all(torch.equal(value, before[name]) for name, value in layer.named_buffers())


@pytest.mark.parametrize("training", [True, False])
def test_batch_norms_plain_counterpart_has_its_statistics(training: bool) -> None:
    layer = BatchNorm2d(OUTS, momentum=0.3, eps=1e-3)
    net = lone(layer)
    layer.num_batches_tracked.fill_(7)
    for arch in every_arch(net):
        net.select(arch).train(training)
        (width,) = sizes(arch, "outs")
        plain = layer.extract().train(training)
        assert isinstance(plain, nn.BatchNorm2d)
        assert (plain.momentum, plain.eps, plain.num_features) == (0.3, 1e-3, width)
        assert plain.running_var is not None
        assert torch.equal(plain.running_var, layer.running_var[:width])
        x = random(3, width, 4, 5)
        torch.testing.assert_close(plain(x), layer(x), rtol=0, atol=1e-12)
        for name, value in plain.named_buffers():
            wanted = layer.get_buffer(name)
            torch.testing.assert_close(value, wanted[:width] if wanted.dim() else wanted, rtol=0, atol=1e-12)
        assert sum(p.numel() for p in plain.parameters()) == 2 * width == layer.num_params(layer.values)


@pytest.mark.parametrize("training", [True, False])
def test_batch_statistics_leave_the_running_ones_alone(training: bool) -> None:
    layer = BatchNorm2d(OUTS, eps=1e-3)
    net = lone(layer).train(training)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    for arch in every_arch(net):
        net.select(arch)
        (width,) = sizes(arch, "outs")

        def plain(w: dict[str, Tensor], x: Tensor) -> Tensor:
            return batch_norm_by_hand(x, x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False), w, 1e-3)

        with batch_statistics(net):
            assert_as_plain(
                layer, plain, {"weight": (first(width),), "bias": (first(width),)}, [random(3, width, 4, 5)]
            )
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_batch_statistics_end_with_the_block_even_after_an_error_and_when_nested() -> None:
    layer = BatchNorm2d(OUTS)
    net = lone(layer).eval()
    x = random(3, 5, 4, 4)
    running = layer(x)
    with batch_statistics(net):
        batch = layer(x)
        with batch_statistics(net):
            assert torch.equal(layer(x), batch)
        assert torch.equal(layer(x), batch)
    assert not torch.allclose(running, batch)
    assert torch.equal(layer(x), running)
    with pytest.raises(RuntimeError), batch_statistics(net):
        layer(random(3, 2, 4, 4))
    assert torch.equal(layer(x), running)


def test_activation() -> None:
    kind = Choice("kind", ("relu", "swish"))
    layer = Activation(kind)
    net = lone(layer)
    formulas = {"relu": lambda x: x * (x > 0), "swish": lambda x: x / (1 + (-x).exp())}
    for arch in every_arch(net):
        net.select(arch)
        formula = formulas[str(arch["kind"])]
        assert_as_plain(layer, lambda w, x, formula=formula: formula(x), {}, [random(2, 3, 4, 4)])
        assert_plain_counterpart(layer, random(2, 3, 4, 4))
        assert layer.num_params(layer.values) == 0


def test_activation_refuses_an_unknown_kind() -> None:
    with pytest.raises(InputError, match="did you mean 'swish'"):
        Activation(Choice("kind", ("relu", "swich")))


WIDTH = Choice("width", (4, 6, 8))


def test_squeeze_excite() -> None:
    layer = SqueezeExcite(WIDTH)
    net = lone(Holder(layer))
    for arch in every_arch(net):
        net.select(arch)
        (width,) = sizes(arch, "width")
        inner = {4: 1, 6: 2, 8: 2}[width]  # a quarter, rounded, half up

        def plain(w: dict[str, Tensor], x: Tensor) -> Tensor:
            hidden = (x.mean((2, 3)) @ w["reduce.weight"].T + w["reduce.bias"]).clamp(min=0)
            gate = 1 / (1 + (-(hidden @ w["head.weight"].T + w["head.bias"])).exp())
            return x * gate[:, :, None, None]

        slices = {
            "reduce.weight": (first(inner), first(width)),
            "reduce.bias": (first(inner),),
            "head.weight": (first(width), first(inner)),
            "head.bias": (first(width),),
        }
        assert_as_plain(layer, plain, slices, [random(3, width, 3, 2)], call=lambda x: layer([x]))


@pytest.mark.parametrize("splits", [2, 3, 4])
def test_split_attention(splits: int) -> None:
    layer = SplitAttention(WIDTH, splits)
    net = lone(Holder(layer))
    for arch in every_arch(net):
        net.select(arch)
        (width,) = sizes(arch, "width")
        inner = {4: 1, 6: 2, 8: 2}[width]  # whatever the number of splits

        def plain(w: dict[str, Tensor], *xs: Tensor) -> Tensor:
            pooled = sum(xs[1:], start=xs[0]).mean((2, 3))
            hidden = (pooled @ w["reduce.weight"].T + w["reduce.bias"]).clamp(min=0)
            heads = [hidden @ w[f"heads.{i}.weight"].T + w[f"heads.{i}.bias"] for i in range(len(xs))]
            total = sum(head.exp() for head in heads)
            return torch.stack([x * (h.exp() / total)[:, :, None, None] for x, h in zip(xs, heads, strict=True)]).sum(0)

        slices = {"reduce.weight": (first(inner), first(width)), "reduce.bias": (first(inner),)}
        for head in range(splits):
            slices |= {f"heads.{head}.weight": (first(width), first(inner)), f"heads.{head}.bias": (first(width),)}
        inputs = [random(3, width, 3, 2, seed=seed) for seed in range(splits)]
        assert_as_plain(layer, plain, slices, inputs, call=lambda *xs: layer(xs))


class Holder(nn.Module):
    """Something that is no elastic layer itself, around one."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer


# ------------------------------------------------------------------------------------------------ arguments


@pytest.mark.parametrize(
    ("factors", "expected"),
    [((16, 0.75), 12), ((2, 0.75), 2), ((2, 1.25), 3), ((1, 0.25), 1), ((3, 4.5), 14), ((7, 2, 0.5), 7)],
)
def test_scaled_rounds_half_up_and_is_at_least_1(factors: tuple[int | float, ...], expected: int) -> None:
    assert values_of(scaled(*factors)) == (expected,)


def test_a_width_derived_from_choices() -> None:
    expansion = Choice("expansion", (0.5, 2.0))
    hidden = scaled(INS, expansion)
    assert sorted(values_of(hidden)) == [1, 2, 4, 6]
    layer = Linear(hidden, Derived(lambda a, b: a + b, (INS, hidden)))
    assert tuple(layer.weight.shape) == (9, 6)
    net = lone(layer)
    shape = {(2, 0.5): (3, 1), (2, 2.0): (6, 4), (3, 0.5): (5, 2), (3, 2.0): (9, 6)}
    for arch in every_arch(net):
        net.select(arch)
        outs, ins = shape[arch["ins"], arch["expansion"]]  # type: ignore[index]
        assert layer(random(2, ins)).shape == (2, outs)


@pytest.mark.parametrize("options", [(0, 4), (-1,), (2, 3.5), ("a",)])
def test_widths_are_whole_numbers_above_0(options: tuple[int | float | str, ...]) -> None:
    with pytest.raises(SupernetError, match="whole numbers above 0"):
        Linear(3, Choice("outs", options))


def test_whole_floats_are_integers() -> None:
    """8 == 8.0 and hash(8) == hash(8.0): a cache over such keys would answer one with the other."""
    choice = Choice("cached", (8.0, 16.0, 4.5, True))
    assert [type(option) for option in choice.options] == [int, int, float, int]
    assert largest(Choice("widths", (8.0, 16.0))) == largest(Choice("widths", (8, 16))) == 16


def test_without_choices_a_layer_is_a_plain_one() -> None:
    layer = Conv2d(3, 4, 3, bias=False)
    with torch.no_grad():
        layer.weights["3"].normal_()
    plain = layer.extract()
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(layer(x), plain(x))


def test_repr_names_the_choices() -> None:
    layer = Conv2d(INS, 8, bias=False)
    assert "in_channels=ins, out_channels=8" in repr(layer)
