"""`make_elastic` on models of timm and torchvision as they are. All of them: benchmarks/followed.py and `make soak`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from counting import counted
from helpers_benchmarks import benchmark
from torch import Tensor, nn

from fpnas import Flops, InputError, Params, Supernet
from fpnas.elastic import Importance, make_elastic
from fpnas.elastic.follow import as_torch, follow, resolved
from fpnas.elastic.follow.library import DropPath
from fpnas.elastic.follow.loss_changes import loss_changes

followed = benchmark("followed")

SAMPLE = {
    "timm/tf_mobilenetv3_small_minimal_100": 33,  # padding that depends on the size
    "timm/regnety_002": 32,  # groups
    "timm/convnext_atto": 32,  # channels last
    "timm/ghostnet_100": 64,  # a sum of concatenations
    "timm/vit_tiny_patch16_224": 224,  # attention
    "torchvision/squeezenet1_1": 48,  # concatenations
}


@pytest.mark.parametrize("name", SAMPLE)
def test_a_sample_is_followed(name: str) -> None:
    row = followed.followed(name, followed.model(name), (3, SAMPLE[name], SAMPLE[name]), archs=2)
    assert row.good, row


@pytest.mark.soak
@pytest.mark.parametrize("name", followed.ALL)
def test_all_are_followed(name: str) -> None:
    (row,) = followed.rows([name], archs=4, size=128)
    assert row.good, row


def options(net: Supernet, *names: str) -> list[tuple[Any, ...]]:
    found = {choice.name: choice.options for choice in net.space.choices}
    return [found[name] for name in names]


def test_choices_of_groups_are_whole_groups_and_of_attention_heads() -> None:
    """regnety_002 has groups of 8 channels; vit_tiny 3 heads of 64."""
    net = make_elastic(followed.model("timm/regnety_002"), widths=(0.3, 0.5), divisor=1, input_shape=(3, 32, 32))
    assert options(net, "s3_b1_conv1_conv_width", "s3_b1_se_fc1_width") == [(48, 80, 152), (4, 7, 14)]
    net = make_elastic(followed.model("timm/vit_tiny_patch16_224"), input_shape=(3, 224, 224))
    assert options(net, "blocks.0.attn_heads", "blocks.0.mlp_fc1_width") == [(2, 3), (384, 576, 768)]
    assert "blocks.0.mlp.fc2" in net.kept, "the tokens' width stays"


def drops(module: nn.Module) -> list[nn.Dropout]:
    return [member for member in module.modules() if isinstance(member, nn.Dropout) and member.p]


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_drop_path_acts_in_training_alone(library: str) -> None:
    """An extracted network leaves out examples of its residual branches, as often as the library does."""
    module = (
        followed.model("timm/efficientnet_lite0", drop_path_rate=0.5)
        if library == "timm"
        else followed.model("torchvision/efficientnet_b0")
    )
    rates = [getattr(m, "drop_prob", getattr(m, "p", 0.0)) for m in module.modules()]
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    net = make_elastic(module.eval(), input_shape=(3, 32, 32))
    plain = net.extract()
    torch.testing.assert_close(plain(x), module(x), rtol=1e-5, atol=1e-5)
    kept = [drop.p for drop in drops(plain)]
    assert len(kept) > 8
    assert all(min(abs(rate - other) for other in rates) < 1e-6 for rate in kept)


def test_drop_path_leaves_out_examples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    path = DropPath(0.25, 4)
    ones = path(torch.ones(4000, 2, 1, 1))
    assert ones.unique().tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(ones[:, 0], ones[:, 1])
    assert float((ones == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.equal(path.eval()(ones), ones)
    assert len(DropPath(0.5, 4, by_example=False)(torch.ones(100, 1, 1, 1)).unique()) == 1


def test_layers_of_the_libraries_become_torchs_with_their_weights() -> None:
    given = followed.model("timm/tf_mobilenetv3_small_minimal_100")
    copy = as_torch(given, (3, 33, 33))
    x = torch.rand(2, 3, 33, 33)
    torch.testing.assert_close(copy(x), given(x), rtol=0, atol=1e-6)
    kinds = {type(m).__name__ for m in copy.modules() if type(m).__module__.startswith("timm.layers")}
    assert not kinds & {"BatchNormAct2d", "Conv2dSame", "Linear"}
    assert {"BatchNormAct2d", "Conv2dSame"} <= {type(m).__name__ for m in given.modules()}, "it was copied"


def test_without_a_shape_padding_that_depends_on_the_size_stays_whole() -> None:
    given = followed.model("timm/tf_mobilenetv3_small_minimal_100")
    net = make_elastic(given)
    assert "Conv2dSame" in net.kept["conv_stem"]
    for size in (32, 33):
        x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(net(x), given(x), rtol=0, atol=1e-5)
        torch.testing.assert_close(net.extract()(x), given(x), rtol=0, atol=1e-5)


def test_uses_say_where_each_width_runs() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 16, 1), nn.Conv2d(3, 8, 1)
            self.norm, self.groups = nn.BatchNorm2d(24), nn.Conv2d(24, 48, 1, groups=6)
            self.fc = nn.Linear(48 * 4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.groups(self.norm(torch.cat([self.a(x), self.b(x)], dim=1))).flatten(1))

    network = follow(Net(), (3, 2, 2))
    uses = network.uses()
    a, b = (resolved(followed.outs)[0].width for followed in network.layers[:2])
    assert [tuple(use) for use in uses[a]] == [
        ("a", "outs", 4, 0),
        ("norm", "ins", 4, 0),
        ("norm", "outs", 4, 0),
        ("groups", "ins", 4, 0),
        ("groups", "outs", 8, 0),
        ("fc", "ins", 32, 0),
    ]
    assert [use.offset for use in uses[b]] == [0, 16, 16, 16, 32, 128]
    assert (a.size, b.size) == (4, 2), "in groups"


class Odd(nn.Module):
    """A part that no trace can follow, between two that vary."""

    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(16, 16, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) if x.mean() > -100 else x

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first = nn.Conv2d(3, 32, 3), nn.Conv2d(32, 16, 1)
        self.inner = self.Inner()
        self.last, self.head = nn.Conv2d(16, 24, 1), nn.Conv2d(24, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(self.inner(self.first(self.stem(x)).relu())).relu()).mean((2, 3))


def test_what_no_trace_follows_stays_whole_and_is_listed() -> None:
    torch.manual_seed(0)
    module, shape = Odd().eval(), (3, 8, 8)
    x = torch.rand(2, *shape)
    for net in (make_elastic(module, input_shape=shape), make_elastic(module)):
        torch.testing.assert_close(net(x), module(x), rtol=0, atol=1e-6)
        assert [choice.name for choice in net.space.choices] == ["stem_width", "last_width"]
        assert "control flow" in net.kept["inner"]
        assert "'inner' (Inner) stays whole" in net.kept["first"]
    flops, params = Flops(net, shape), Params(net, shape)
    for arch in (net.space.decode([0, 0]), net.space.decode([2, 1])):
        torch.testing.assert_close(net.extract(arch)(x), net.select(arch)(x), rtol=0, atol=1e-6)
        assert (flops.of(arch), params.of(arch)) == counted(net, arch, shape)
    assert not any(type(m).__module__.startswith("fpnas") for m in net.extract().modules())


SORTED = [
    *("timm/tf_mobilenetv3_small_minimal_100", "timm/regnety_002", "timm/ghostnet_100", "timm/convnext_atto"),
    *("timm/tf_efficientnet_lite0", "timm/mobilenetv4_conv_small", "torchvision/densenet121"),
    *("torchvision/squeezenet1_1", "torchvision/alexnet", "torchvision/shufflenet_v2_x1_0"),
]


BY_EXAMPLES = ["timm/regnety_002", "timm/convnext_atto", "torchvision/densenet121", "torchvision/shufflenet_v2_x1_0"]


@pytest.mark.parametrize(("name", "by"), [(n, "l2") for n in SORTED] + [(n, "taylor") for n in BY_EXAMPLES])
def test_sorted_channels_compute_the_same(name: str, by: Importance) -> None:
    """In float64 to 1e-10; in float32 what rounding makes of another order of sums."""
    module, shape = followed.model(name).double(), (3, 96, 96)
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = module(x)
    batches = [(x, torch.tensor([3, 700]))] if by == "taylor" else None
    plain = make_elastic(module, input_shape=shape)
    ordered = make_elastic(module, input_shape=shape, sort=by, batches=batches)
    assert float((ordered(x) - expected).abs().max()) < 1e-10 * float(expected.abs().max())
    moved = [torch.equal(a, b) for a, b in zip(plain.parameters(), ordered.parameters(), strict=True)]
    assert moved.count(False) > 8


def test_the_first_channels_are_the_largest() -> None:
    """A chain of two convolutions with a batch norm between: what is added up is known."""
    body = nn.Sequential(
        nn.Conv2d(3, 16, 1, bias=False), nn.BatchNorm2d(16), nn.Conv2d(16, 8, 1), nn.Flatten(), nn.LazyLinear(2)
    )
    body(torch.zeros(2, 3, 4, 4))
    for layer, size in ((body[0].weight, 1.0), (body[1].weight, 2.0), (body[2].weight.transpose(0, 1), 3.0)):
        with torch.no_grad():
            layer.copy_(torch.full_like(layer, size))
            layer[5] *= 4
            layer[9] *= 2
    net = make_elastic(body.eval(), widths=(0.5,), input_shape=(3, 4, 4), sort="l1")
    scale = net.module.get_submodule("1").weight
    assert scale.tolist() == [8.0, 4.0, *[2.0] * 14]
    with pytest.raises(InputError, match="importance"):
        make_elastic(body, input_shape=(3, 4, 4), sort="l3")  # type: ignore[arg-type]


class Gated(nn.Module):
    """What follows a norm writes in place; its channels can be scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Linear(16, 5)
        self.gates: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        made = self.norm(self.conv(x))
        if self.gates is not None:
            made = made * self.gates[:, None, None]
        return self.last((made.relu_() + made.sigmoid()).mean((2, 3)))


def test_taylor_is_the_change_of_the_loss_where_a_channel_is_scaled() -> None:
    """The derivative in a factor of the channel, example by example, against central differences; weights may be
    frozen. What is asked twice is the same, and leaves no gradient."""
    module, shape = followed.randomised(Gated()).double().eval().requires_grad_(requires_grad=False), (3, 6, 6)
    x = torch.rand(6, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    expected = torch.zeros(16, dtype=torch.float64)
    for channel in range(16):
        step = 1e-6 * torch.eye(16, dtype=torch.float64)[channel]
        losses: list[Tensor] = []
        for module.gates in (1 + step, 1 - step):
            losses.append(F.cross_entropy(module(x), labels, reduction="none"))
        expected[channel] = ((losses[0] - losses[1]) / 2e-6).abs().mean()
    module.gates = None
    batches = [(x[:4], labels[:4]), (x[4:], labels[4:])]
    found = [loss_changes(module, follow(module, shape), batches)["norm"] for _ in range(2)]
    torch.testing.assert_close(found[0], expected, rtol=1e-6, atol=1e-9)
    assert torch.equal(*found)
    net = make_elastic(module, widths=(0.5,), input_shape=shape, sort="taylor", batches=batches)
    ordered = net.module.get_submodule("norm").weight
    assert torch.equal(ordered, module.norm.weight[expected.argsort(descending=True)])
    assert all(parameter.grad is None for parameter in (*module.parameters(), *net.parameters()))


def test_taylor_wants_batches_and_others_do_not() -> None:
    batch = (torch.rand(2, 3, 6, 6), torch.tensor([0, 1]))
    for sort, batches in (("taylor", None), ("l2", [batch]), (None, [batch]), ("taylor", [])):
        with pytest.raises(InputError, match="batches"):
            make_elastic(Gated(), input_shape=(3, 6, 6), sort=sort, batches=batches)  # type: ignore[arg-type]
