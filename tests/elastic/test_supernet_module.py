"""`Supernet` around a module of one's own: its choices and their order, weights, selecting, extracting, refusals."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from slices import every_arch
from torch import Tensor, nn

from fpnas import Arch, Choice, InputError, Supernet
from fpnas.elastic import BatchNorm2d, Conv1d, Conv2d, Embedding, Linear, Repeat, Switch, conv_norm, scaled
from fpnas.errors import SupernetError

WIDTH, DEPTH, KERNEL, HEAD = (
    Choice("body.width", (4, 6)),
    Choice("body.depth", (0, 1, 2)),
    Choice("stem.kernel", (1, 3)),
    Choice("head", ("flat", "deep")),
)


class Net(nn.Module):
    """What a user may write: elastic and plain layers, structures, a parameter and a buffer of its own, residuals."""

    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, WIDTH, kernel=3, act="relu")
        self.kernel = Conv2d(WIDTH, WIDTH, KERNEL, bias=False)
        self.body = Repeat(DEPTH, [conv_norm(WIDTH, WIDTH, act="swish") for _ in range(2)])
        self.plain = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(2))
        self.scale = nn.Parameter(torch.full((1,), 1.5))
        self.register_buffer("shift", torch.full((1,), 0.25))
        hidden = scaled(WIDTH, 2)
        self.head = Switch(
            HEAD,
            {"flat": Linear(WIDTH, 5), "deep": nn.Sequential(Linear(WIDTH, hidden), nn.Tanh(), Linear(hidden, 5))},
        )
        self.classifier = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.kernel(x)
        features = self.plain(self.body(x)).mean(2) * self.scale + self.shift
        return self.classifier(self.head(features))


def supernet(**options: object) -> Supernet:
    torch.manual_seed(0)
    return Supernet(Net(), **options)  # type: ignore[arg-type]


X = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def test_choices_come_in_order_of_first_appearance_or_as_given() -> None:
    assert [choice.name for choice in supernet().space.choices] == ["body.width", "stem.kernel", "body.depth", "head"]
    assert supernet().space.size == 24
    order = [HEAD, DEPTH, WIDTH, KERNEL]
    assert supernet(choices=order).space.choices == tuple(order)


def test_all_choices_must_be_listed_and_read() -> None:
    with pytest.raises(SupernetError, match=r"without \['head', 'stem.kernel'\]"):
        supernet(choices=[WIDTH, DEPTH])
    with pytest.raises(SupernetError, match="'unread'"):
        supernet(choices=[WIDTH, DEPTH, KERNEL, HEAD, Choice("unread", (1, 2))])
    with pytest.raises(SupernetError, match="which none reads"):
        supernet(choices=[WIDTH, DEPTH, KERNEL, Choice("head", ("flat", "deeper"))])
    with pytest.raises(SupernetError, match="twice"):
        supernet(choices=[WIDTH, DEPTH, KERNEL, HEAD, HEAD])


def test_equal_choices_are_one() -> None:
    net = Supernet(nn.Sequential(Linear(2, Choice("a", (2, 3))), Linear(Choice("a", (2, 3)), 1)))
    assert net.space.choices == (Choice("a", (2, 3)),)


@pytest.mark.parametrize("module", [nn.Linear(2, 2), nn.Sequential(Linear(2, 2)), nn.Sequential()])
def test_a_module_without_choices_is_refused(module: nn.Module) -> None:
    with pytest.raises(SupernetError, match="at least one choice"):
        Supernet(module)


def test_the_architecture_in_force() -> None:
    net = supernet()
    assert net.arch == {"body.width": 6, "stem.kernel": 3, "body.depth": 2, "head": "deep"}, "at first the last options"
    arch = Arch({"body.width": 4, "stem.kernel": 1, "body.depth": 0, "head": "flat"})
    assert net.select(arch) is net
    assert net.arch == arch
    net.select(dict(reversed(list(arch.items()))))
    assert net.arch == arch


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"body.width": 5}, "option of 'body.width'"),
        ({"body.wdith": 4}, "did you mean 'body.width'"),
        ({"group1.kernel": 3}, "known choice"),
    ],
)
def test_a_foreign_architecture_is_refused_and_changes_nothing(change: dict[str, int], message: str) -> None:
    net = supernet()
    before = net.arch
    for use in (net.select, net.extract):
        with pytest.raises(InputError, match=message):
            use(dict(before) | change)
        assert net.arch == before
    with pytest.raises(InputError, match="none for 'head'"):
        net.select({name: option for name, option in before.items() if name != "head"})
    assert net.arch == before


def test_the_supernet_runs_the_architecture_in_force() -> None:
    """24 architectures, 24 functions, in any order of selection."""
    net = supernet(aligned=False).eval()
    outputs = {arch: net.select(arch)(X) for arch in every_arch(net)}
    assert len({tuple(output.flatten().tolist()) for output in outputs.values()}) == 24
    for arch in reversed(list(outputs)):
        assert torch.equal(net.select(arch)(X), outputs[arch])


def test_weights_come_from_the_seed_and_not_from_global_state() -> None:
    torch.manual_seed(0)
    module = Net()
    state = torch.get_rng_state()
    plain_before = copy.deepcopy(module.classifier.state_dict())
    first = Supernet(module, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, plain_before[name]) for name, value in module.classifier.state_dict().items())
    torch.manual_seed(1)
    second, third = Supernet(Net(), seed=3), Supernet(Net(), seed=4)
    same = [torch.equal(a, b) for a, b in zip(elastic_weights(first), elastic_weights(second), strict=True)]
    other = [torch.equal(a, b) for a, b in zip(elastic_weights(first), elastic_weights(third), strict=True)]
    assert all(same)
    assert not any(other)


def elastic_weights(net: Supernet) -> list[Tensor]:
    layers = [m for m in net.modules() if isinstance(m, Conv2d | Linear)]
    return [p for layer in layers for name, p in layer.named_parameters() if p.dim() > 1]


def test_fresh_weights_have_the_stated_scale() -> None:
    """Kaiming normal by fan out for convolutions, N(0, 0.01) for linear layers and embeddings, 0 for biases, 1 and 0
    for norms."""
    width = Choice("w", (64, 128))
    conv, linear, norm = Conv2d(32, width, 3, bias=False), Linear(width, 64), BatchNorm2d(width)
    words, sequence = Embedding(100, width), Conv1d(width, width, 3)
    Supernet(nn.ModuleList([conv, linear, norm, words, sequence]))
    assert conv.weights["3"].std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.03)
    assert sequence.weights["3"].std().item() == pytest.approx((2 / (128 * 3)) ** 0.5, rel=0.03)
    for layer in (linear, words):
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert (norm.weight == 1).all()
    for bias in (linear.bias, norm.bias, sequence.bias):
        assert not bias.any()


@pytest.mark.parametrize("training", [True, False])
def test_select_equals_extract_for_every_architecture(training: bool) -> None:
    net = supernet().double().train(training)
    x = X.double()
    for arch in every_arch(net):
        plain = net.extract(arch)
        assert plain.training is training
        torch.testing.assert_close(plain(x), net.select(arch)(x), rtol=0, atol=1e-12)
        torch.testing.assert_close(net.extract()(x), net(x), rtol=0, atol=1e-12)


def test_extract_leaves_the_supernet_as_it_was() -> None:
    net = supernet().train()
    arch, state = net.arch, copy.deepcopy(net.state_dict())
    members = {name: set(vars(module)) for name, module in net.named_modules()}
    plain = net.extract(dict(arch) | {"body.width": 4})
    assert net.arch == arch
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(1.0)
    plain(X)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert {name: set(vars(module)) for name, module in net.named_modules()} == members


def test_the_extracted_network_holds_what_runs_and_nothing_else() -> None:
    net = supernet()
    plain = net.extract({"body.width": 4, "stem.kernel": 1, "body.depth": 1, "head": "flat"})
    assert all(type(module).__module__.startswith("torch.") for module in plain.modules() if module is not plain)
    shapes = sorted(tuple(parameter.shape) for parameter in plain.parameters())
    expected = [(4, 3, 3, 3), (4,), (4,), (4, 4, 1, 1), (4, 4, 1, 1), (4,), (4,), (1,), (5, 4), (5,), (3, 5), (3,)]
    assert shapes == sorted(expected)
    assert dict(plain.named_buffers())["shift"].tolist() == [0.25]


class WithConstant(nn.Module):
    """A tensor made in forward becomes an attribute of what fx traces."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Linear(3, Choice("w", (2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + torch.ones(1)


def test_a_constant_in_forward_is_extracted_and_leaves_no_trace() -> None:
    net = Supernet(WithConstant())
    members = set(vars(net.module))
    x = torch.randn(2, 3)
    assert torch.equal(net.extract({"w": 2})(x), net.select({"w": 2})(x))
    assert set(vars(net.module)) == members


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"])
def test_a_copy_selects_for_itself(clone: Callable[[Supernet], Supernet]) -> None:
    net = supernet().eval()
    other = clone(net)
    small = Arch({"body.width": 4, "stem.kernel": 1, "body.depth": 0, "head": "flat"})
    expected, largest = net.select(small)(X), dict(other.arch)
    assert dict(other.arch) == largest
    assert torch.equal(other.select(small)(X), expected)
    other.select(largest)
    assert net.arch == small
    assert torch.equal(net(X), expected)


def test_state_dict_round_trip() -> None:
    net, other = supernet(seed=1).eval(), supernet(seed=2).eval()
    assert not torch.equal(net(X), other(X))
    other.load_state_dict(net.state_dict())
    for arch in every_arch(net):
        assert torch.equal(other.select(arch)(X), net.select(arch)(X))
