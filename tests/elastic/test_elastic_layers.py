"""Each elastic layer at every pick against plain torch on slices: outputs, gradients where they belong, none elsewhere.

In float64 to 1e-12. And each layer's plain counterpart computes the same, from copies.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from slices import Slices, assert_as_plain, assert_every_arch, assert_extracted, every_arch, first, lone, random, sizes
from torch import Tensor, nn

from fpnas import Arch, Choice, InputError
from fpnas.elastic import (
    Activation,
    BatchNorm1d,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    DepthwiseConv2d,
    Derived,
    Embedding,
    GroupedConv2d,
    LayerNorm,
    Linear,
    MultiHeadAttention,
    SplitAttention,
    SqueezeExcite,
    batch_statistics,
    joined,
    scaled,
)
from fpnas.elastic.dims import largest, values_of
from fpnas.errors import SupernetError

INS, OUTS, KERNEL = Choice("ins", (2, 3)), Choice("outs", (3, 5)), Choice("kernel", (1, 3, 5))
HEADS, WIDTH = Choice("h", (1, 2, 3)), Choice("width", (4, 6, 8))
Parameters = dict[str, Tensor]

# -------------------------------------------------------------------------------------- convolutions and linear layers


@pytest.mark.parametrize("kind", [Conv2d, DepthwiseConv2d, Conv1d])
@pytest.mark.parametrize("size", [(6, 6), (7, 5)])
@pytest.mark.parametrize(
    ("stride", "padding", "bias"), [(1, None, False), (2, None, False), (2, None, True), (2, 0, True), (1, 2, True)]
)
def test_convolutions(kind: type, size: tuple[int, ...], stride: int, padding: int | None, bias: bool) -> None:
    depthwise, axes = kind is DepthwiseConv2d, 1 if kind is Conv1d else 2
    channels = (OUTS, Choice("kernel", (0, 3, 5))) if depthwise else (INS, OUTS, KERNEL)
    layer = kind(*channels, stride, padding, bias)
    kernels = (3, 5) if depthwise else (1, 3, 5)
    shapes = {name: tuple(p.shape) for name, p in layer.named_parameters() if name != "bias"}
    assert shapes == {f"weights.{k}": (5, 1 if depthwise else 3, *[k] * axes) for k in kernels}

    def plain(arch: Arch, w: Parameters, x: Tensor) -> Tensor:
        (k,) = sizes(arch, "kernel")
        convolve, weight = F.conv1d if axes == 1 else F.conv2d, w[f"weights.{k}"]
        x = F.pad(x, [k // 2 if padding is None else padding] * 2 * axes)
        if depthwise:
            y = torch.cat([convolve(x[:, [c]], weight[[c]], stride=stride) for c in range(x.shape[1])], dim=1)
        else:
            y = convolve(x, weight, stride=stride)
        return y + w["bias"].view(-1, *[1] * axes) if bias else y

    def slices(arch: Arch) -> Slices:
        outs, k = sizes(arch, "outs", "kernel")
        weight = (first(outs),) if depthwise else (first(outs), first(int(arch["ins"])))
        return {f"weights.{k}": weight, **({"bias": (first(outs),)} if bias else {})}

    def shape(arch: Arch) -> tuple[int, ...]:
        return 2, int(arch["outs" if depthwise else "ins"]), *size[:axes]

    assert_every_arch(layer, plain, slices, shape)


LEFT, RIGHT = Choice("left", (1, 3)), Choice("right", (2, 4))


def kept(arch: Arch, twice: bool = False) -> list[int]:
    """Of 3 + 2 + 4 channels, as of two choices with a number between: the first of each; of pairs where `twice`."""
    left, right = sizes(arch, "left", "right")
    found = [*range(left), 3, 4, *range(5, 5 + right)]
    return [2 * channel + n for channel in found for n in (0, 1)] if twice else found


@pytest.mark.parametrize("kind", [Conv2d, Linear])
def test_joined_widths_on_both_sides(kind: type) -> None:
    layer = kind(joined(LEFT, 2, RIGHT), joined(OUTS, LEFT))
    assert [p.shape[:2] for p in layer.parameters() if p.dim() > 1] == [(8, 9)]

    def plain(arch: Arch, w: Parameters, x: Tensor) -> Tensor:
        rows = [*range(int(arch["outs"])), *(5 + n for n in range(int(arch["left"])))]
        weight = w["weight" if kind is Linear else "weights.1"][rows][:, kept(arch)]
        return (F.linear if kind is Linear else F.conv2d)(x, weight, w["bias"][rows])

    def shape(arch: Arch) -> tuple[int, ...]:
        return (2, 3, len(kept(arch))) if kind is Linear else (2, len(kept(arch)), 3, 4)

    assert_every_arch(layer, plain, lambda _: None, shape)


@pytest.mark.parametrize(("ins", "outs"), [(1, 1), (2, 3)])
@pytest.mark.parametrize("stride", [1, 2])
def test_whole_groups(ins: int, outs: int, stride: int) -> None:
    groups = Choice("groups", (1, 2, 4))
    layer = GroupedConv2d(scaled(groups, ins), scaled(groups, outs), ins, outs, 3, stride)

    def plain(arch: Arch, w: Parameters, x: Tensor) -> Tensor:
        (count,) = sizes(arch, "groups")
        rows = [slice(outs * n, outs * (n + 1)) for n in range(count)]
        parts = zip(rows, x.chunk(count, 1), strict=True)
        return torch.cat([F.conv2d(x, w["weights.3"][r], w["bias"][r], stride, 1) for r, x in parts], dim=1)

    def slices(arch: Arch) -> Slices:
        return {"weights.3": (first(outs * int(arch["groups"])),), "bias": (first(outs * int(arch["groups"])),)}

    assert_every_arch(layer, plain, slices, lambda arch: (2, ins * int(arch["groups"]), 5, 4))


def test_groups_of_joined_widths() -> None:
    width = joined(*(scaled(part, 2) for part in (LEFT, 2, RIGHT)))
    layer = GroupedConv2d(width, width, 2, 2, 3)

    def plain(arch: Arch, w: Parameters, x: Tensor) -> Tensor:
        channels = kept(arch, twice=True)
        return F.conv2d(x, w["weights.3"][channels], w["bias"][channels], padding=1, groups=len(channels) // 2)

    assert_every_arch(layer, plain, lambda _: None, lambda arch: (2, len(kept(arch, twice=True)), 4, 4))


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_of_joined_widths(training: bool) -> None:
    layer = BatchNorm2d(joined(LEFT, 2, RIGHT), momentum=0.3)

    def plain(arch: Arch, w: Parameters, x: Tensor) -> Tensor:
        rows = kept(arch)
        means, variances = before["running_mean"][rows], before["running_var"][rows]
        y = F.batch_norm(x, means, variances, w["weight"][rows], w["bias"][rows], training, 0.3)
        wanted = {
            **before,
            "running_mean": before["running_mean"].clone(),
            "running_var": before["running_var"].clone(),
        }
        wanted["running_mean"][rows], wanted["running_var"][rows] = means, variances
        for name in ("running_mean", "running_var"):
            torch.testing.assert_close(layer.state_dict()[name], wanted[name], rtol=0, atol=1e-12)
        return y

    net = lone(layer).train(training)
    for arch in every_arch(net):
        net.select(arch)
        before = {name: value.clone() for name, value in layer.state_dict().items()}
        x = random(3, len(kept(arch)), 2, 2)
        assert_as_plain(layer, lambda w, x, arch=arch: plain(arch, w, x), None, [x])
        assert_extracted(layer, x)


@pytest.mark.parametrize("leading", [(4,), (2, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(leading: tuple[int, ...], bias: bool) -> None:
    def plain(_: Arch, w: Parameters, x: Tensor) -> Tensor:
        return (x[..., None, :] * w["weight"]).sum(-1) + (w["bias"] if bias else 0)

    def slices(arch: Arch) -> Slices:
        ins, outs = sizes(arch, "ins", "outs")
        return {"weight": (first(outs), first(ins)), **({"bias": (first(outs),)} if bias else {})}

    assert_every_arch(Linear(INS, OUTS, bias), plain, slices, lambda arch: (*leading, int(arch["ins"])))


def test_embedding() -> None:
    layer = Embedding(7, OUTS, padding_idx=0)
    net = lone(layer)
    tokens = torch.tensor([[1, 6, 0], [2, 2, 0]])
    for arch in every_arch(net):
        net.select(arch)
        layer.zero_grad()
        (width,) = sizes(arch, "outs")
        output = layer(tokens)
        assert torch.equal(output, layer.weight[:, :width][tokens])
        output.sum().backward()
        times = torch.tensor([0, 1, 2, 0, 0, 0, 1], dtype=torch.float64)  # the padding gets none
        wanted = torch.zeros(7, 5, dtype=torch.float64)
        wanted[:, :width] = times[:, None]
        assert layer.weight.grad is not None
        assert torch.equal(layer.weight.grad, wanted)
        extracted = assert_extracted(layer, tokens)
        assert isinstance(extracted, nn.Embedding)
        assert (extracted.padding_idx, tuple(extracted.weight.shape)) == (0, (7, width))


# --------------------------------------------------------------------------------------------------------------- norms


def norm_slices(arch: Arch) -> Slices:
    (width,) = sizes(arch, "outs")
    return {"weight": (first(width),), "bias": (first(width),)}


def normed(w: Parameters, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Along axis 1, with an epsilon of 1e-3."""
    shape = (-1, *[1] * (x.dim() - 2))
    scaled = (x - mean.view(shape)) / (variance.view(shape) + 1e-3).sqrt()
    return scaled * w["weight"].view(shape) + w["bias"].view(shape)


def by_batch(_: Arch, w: Parameters, x: Tensor) -> Tensor:
    axes = [axis for axis in range(x.dim()) if axis != 1]
    return normed(w, x, x.mean(axes), x.var(axes, unbiased=False))


def test_layer_norm() -> None:
    def plain(_: Arch, w: Parameters, x: Tensor) -> Tensor:
        mean, variance = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
        return (x - mean) / (variance + 1e-3).sqrt() * w["weight"] + w["bias"]

    assert_every_arch(LayerNorm(OUTS, eps=1e-3), plain, norm_slices, lambda arch: (2, 4, int(arch["outs"])))


@pytest.mark.parametrize(("kind", "torchs"), [(BatchNorm1d, nn.BatchNorm1d), (BatchNorm2d, nn.BatchNorm2d)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norms(kind: type[BatchNorm2d], torchs: type[nn.BatchNorm2d], training: bool) -> None:
    layer = kind(OUTS, eps=1e-3, momentum=0.3)
    positions = (4, 5) if kind is BatchNorm2d else ()

    def plain(arch: Arch, w: Parameters, x: Tensor) -> Tensor:
        (width,) = sizes(arch, "outs")
        return by_batch(arch, w, x) if training else normed(w, x, layer.running_mean[:width], layer.running_var[:width])

    def shape(arch: Arch) -> tuple[int, ...]:
        return 6, int(arch["outs"]), *positions

    assert_every_arch(layer, plain, norm_slices, shape, training=training)
    # One forward pass: the slice's running statistics are those of torch's own layer, the rest is as it was.
    net = lone(layer).train(training)
    for arch in every_arch(net):
        net.select(arch)
        before = {name: value.clone() for name, value in layer.named_buffers()}
        own, (_, width, *_) = layer.extract().train(training), shape(arch)
        assert isinstance(own, torchs)
        assert (own.momentum, own.eps, own.num_features) == (0.3, 1e-3, width)
        layer(random(*shape(arch)))
        own(random(*shape(arch)))
        for name, value in layer.named_buffers():
            wanted = own.get_buffer(name)
            torch.testing.assert_close(value[:width] if value.dim() else value, wanted, rtol=0, atol=1e-12)
            assert not value.dim() or torch.equal(value[width:], before[name][width:])
            assert torch.equal(value, before[name]) is not training


@pytest.mark.parametrize("training", [True, False])
def test_batch_statistics_leave_the_running_ones_alone(training: bool) -> None:
    layer = BatchNorm2d(OUTS, eps=1e-3)
    net = lone(layer).train(training)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    for arch in every_arch(net):
        net.select(arch)
        with batch_statistics(net):
            x = random(3, int(arch["outs"]), 4, 5)
            assert_as_plain(layer, lambda w, x, arch=arch: by_batch(arch, w, x), norm_slices(arch), [x])
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


# ------------------------------------------------------------------------------------------- activations and attention


def test_activation() -> None:
    def plain(arch: Arch, _: Parameters, x: Tensor) -> Tensor:
        return x * (x > 0) if arch["kind"] == "relu" else x / (1 + (-x).exp())

    layer = Activation(Choice("kind", ("relu", "swish")))
    assert_every_arch(layer, plain, lambda _: {}, lambda _: (2, 3, 4, 4))
    with pytest.raises(InputError, match="did you mean 'swish'"):
        Activation(Choice("kind", ("relu", "swich")))


def test_piecewise_linear_activations() -> None:
    """torch's own gradients of these hold a sixth in float32 alone."""
    x = torch.linspace(-5, 5, 101, dtype=torch.float64, requires_grad=True)
    gate = (x / 6 + 0.5).clamp(0, 1)
    for kind, expected in (("hardswish", x * gate), ("hardsigmoid", gate)):
        found = Activation(kind)(x)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)
        slopes = [torch.autograd.grad(y.sum(), x, retain_graph=True)[0] for y in (found, expected)]
        inside = (x.detach().abs() - 3).abs() > 1e-9  # at the corners either slope is right
        torch.testing.assert_close(slopes[0][inside], slopes[1][inside], rtol=0, atol=1e-6)


class Holder(nn.Module):
    """Something that is no elastic layer itself, around one."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer


@pytest.mark.parametrize("splits", [1, 2, 3, 4])
def test_attention_over_channels(splits: int) -> None:
    """Squeeze-excite of one split, split attention of several."""
    layer = SqueezeExcite(WIDTH) if splits == 1 else SplitAttention(WIDTH, splits)
    heads = ["head"] if splits == 1 else [f"heads.{i}" for i in range(splits)]
    net = lone(Holder(layer))

    def plain(w: Parameters, *xs: Tensor) -> Tensor:
        pooled = sum(xs[1:], start=xs[0]).mean((2, 3))
        hidden = (pooled @ w["reduce.weight"].T + w["reduce.bias"]).clamp(min=0)
        scores = [(hidden @ w[f"{head}.weight"].T + w[f"{head}.bias"]).exp() for head in heads]
        total = sum(scores) if splits > 1 else 1 + scores[0]
        return torch.stack([x * (score / total)[:, :, None, None] for x, score in zip(xs, scores, strict=True)]).sum(0)

    for arch in every_arch(net):
        net.select(arch)
        (width,) = sizes(arch, "width")
        inner = {4: 1, 6: 2, 8: 2}[width]  # a quarter, rounded, half up, whatever the number of splits
        slices = {"reduce.weight": (first(inner), first(width)), "reduce.bias": (first(inner),)}
        for head in heads:
            slices |= {f"{head}.weight": (first(width), first(inner)), f"{head}.bias": (first(width),)}
        inputs = [random(3, width, 3, 2, seed=seed) for seed in range(splits)]
        assert_as_plain(layer, plain, slices, inputs, call=lambda *xs: layer(xs))


def attention_by_hand(p: Parameters, x: Tensor, context: Tensor, heads: int, allowed: Tensor) -> Tensor:
    """Head by head, query by query; `allowed` (N, T, S)."""

    def project(name: str, y: Tensor) -> Tensor:
        return y @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    q, k, v = project("queries", x), project("keys", context), project("values", context)
    parts = []
    for head in range(heads):
        own = slice(4 * head, 4 * head + 4)
        scores = torch.einsum("ntd,nsd->nts", q[..., own], k[..., own]) / math.sqrt(4)
        weights = scores.masked_fill(~allowed, -math.inf).softmax(-1)
        parts.append(torch.einsum("nts,nsd->ntd", weights, v[..., own]))
    return project("project", torch.cat(parts, -1))


@pytest.mark.parametrize("kind", ["self", "context", "mask", "causal"])
def test_multi_head_attention(kind: str) -> None:
    layer = MultiHeadAttention(OUTS, HEADS, head_dim=4, causal=kind == "causal")
    net = lone(layer)
    assert layer.queries.weight.shape == (12, 5)
    mask = torch.tensor([[True] * 4, [True, False, True, False]]) if kind == "mask" else None
    allowed = torch.ones(2, 4, 6 if kind == "context" else 4, dtype=torch.bool)
    allowed = allowed.tril() if kind == "causal" else allowed if mask is None else allowed & mask[:, None]
    for arch in every_arch(net):
        net.select(arch)
        width, heads = sizes(arch, "outs", "h")
        slices: dict[str, tuple[slice, ...]] = {}
        for name, ins, outs in (
            *((n, width, 4 * heads) for n in ("queries", "keys", "values")),
            ("project", 4 * heads, width),
        ):
            slices |= {f"{name}.weight": (first(outs), first(ins)), f"{name}.bias": (first(outs),)}
        inputs = [random(2, 4, width), *([random(2, 6, width, seed=2)] if kind == "context" else [])]

        def call(x: Tensor, context: Tensor | None = None) -> Tensor:
            return layer(x, context, mask)

        def plain(p: Parameters, x: Tensor, context: Tensor | None = None, heads: int = heads) -> Tensor:
            return attention_by_hand(p, x, x if context is None else context, heads, allowed)

        assert_as_plain(layer, plain, slices, inputs, call)


# ----------------------------------------------------------------------------------------------------------- arguments


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


def test_without_choices_a_layer_is_a_plain_one_and_repr_names_those_there_are() -> None:
    layer = Conv2d(3, 4, 3, bias=False)
    with torch.no_grad():
        layer.weights["3"].normal_()
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(layer(x), layer.extract()(x))
    assert "in_channels=ins, out_channels=8" in repr(Conv2d(INS, 8, bias=False))
