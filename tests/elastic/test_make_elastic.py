"""`make_elastic`: the architecture at first is the given module, widths that meet are one, and what can't be followed
stays as it is, with its place. Models of timm and torchvision: test_followed.py."""

from __future__ import annotations

import copy
import random

import pytest
import torch
import torch.nn.functional as F
from counting import counted
from torch import Tensor, nn

from fpnas import Flops, InputError, Params, Supernet
from fpnas.elastic import make_elastic
from fpnas.errors import SupernetError


class Inverted(nn.Module):
    """MobileNetV3's block: expansion, depthwise, squeeze-excite by convolutions, projection, sum."""

    def __init__(self, ins: int, outs: int, stride: int) -> None:
        super().__init__()
        hidden = ins * 2
        self.residual = stride == 1 and ins == outs
        self.conv = nn.Sequential(
            nn.Conv2d(ins, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.Hardswish(),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
        )
        self.reduce, self.grow = nn.Conv2d(hidden, 8, 1), nn.Conv2d(8, hidden, 1)
        self.out = nn.Sequential(nn.Conv2d(hidden, outs, 1, bias=False), nn.BatchNorm2d(outs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y = y * torch.sigmoid(self.grow(F.relu(self.reduce(F.adaptive_avg_pool2d(y, 1)))))
        return x + self.out(y) if self.residual else self.out(y)


class MobileNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.features = nn.Sequential(Inverted(16, 16, 1), Inverted(16, 24, 2), Inverted(24, 24, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.0), nn.Linear(24, 32), nn.BatchNorm1d(32), nn.Linear(32, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(self.stem(x))
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1))


class ResNet(nn.Module):
    """ReLU after the sum, a projection beside a block, a pooling stem, x.view."""

    class Block(nn.Module):
        def __init__(self, ins: int, outs: int, stride: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(ins, outs, 3, stride, 1), nn.BatchNorm2d(outs)
            self.conv2, self.bn2 = nn.Conv2d(outs, outs, 3, 1, 1), nn.BatchNorm2d(outs)
            self.down = None if ins == outs else nn.Conv2d(ins, outs, 1, stride)

        def forward(self, x: Tensor) -> Tensor:
            y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            y += x if self.down is None else self.down(x)
            return F.relu(y)

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.pool = nn.Conv2d(3, 16, 5, 2, 0), nn.MaxPool2d(2)
        self.layer1, self.layer2 = nn.Sequential(self.Block(16, 16, 1)), nn.Sequential(self.Block(16, 32, 2))
        self.fc = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(self.pool(self.conv1(x))))
        x = F.adaptive_avg_pool2d(x, 1)
        return self.fc(x.view(x.size(0), -1))


class Dense(nn.Module):
    """Concatenated widths vary one by one; what a group norm reads stays."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.free, self.back = nn.Conv2d(32, 24, 1), nn.Conv2d(24, 16, 1)
        self.groups, self.norm = nn.Conv2d(16, 16, 3, groups=2), nn.GroupNorm(2, 16)
        self.fc = nn.Linear(16 * 14 * 14, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        x = self.back(F.relu(self.free(torch.cat([x, self.b(x)], dim=1))))
        return self.fc(self.norm(self.groups(x)).flatten(1))


NETWORKS = {"mobilenet": MobileNet, "resnet": ResNet, "dense": Dense}
X = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
R = torch.randn(4, 3, 33, 33, generator=torch.Generator().manual_seed(0))


def made(kind: type[nn.Module]) -> nn.Module:
    """A module whose every tensor is random: fresh norms would hide differences."""
    module = kind()
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point() and tensor.dim() == 1:
                tensor.copy_(torch.rand(tensor.shape, generator=draws) + 0.5)
    return module


def images(name: str) -> Tensor:
    return R if name == "resnet" else X


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_largest_is_the_given_module(name: str, training: bool) -> None:
    module, x = made(NETWORKS[name]).train(training), images(name)
    state = copy.deepcopy(module.state_dict())
    net = make_elastic(module, kernels=(3, 5), skips=True, input_shape=tuple(x.shape[1:]))
    assert net.training is training
    expected = module(x)
    scale = expected.abs().max().item()
    torch.testing.assert_close(net(x), expected, rtol=0, atol=1e-5 * scale)
    torch.testing.assert_close(net.extract()(x), expected, rtol=0, atol=1e-5 * scale)
    if not training:
        assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items()), "it was copied"
        assert expected.std(dim=0).mean() > 1e-4 * scale


@pytest.mark.parametrize("name", NETWORKS)
def test_select_equals_extract_and_costs_equal_counting(name: str) -> None:
    x = images(name)
    shape = tuple(x.shape[1:])
    net = make_elastic(made(NETWORKS[name]), kernels=(5,), skips=True).eval()
    flops, params, rng = Flops(net, shape), Params(net, shape), random.Random(0)
    for _ in range(10):
        arch = net.space.decode([rng.randrange(n) for n in net.space.cardinalities])
        plain, ours = net.extract(arch)(x), net.select(arch)(x)
        torch.testing.assert_close(plain, ours, rtol=0, atol=1e-5 * ours.abs().max().item())
        assert (flops.of(arch), params.of(arch)) == counted(net, arch, shape)


def options(net: Supernet) -> dict[str, tuple[object, ...]]:
    return {choice.name: choice.options for choice in net.space.choices}


def test_the_choices_of_a_mobilenet() -> None:
    """Sums tie the widths of stem and first block, depthwise convolutions those around them, gates theirs."""
    assert options(make_elastic(MobileNet(), widths=(0.5, 1.0), kernels=(3, 5), skips=True)) == {
        "stem.0.layer_width": (8, 16),
        "features.0.runs": (0, 1),
        "features.0.conv_0_width": (16, 32),
        "features.0.conv_3_kernel": (3, 5),
        "features.1.conv_0_width": (16, 32),
        "features.1.conv_3_kernel": (3, 5),
        "features.1.out_0_width": (16, 24),
        "features.2.runs": (0, 1),
        "features.2.conv_0_width": (24, 48),
        "features.2.conv_3_kernel": (3, 5),
        "classifier.1.layer_width": (16, 32),
    }


def test_the_choices_of_a_resnet_and_of_held_widths() -> None:
    assert options(make_elastic(ResNet(), widths=(0.5,))) == {
        "conv1_width": (8, 16),
        "layer1.0.conv1_width": (8, 16),
        "layer2.0.conv1_width": (16, 32),
        "layer2.0.conv2_width": (16, 32),
    }
    net = make_elastic(Dense(), widths=(0.5,))
    assert options(net) == {"a_width": (8, 16), "b_width": (8, 16), "free_width": (16, 24)}
    assert set(net.kept) == {"back", "groups", "fc"}
    assert "'norm' (GroupNorm) isn't elastic" in net.kept["back"]


def test_a_smaller_kernel_is_the_middle_of_the_given_one() -> None:
    module = nn.Sequential(nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 5, padding=2, groups=16), nn.Conv2d(16, 2, 1))
    net = make_elastic(module, widths=(1.0,), kernels=(3,))
    small = net.extract({"1.layer_kernel": 3}).get_submodule("1")
    assert torch.equal(small.weight, module[1].weight[:, :, 1:4, 1:4])
    assert torch.equal(small.bias, module[1].bias)


def test_a_layer_that_runs_twice_ties_its_widths() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.body, self.head = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(self.body(self.stem(x)))).mean((2, 3))

    module = Twice().eval()
    net = make_elastic(module, input_shape=(3, 16, 16))
    assert options(net) == {"stem_width": (8, 16)}, "a width rounds to 8"
    torch.testing.assert_close(net(X), module(X), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (nn.Sequential(nn.Conv2d(3, 16, 1), nn.Softmax(1), nn.Conv2d(16, 2, 1)), r"'1' \(Softmax\)"),
        (nn.Sequential(nn.Conv2d(3, 16, 1), nn.Linear(16, 2)), r"'1' \(Linear\) isn't on the channels"),
        (nn.Sequential(nn.Conv3d(3, 16, 1), nn.Conv3d(16, 2, 1)), r"expected at least one choice, got none"),
    ],
)
def test_a_network_in_which_nothing_can_vary_is_refused_with_the_reason(body: nn.Module, message: str) -> None:
    with pytest.raises(SupernetError, match=message):
        make_elastic(body, input_shape=(3, 16, 16, 16) if isinstance(body[0], nn.Conv3d) else (3, 16, 16))


class Fixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 16, 1), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).mean((2, 3)).view(-1, 16))


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) if x.mean() > 0 else x


def test_a_number_of_channels_written_into_forward_and_control_flow_are_told_with_their_line() -> None:
    with pytest.raises(SupernetError, match=r"'view' at .*test_make_elastic\.py.*view\(-1, 16\)"):
        make_elastic(nn.Sequential(Fixed()))
    with pytest.raises(SupernetError, match=r"in '0' \(Branching, test_make_elastic\.py:\d+: return self\.conv"):
        make_elastic(nn.Sequential(Branching()))


class Halves(nn.Module):
    """Halves by `chunk`, channels last, means, a slice of all channels, a concatenation of places."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.gate = nn.Conv2d(3, 32, 1), nn.Linear(16, 16)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.stem(x).chunk(2, dim=1)
        y = self.norm((left * right.sigmoid())[:, :16].permute(0, 2, 3, 1)).flatten(1, 2)
        y = torch.cat([self.gate(y), y], dim=1).mean(1)
        return self.head(torch.cat([y, left.amax((2, 3))], dim=-1))


class Flat(nn.Module):
    """Flattened maps of a sum of concatenations; depthwise convolutions that make two channels of one."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 16, 1), nn.Conv2d(3, 24, 1), nn.Conv2d(3, 40, 1)
        self.twice, self.fc = nn.Conv2d(40, 80, 3, padding=1, groups=40), nn.Linear(80 * 256, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat((self.a(x), self.b(x)), 1) + self.c(x)
        return self.fc(self.twice(x).view(len(x) if isinstance(x, list) else x.shape[0], -1))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Halves, {"stem_width": (8, 16)}),  # of each half
        (Flat, {"a_width": (8, 16), "b_width": (16, 24)}),
    ],
)
def test_widths_are_followed_through_what_moves_them(kind: type[nn.Module], expected: dict[str, object]) -> None:
    module = made(kind).eval()
    net = make_elastic(module, widths=(0.5,), input_shape=(3, 16, 16))
    torch.testing.assert_close(net(X), module(X), rtol=1e-5, atol=1e-5)
    assert options(net) == expected
    flops, params = Flops(net, (3, 16, 16)), Params(net, (3, 16, 16))
    for code in range(2 ** len(net.space)):
        arch = net.space.decode([code >> bit & 1 for bit in range(len(net.space))])
        torch.testing.assert_close(net.extract(arch)(X), net.select(arch)(X), rtol=1e-5, atol=1e-5)
        assert (flops.of(arch), params.of(arch)) == counted(net, arch, (3, 16, 16))


@pytest.mark.parametrize("wrong", [{"widths": ()}, {"widths": (0.5, 1.5)}, {"kernels": (4,)}, {"divisor": 0}])
def test_arguments_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        make_elastic(MobileNet(), **wrong)  # type: ignore[arg-type]


def test_a_network_without_a_width_to_choose_is_refused() -> None:
    with pytest.raises(SupernetError, match="at least one choice"):
        make_elastic(nn.Sequential(nn.Conv2d(3, 16, 1)))
