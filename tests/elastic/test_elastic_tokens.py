"""Layers of attention networks at every pick against their formulas on slices, as in the other file.

Outputs and gradients in float64 to 1e-12, and each layer's plain counterpart computes the same.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from slices import assert_as_plain, every_arch, first, lone, random, sizes
from torch import Tensor, nn

from fpnas import Choice, Supernet
from fpnas.elastic import (
    BatchNorm1d,
    Conv1d,
    Conv2d,
    DepthwiseConv2d,
    Embedding,
    LayerNorm,
    Linear,
    MultiHeadAttention,
    batch_statistics,
)

INS, OUTS, KERNEL, HEADS = (
    Choice("ins", (2, 3)),
    Choice("outs", (3, 5)),
    Choice("kernel", (1, 3)),
    Choice("h", (1, 2, 3)),
)


def test_layer_norm() -> None:
    layer = LayerNorm(OUTS, eps=1e-3)
    net = lone(layer)
    for arch in every_arch(net):
        net.select(arch)
        (width,) = sizes(arch, "outs")

        def plain(w: dict[str, Tensor], x: Tensor) -> Tensor:
            mean, variance = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
            return (x - mean) / (variance + 1e-3).sqrt() * w["weight"] + w["bias"]

        x = random(2, 4, width)
        assert_as_plain(layer, plain, {"weight": (first(width),), "bias": (first(width),)}, [x])
        extracted = layer.extract()
        assert type(extracted) is nn.LayerNorm
        torch.testing.assert_close(extracted(x), layer(x), rtol=0, atol=1e-12)


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
        grad = layer.weight.grad
        assert grad is not None
        times = torch.tensor([0, 1, 2, 0, 0, 0, 1], dtype=torch.float64)  # the padding gets none
        wanted = torch.zeros(7, 5, dtype=torch.float64)
        wanted[:, :width] = times[:, None]
        assert torch.equal(grad, wanted)
        extracted = layer.extract()
        assert type(extracted) is nn.Embedding
        assert extracted.padding_idx == 0
        assert torch.equal(extracted(tokens), output)
        assert sum(p.numel() for p in extracted.parameters()) == layer.num_params(layer.values) == 7 * width


@pytest.mark.parametrize("stride", [1, 2])
def test_conv1d(stride: int) -> None:
    layer = Conv1d(INS, OUTS, KERNEL, stride)
    net = lone(layer)
    for arch in every_arch(net):
        net.select(arch)
        ins, outs, k = sizes(arch, "ins", "outs", "kernel")
        name = f"weights.{k}"

        def plain(w: dict[str, Tensor], x: Tensor, name: str = name, k: int = k) -> Tensor:
            windows = F.pad(x, [k // 2] * 2).unfold(2, k, stride)
            return torch.einsum("nilk,oik->nol", windows, w[name]) + w["bias"][:, None]

        x = random(2, ins, 7)
        assert_as_plain(layer, plain, {name: (first(outs), first(ins)), "bias": (first(outs),)}, [x])
        extracted = layer.extract()
        torch.testing.assert_close(extracted(x), layer(x), rtol=0, atol=1e-12)
        assert sum(p.numel() for p in extracted.parameters()) == layer.num_params(layer.values)


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("padding", [None, 0, 2])
def test_convolutions_with_bias_and_their_own_padding(depthwise: bool, padding: int | None) -> None:
    layer = (
        DepthwiseConv2d(OUTS, KERNEL, 2, bias=True, padding=padding)
        if depthwise
        else Conv2d(INS, OUTS, KERNEL, 2, bias=True, padding=padding)
    )
    net = lone(layer)
    for arch in every_arch(net):
        net.select(arch)
        outs, k = sizes(arch, "outs", "kernel")
        ins = outs if depthwise else sizes(arch, "ins")[0]
        pad, name, groups = k // 2 if padding is None else padding, f"weights.{k}", outs if depthwise else 1

        def plain(w: dict[str, Tensor], x: Tensor, name: str = name, pad: int = pad, groups: int = groups) -> Tensor:
            return F.conv2d(F.pad(x, [pad] * 4), w[name], w["bias"], 2, 0, 1, groups)

        part = (first(outs),) if depthwise else (first(outs), first(ins))
        x = random(2, ins, 6, 7)
        assert_as_plain(layer, plain, {name: part, "bias": (first(outs),)}, [x])
        extracted = layer.extract()
        torch.testing.assert_close(extracted(x), layer(x), rtol=0, atol=1e-12)
        assert sum(p.numel() for p in extracted.parameters()) == layer.num_params(layer.values)


def test_linear_without_bias() -> None:
    layer = Linear(INS, OUTS, bias=False)
    net = lone(layer)
    for arch in every_arch(net):
        net.select(arch)
        ins, outs = sizes(arch, "ins", "outs")
        assert_as_plain(layer, lambda w, x: x @ w["weight"].T, {"weight": (first(outs), first(ins))}, [random(4, ins)])
        assert sum(p.numel() for p in layer.extract().parameters()) == layer.num_params(layer.values) == ins * outs


def test_batch_norm_1d() -> None:
    layer = BatchNorm1d(OUTS)
    net = lone(layer).train()
    for arch in every_arch(net):
        net.select(arch)
        (width,) = sizes(arch, "outs")
        x = random(6, width)

        def plain(w: dict[str, Tensor], x: Tensor) -> Tensor:
            return (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt() * w["weight"] + w["bias"]

        with batch_statistics(net):
            before = layer.running_mean.clone()
            assert_as_plain(layer, plain, {"weight": (first(width),), "bias": (first(width),)}, [x])
            assert torch.equal(layer.running_mean, before)
        extracted = layer.extract().eval()
        assert type(extracted) is nn.BatchNorm1d
        torch.testing.assert_close(extracted(x), layer.eval()(x), rtol=0, atol=1e-12)
        layer.train()


# ---------------------------------------------------------------------------------------------------------- attention


def attention_by_hand(p: dict[str, Tensor], x: Tensor, context: Tensor, heads: int, allowed: Tensor) -> Tensor:
    """Head by head, query by query; `allowed` (N, T, S)."""

    def project(name: str, y: Tensor, outs: int) -> Tensor:
        return y @ p[f"{name}.weight"][:outs, : y.shape[-1]].T + p[f"{name}.bias"][:outs]

    q, k, v = (
        project("queries", x, 4 * heads),
        project("keys", context, 4 * heads),
        project("values", context, 4 * heads),
    )
    parts = []
    for head in range(heads):
        own = slice(4 * head, 4 * head + 4)
        scores = torch.einsum("ntd,nsd->nts", q[..., own], k[..., own]) / math.sqrt(4)
        weights = scores.masked_fill(~allowed, -math.inf).softmax(-1)
        parts.append(torch.einsum("nts,nsd->ntd", weights, v[..., own]))
    return project("project", torch.cat(parts, -1), x.shape[-1])


@pytest.mark.parametrize("kind", ["self", "context", "mask", "causal"])
def test_multi_head_attention(kind: str) -> None:
    layer = MultiHeadAttention(OUTS, HEADS, head_dim=4, causal=kind == "causal")
    net = lone(layer)
    assert layer.queries.weight.shape == (12, 5)
    for arch in every_arch(net):
        net.select(arch)
        width, heads = sizes(arch, "outs", "h")
        x, context = random(2, 4, width), random(2, 6, width, seed=2) if kind == "context" else None
        mask = torch.tensor([[True] * 4, [True, False, True, False]]) if kind == "mask" else None
        allowed = torch.ones(2, 4, 4 if context is None else 6, dtype=torch.bool)
        allowed = allowed.tril() if kind == "causal" else allowed if mask is None else allowed & mask[:, None]
        clones = {name: p.detach().clone().requires_grad_() for name, p in layer.named_parameters()}
        layer.zero_grad(set_to_none=True)
        output = layer(x, context, mask)
        expected = attention_by_hand(clones, x, x if context is None else context, heads, allowed)
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)
        cotangent = random(*output.shape, seed=9)
        output.backward(cotangent)
        expected.backward(cotangent)
        for name, p in layer.named_parameters():
            torch.testing.assert_close(p.grad, clones[name].grad, rtol=0, atol=1e-12)


def test_fresh_weights() -> None:
    """From the seed, not from global state: N(0, 0.01) for embeddings, Kaiming normal by fan out for convolutions."""
    width = Choice("w", (16, 64))
    embedding, conv = Embedding(100, width), Conv1d(width, width, 3)
    state = torch.get_rng_state()
    Supernet(nn.ModuleList([embedding, LayerNorm(width), conv]))
    assert torch.equal(torch.get_rng_state(), state)
    assert embedding.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert conv.weights["3"].std().item() == pytest.approx((2 / (64 * 3)) ** 0.5, rel=0.05)
