"""Soft picks: at one-hot weights the hard pick, between them what is mixed by hand; all in float64.

What "by hand" means: every candidate is run by itself under a hard pick, or written out in plain torch, and the outputs
are summed by the weights that the test names.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from slices import every_arch, lone, random
from test_select_equals_extract import architectures, supernet
from torch import Tensor, nn

from fpnas import Arch, Choice, InputError, Supernet
from fpnas.elastic import (
    Activation,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    DepthwiseConv2d,
    Derived,
    ElasticLayer,
    Linear,
    MBConv,
    Repeat,
    Switch,
    batch_statistics,
    conv_norm,
    scaled,
)
from fpnas.errors import SupernetError
from fpnas.space import Option
from fpnas.spaces import SPACES

Weights = dict[str, Tensor]


def one_hot(net: Supernet, arch: Mapping[str, Option]) -> Weights:
    """Weights of 1 at the architecture's options."""
    codes = net.space.encode(arch)
    return {
        c.name: torch.eye(len(c.options), dtype=torch.float64)[o] for c, o in zip(net.space.choices, codes, strict=True)
    }


def some_weights(net: Supernet, seed: int = 0) -> Weights:
    draws = torch.Generator().manual_seed(seed)
    return {
        c.name: torch.randn(len(c.options), generator=draws, dtype=torch.float64).softmax(0).requires_grad_()
        for c in net.space.choices
    }


def layer_of(net: Supernet) -> nn.Module:
    return next(net.module.children())


def close(found: Tensor, wanted: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance * max(1.0, wanted.abs().max().item()))


def assert_mixed(net: Supernet, weights: Weights, by_hand: Tensor, x: Tensor) -> None:
    """Output and the gradient of each weight."""
    output = layer_of(net.mix(weights))(x)
    close(output, by_hand)
    cotangent = random(*output.shape, seed=99)
    names = list(weights)
    mine = torch.autograd.grad(output, [weights[n] for n in names], cotangent)
    theirs = torch.autograd.grad(by_hand, [weights[n] for n in names], cotangent)
    for name, one, other in zip(names, mine, theirs, strict=True):
        assert bool((other != 0).any()), f"a test in which {name} has no gradient proves nothing"
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10, msg=name)


# ------------------------------------------------------------------------------------------------------- whole networks


def assert_one_hot_is_hard(net: Supernet, arch: Arch, x: Tensor) -> None:
    with torch.inference_mode(), batch_statistics(net):
        hard = net.select(arch)(x)
        soft = net.mix(one_hot(net, arch))(x)
    assert (hard - soft).abs().max() <= 1e-9 * hard.abs().max(), arch
    assert hard.std(dim=0).mean() > 1e-4 * hard.abs().max(), "logits that heed no image prove nothing"


@pytest.mark.parametrize("name", ["tiny", "nasbench-macro", "fbnetv2-f", "fbnetv2-fpp"])
def test_a_one_hot_soft_pick_is_the_hard_pick(name: str) -> None:
    """All blocks skipped, the largest network and a random one."""
    net = supernet(name).double().train()
    for arch in architectures(net, 3):
        assert_one_hot_is_hard(net, arch, random(2, 3, 32, 32))


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", SPACES)
def test_a_one_hot_soft_pick_is_the_hard_pick_in_every_space(name: str) -> None:
    """12 architectures of each at an odd size."""
    net = supernet(name).double().train()
    for arch in architectures(net, 12):
        assert_one_hot_is_hard(net, arch, random(2, 3, 33, 33))


def test_a_select_or_an_extract_ends_a_soft_pick() -> None:
    switch = Switch(Choice("on", (1, 2)), {"1": Linear(3, 3), "2": Linear(3, 3)})
    net = Supernet(nn.Sequential(switch), aligned=False).double()
    x, weights = random(2, 3), {"on": torch.tensor([0.5, 0.5])}
    hard = net.select({"on": 1})(x)
    soft = net.mix(weights)(x)
    assert not torch.allclose(hard, soft)
    assert net.arch == {"on": 1}
    assert torch.equal(net.extract()(x), hard)
    assert torch.equal(net(x), hard)
    assert torch.equal(net.mix(weights)(x), soft)
    assert torch.equal(net.select({"on": 1})(x), hard)


@pytest.mark.parametrize(
    "wrong", [{}, {"on": torch.ones(3)}, {"on": torch.ones(1, 2)}, {"on": torch.ones(2), "no": torch.ones(2)}]
)
def test_weights_that_do_not_fit_are_refused(wrong: Weights) -> None:
    net = lone(Switch(Choice("on", (1, 2)), {"1": Linear(3, 3), "2": Linear(3, 3)}))
    with pytest.raises(InputError, match="a weight for each option of each choice") as caught:
        net.mix(wrong)
    assert "\n" not in str(caught.value)
    assert layer_of(net)(random(2, 3)).shape == (2, 3), "the pick before is still in force"


# -------------------------------------------------------------------------------------------------------- channel masks


@pytest.mark.parametrize("act", [None, "relu", "swish"])
@pytest.mark.parametrize("width", [2, 4, 7])
def test_a_one_hot_mask_is_slicing(act: str | None, width: int) -> None:
    """FBNetV2's mask behind convolution, norm and activation: the first channels as sliced, the others 0; so too the
    weights' gradients."""
    outs = Choice("outs", (2, 4, 7))
    net = lone(conv_norm(5, outs, stride=2, act=act, kernel=3)).train()
    x, layer = random(3, 5, 8, 8), layer_of(net)
    hard = layer_of(net.select({"outs": width}))(x)
    cotangent = random(3, 7, 4, 4, seed=99)
    hard.backward(cotangent[:, :width])
    sliced = {name: p.grad.clone() for name, p in layer.named_parameters() if p.grad is not None}
    layer.zero_grad(set_to_none=True)
    soft = layer_of(net.mix(one_hot(net, {"outs": width})))(x)
    close(soft[:, :width], hard)
    assert not soft[:, width:].any()
    soft.backward(cotangent)
    assert sliced
    for name, parameter in layer.named_parameters():
        close(parameter.grad, sliced[name])


@pytest.mark.parametrize("act", [None, "relu", "swish"])
def test_widths_between_are_the_sum_of_masks(act: str | None) -> None:
    """Wan et al. 2020, eq. 4: the full width's output once, channel c times the weights of all widths that reach it."""
    outs = Choice("outs", (2, 4, 7))
    net = lone(conv_norm(5, outs, act=act, kernel=3)).train()
    weights, x = some_weights(net), random(3, 5, 8, 8)
    p = dict(layer_of(net).named_parameters())
    y = F.conv2d(x, p["conv.weights.3"], padding=1)
    y = F.batch_norm(y, None, None, p["norm.weight"], p["norm.bias"], True)
    y = {None: y, "relu": y.relu(), "swish": y * y.sigmoid()}[act]
    w2, w4, w7 = weights["outs"]
    masks = [torch.tensor([1.0] * n + [0.0] * (7 - n), dtype=torch.float64) for n in (2, 4, 7)]
    mask = w2 * masks[0] + w4 * masks[1] + w7 * masks[2]
    assert_mixed(net, weights, y * mask[:, None, None], x)


def test_a_derived_width_is_mixed_by_the_product_of_weights() -> None:
    """Hidden = ins * expansion: 2, 4 or 8, where 4 comes in two ways."""
    ins, expansion = Choice("ins", (2, 4)), Choice("expansion", (1, 2))
    net = lone(conv_norm(ins, scaled(ins, expansion)))
    weights, x = some_weights(net), random(3, 4, 5, 5)
    p = dict(layer_of(net).named_parameters())
    y = F.batch_norm(F.conv2d(x, p["conv.weights.1"]), None, None, p["norm.weight"], p["norm.bias"], True)
    mask = torch.zeros(8, dtype=torch.float64)
    for (i, a), (j, b) in itertools.product(enumerate((2, 4)), enumerate((1, 2))):
        reached = (torch.arange(8) < a * b).double()
        mask = mask + weights["ins"][i] * weights["expansion"][j] * reached
    net.train()
    assert_mixed(net, weights, y * mask[:, None, None], x)


@pytest.mark.parametrize("layer", ["conv", "sequence", "depthwise", "linear", "norm"])
def test_a_lone_layer_has_a_mask_of_its_own(layer: str) -> None:
    width = Choice("width", (2, 6))
    made: dict[str, nn.Module] = {
        "conv": Conv2d(3, width),
        "sequence": Conv1d(3, width, 3),
        "depthwise": DepthwiseConv2d(width, 3, bias=False),
        "linear": Linear(3, width),
        "norm": BatchNorm2d(width),
    }
    net = lone(made[layer]).train()
    x = random(4, 6 if layer in ("depthwise", "norm") else 3, *{"linear": (), "sequence": (5,)}.get(layer, (5, 5)))
    weights = some_weights(net)
    full = layer_of(net.select(net.arch))(x)
    mask = torch.cat([weights["width"].sum().expand(2), weights["width"][1].expand(4)])
    by_hand = full * mask.view(-1, *[1] * (x.dim() - 2))
    with batch_statistics(net):
        assert_mixed(net, weights, by_hand, x)


# ------------------------------------------------------------------------------------ kernels, activations, what runs


@pytest.mark.parametrize("sizes", [(3, 5), (1, 3, 5), (3,)])
@pytest.mark.parametrize("depthwise", [False, True])
def test_kernels_are_mixed_by_weight(sizes: tuple[int, ...], depthwise: bool) -> None:
    kernel, other = Choice("kernel", sizes), Choice("width", (2, 4))
    net = lone(DepthwiseConv2d(other, kernel, 2, bias=False) if depthwise else Conv2d(4, other, kernel, 2, bias=False))
    weights, x = some_weights(net), random(3, 4, 8, 8)
    full = [layer_of(net.select({"kernel": k, "width": 4}))(x) for k in sizes]
    mask = torch.cat([weights["width"].sum().expand(2), weights["width"][1].expand(2)])
    total = weights["kernel"].sum()  # 1, but its gradient isn't 0: alpha's, behind a softmax, is the same either way
    mixed = sum(w / total * y for w, y in zip(weights["kernel"], full, strict=True))
    if len(sizes) == 1:
        weights["kernel"] = weights["kernel"].detach()
        close(layer_of(net.mix(weights))(x), full[0] * mask[:, None, None])
    else:
        assert_mixed(net, weights, mixed * mask[:, None, None], x)


def test_kernel_0_runs_elsewhere_so_the_others_share_its_weight() -> None:
    net = lone(DepthwiseConv2d(4, Choice("kernel", (0, 3, 5)), bias=False))
    weights, x = some_weights(net), random(3, 4, 8, 8)
    three, five = (layer_of(net.select({"kernel": k}))(x) for k in (3, 5))
    none, w3, w5 = weights["kernel"]
    assert_mixed(net, weights, (w3 * three + w5 * five) / (w3 + w5) + 0 * none, x)


def test_a_kernel_of_weight_0_does_not_divide_by_0() -> None:
    """All of the weight on the bypass: whatever the convolution gives has weight 0 then, and must be finite."""
    net = lone(DepthwiseConv2d(4, Choice("kernel", (0, 3, 5)), bias=False))
    weights = {"kernel": torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64, requires_grad=True)}
    output = layer_of(net.mix(weights))(random(3, 4, 8, 8))
    assert not output.any()
    output.sum().backward()
    assert weights["kernel"].grad is not None
    assert weights["kernel"].grad.isfinite().all()


def test_activations_are_mixed_by_weight() -> None:
    net = lone(Activation(Choice("act", ("relu", "swish"))))
    weights, x = some_weights(net), random(3, 4, 5, 5)
    relu, swish = weights["act"]
    assert_mixed(net, weights, relu * x.clamp(min=0) + swish * x * x.sigmoid(), x)


def test_branches_are_mixed_by_weight() -> None:
    """Two ways of two choices lead to one branch: their weights add up."""
    a, b = Choice("a", (1, 2)), Choice("b", (1, 2))
    on = Derived(lambda a, b: "equal" if a == b else f"differ{a}", (a, b))
    net = lone(Switch(on, {"equal": Linear(4, 4), "differ1": nn.Linear(4, 4), "differ2": nn.Identity()}))
    weights, x = some_weights(net), random(2, 4)
    p = dict(layer_of(net).named_parameters())
    equal = x @ p["branches.equal.weight"].T + p["branches.equal.bias"]
    first = x @ p["branches.differ1.weight"].T + p["branches.differ1.bias"]
    (a1, a2), (b1, b2) = weights["a"], weights["b"]
    assert_mixed(net, weights, (a1 * b1 + a2 * b2) * equal + a1 * b2 * first + a2 * b1 * x, x)


@pytest.mark.parametrize("ins", [3, 6])
@pytest.mark.parametrize("identity_first", [False, True])
def test_an_identity_is_cut_or_padded_to_the_other_branches(ins: int, identity_first: bool) -> None:
    branches: dict[str, nn.Module] = {"keep": nn.Identity(), "conv": Conv2d(ins, 4, bias=False)}
    names = ("keep", "conv") if identity_first else ("conv", "keep")
    net = lone(Switch(Choice("on", names), branches))
    weights, x = some_weights(net), random(2, ins, 5, 5)
    weight = dict(layer_of(net).named_parameters())["branches.conv.weights.1"]
    padded = torch.zeros(2, 4, 5, 5, dtype=torch.float64)
    padded[:, : min(ins, 4)] = x[:, : min(ins, 4)]
    keep, conv = (weights["on"][names.index(name)] for name in ("keep", "conv"))
    assert_mixed(net, weights, keep * padded + conv * F.conv2d(x, weight), x)


@pytest.mark.parametrize("options", [(0, 1, 3), (1, 2), (3, 1), (2, 3)])
def test_depths_are_mixed_by_weight(options: tuple[int, ...]) -> None:
    net = lone(Repeat(Choice("times", options), [Linear(4, 4) for _ in range(3)]))
    weights, x = some_weights(net), random(2, 4)
    outputs = [layer_of(net.select({"times": n}))(x) for n in options]
    assert_mixed(net, weights, sum(w * y for w, y in zip(weights["times"], outputs, strict=True)), x)


def test_a_depth_that_is_fixed_stays_so() -> None:
    inner = Choice("inner", (1, 2))
    net = lone(Repeat(2, [Switch(inner, {"1": Linear(4, 4), "2": Linear(4, 4)}) for _ in range(3)]))
    weights, x = some_weights(net), random(2, 4)
    p = dict(layer_of(net).named_parameters())
    y, w = x, weights["inner"]
    for block in range(2):
        names = [f"blocks.{block}.branches.{n}" for n in (1, 2)]
        y = sum(w[k] * (y @ p[f"{name}.weight"].T + p[f"{name}.bias"]) for k, name in enumerate(names))
    assert_mixed(net, weights, y, x)


def test_the_residual_has_the_weight_of_equal_widths() -> None:
    """In 4 or 6, out 6 or 8: equal at 6 alone; the input, padded to 8, comes with the weight of both being 6."""
    ins, outs = Choice("ins", (4, 6)), Choice("outs", (6, 8))
    net = lone(MBConv(ins, outs, 3, 1, 1, "relu")).train()
    weights, x = some_weights(net), random(3, 6, 5, 5)
    block = layer_of(net.mix(weights))
    with batch_statistics(net):
        output = block(x)
        hidden = block.get_submodule("depthwise.0")(block.get_submodule("expand")(x))
        without = block.get_submodule("project")(hidden)
        padded = torch.cat([x, torch.zeros(3, 2, 5, 5, dtype=torch.float64)], dim=1)
    close(output, without + weights["ins"][1] * weights["outs"][0] * padded)


@pytest.mark.parametrize("splits", [0, 1, 2])
def test_a_block_at_one_hot_is_the_hard_block(splits: int) -> None:
    """At every pick; channels beyond the output's width are 0."""
    ins, outs = Choice("ins", (4, 6)), Choice("outs", (4, 6))
    expansion, act = Choice("expansion", (0.5, 1.5)), Choice("act", ("relu", "swish"))
    net = lone(MBConv(ins, outs, Choice("kernel", (3, 5)), 1, expansion, act, splits)).train()
    with batch_statistics(net):
        for arch in every_arch(net):
            x = random(3, 6, 5, 5)
            x[:, int(arch["ins"]) :] = 0
            hard = layer_of(net.select(arch))(x[:, : int(arch["ins"])])
            soft = layer_of(net.mix(one_hot(net, arch)))(x)
            close(soft[:, : int(arch["outs"])], hard, 1e-11)
            assert not soft[:, int(arch["outs"]) :].any()


# -------------------------------------------------------------------------------------------------- what can't be mixed


class Scale(ElasticLayer):
    """Someone's own layer, written for hard picks."""

    def __init__(self, factor: Choice | int) -> None:
        super().__init__(factor=factor)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.values["factor"]

    def extract(self) -> nn.Module:
        return nn.Identity()

    def num_params(self, values: Mapping[str, object]) -> int:
        return 0


def test_a_layer_that_can_not_mix_is_refused_by_name() -> None:
    net = lone(Scale(Choice("factor", (1, 2))))
    net.mix({"factor": torch.tensor([0.5, 0.5])})
    with pytest.raises(SupernetError, match="layers that a soft pick can mix, got a Scale that reads factor") as caught:
        layer_of(net)(random(2, 3))
    assert "\n" not in str(caught.value)


def test_such_a_layer_may_stand_where_it_reads_no_choice() -> None:
    net = Supernet(
        nn.Sequential(Scale(3), Linear(4, 4), Switch(Choice("on", (1, 2)), {"1": Linear(4, 4), "2": Scale(2)}))
    )
    net.double().mix({"on": torch.tensor([0.0, 1.0], dtype=torch.float64)})
    x = random(2, 4)
    close(net(x), net.module[1](3 * x) * 2)
