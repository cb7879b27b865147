"""`from_scratch` draws by its seed alone, and `inherited` keeps the supernet's weights under recalibrated norms."""

from __future__ import annotations

import helpers_run as h
import pytest
import torch
from torch import Tensor, nn

import fpnas
from fpnas.data import TensorData
from fpnas.elastic import Embedding, Linear
from fpnas.train import recalibrate
from fpnas.train.network import check_outputs


def archs(supernet: fpnas.Supernet, count: int = 3) -> list[fpnas.Arch]:
    g = torch.Generator().manual_seed(5)
    return [
        supernet.space.decode([int(torch.randint(0, n, (), generator=g)) for n in supernet.space.cardinalities])
        for _ in range(count)
    ]


def test_from_scratch_depends_on_its_seed_alone() -> None:
    """Not on the global random state, which it leaves as it was, nor on the supernet's weights."""
    for arch in archs(h.small_supernet()):
        found = []
        for number in range(2):
            torch.manual_seed(number)
            before, seed = torch.get_rng_state(), torch.initial_seed()
            supernet = h.small_supernet(seed=number)
            found.append(fpnas.from_scratch(supernet, arch, seed=3).state_dict())
            assert torch.equal(torch.get_rng_state(), before)
            assert torch.initial_seed() == seed
        assert found[0].keys() == found[1].keys()
        assert all(torch.equal(found[0][name], value) for name, value in found[1].items())
        other = fpnas.from_scratch(h.small_supernet(), arch, seed=4).state_dict()
        kernels = [name for name, value in other.items() if value.dim() == 4]
        assert kernels
        assert not any(torch.equal(found[0][name], other[name]) for name in kernels)


def test_from_scratch_draws_kaiming_fan_out_for_the_networks_own_widths() -> None:
    """The spread of each large kernel is sqrt(2 / fan out), of linear weights 0.01; biases are 0, norms new."""
    supernet = fpnas.spaces.tiny(4, 1)
    network = fpnas.from_scratch(supernet, {c.name: c.options[1] for c in supernet.space.choices})
    checked = 0
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 1000:
            fan_out = layer.out_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
            assert layer.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
            checked += 1
        elif isinstance(layer, nn.Linear):
            assert layer.weight.std().item() == pytest.approx(0.01, rel=0.2)
            assert not layer.bias.any()
        elif isinstance(layer, nn.BatchNorm2d):
            assert (layer.weight == 1).all()
            assert not layer.bias.any()
            assert not layer.running_mean.any()
            assert (layer.running_var == 1).all()
    assert checked > 5


def test_the_supernet_is_not_changed_by_what_is_taken_from_it() -> None:
    supernet, data = h.small_supernet(), h.made_up()
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    for arch in archs(supernet):
        for network in (fpnas.from_scratch(supernet, arch), fpnas.inherited(supernet, arch, data)):
            with torch.no_grad():
                for value in [*network.parameters(), *network.buffers()]:
                    value.fill_(7)
    assert all(torch.equal(before[name], value) for name, value in supernet.state_dict().items())


def statistics_by_hand(network: nn.Module, images: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Of each norm's input, for one batch: mean and unbiased variance of each channel."""
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def note(name: str) -> None:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            values = inputs[0].detach().double().transpose(0, 1).flatten(1)
            found[name] = values.mean(dim=1), values.var(dim=1, unbiased=True)

        network.get_submodule(name).register_forward_pre_hook(hook)

    for name, layer in network.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            note(name)
    network.train()(images)
    return found


def test_inherited_networks_have_norms_of_the_training_images() -> None:
    """48 images are one batch, so the running statistics are those of a single pass over all, seen layer by layer."""
    supernet, data = h.small_supernet(), h.made_up()
    for arch in archs(supernet):
        network = fpnas.inherited(supernet, arch, data)
        plain = supernet.extract(arch)
        for name, p in network.named_parameters():
            assert torch.equal(p, plain.get_parameter(name)), "a weight was not inherited"
        wanted = statistics_by_hand(plain, data.normalize(data.train.inputs))
        assert len(wanted) >= 3
        assert network.get_submodule("stem.norm").running_mean.abs().max() > 0.01
        for name, (mean, variance) in wanted.items():
            norm = network.get_submodule(name)
            assert (norm.running_var != 1).all()
            torch.testing.assert_close(norm.running_mean.double(), mean, rtol=1e-3, atol=1e-5)
            torch.testing.assert_close(norm.running_var.double(), variance, rtol=1e-3, atol=1e-5)


def test_recalibration_averages_its_batches_and_forgets_what_was_there() -> None:
    data = h.made_up()
    supernet = h.small_supernet()
    network = supernet.extract(archs(supernet)[0])
    stem = network.get_submodule("stem.norm")
    with torch.no_grad():
        stem.running_mean.fill_(100)
    seen: list[Tensor] = []
    stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].double()))
    network.eval()
    recalibrate(network, data, num_batches=3, batch_size=10)
    assert not network.training
    assert len(seen) == 3
    means = torch.stack([batch.mean(dim=(0, 2, 3)) for batch in seen])
    assert means.std(dim=0).max() > 1e-4
    torch.testing.assert_close(stem.running_mean.double(), means.mean(dim=0), rtol=1e-4, atol=1e-6)
    assert stem.momentum == 0.1


def test_recalibration_lets_inherited_weights_tell_images_apart() -> None:
    """One architecture learns in the supernet; the norms that a search leaves (mean 0, variance 1) spoil it."""
    data = h.made_up(train=192, heldout=40)
    supernet = h.small_supernet(seed=3)
    task = fpnas.SupernetEvaluator(supernet, data, batch_size=16, lr=0.05, seed=3)
    codes = torch.tensor([[n - 1 for n in supernet.space.cardinalities]])
    for _ in range(30):
        task.train_step(codes, 0.0)
    arch = supernet.space.decode(codes[0].tolist())
    raw = fpnas.train.accuracy(supernet.extract(arch), data)
    recalibrated = fpnas.train.accuracy(fpnas.inherited(supernet, arch, data), data)
    assert recalibrated.accuracy > 90 > raw.accuracy
    assert recalibrated.loss < 0.5 * raw.loss


class TorchsOwn(nn.Module):
    """Kinds of torch's layers that its counter sees through only where their quick kernels are off."""

    def __init__(self) -> None:
        super().__init__()
        width = fpnas.Choice("width", (8, 16))
        self.words, self.down = Embedding(11, width), Linear(width, 8)
        self.encoder, self.gru = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True), nn.GRU(8, 4, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.gru(self.encoder(self.down(self.words(tokens))))[0].mean(1))


def test_the_facts_of_a_network_are_those_that_the_search_has_of_it() -> None:
    tokens = torch.arange(200).reshape(40, 5) % 11
    data = TensorData.of("tokens", tokens, torch.arange(40) % 3)
    net = fpnas.Supernet(TorchsOwn(), name="own", input_shape=(5,), input_dtype=torch.int64)
    for arch in (net.space.decode([0]), net.space.decode([1])):
        facts = fpnas.Training(fpnas.from_scratch(net, arch), data, epochs=1, batch_size=8).facts
        assert facts["flops"] == fpnas.Flops(net, (5,), torch.int64).of(arch)
        assert facts["params"] == fpnas.Params(net, (5,), torch.int64).of(arch)
        assert (facts["space"], facts["choices"]) == ("own", dict(arch))


def test_looking_at_outputs_leaves_each_layer_in_its_own_mode() -> None:
    data = h.made_up()
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, h.CLASSES)).train()
    network[1].eval()  # frozen
    check_outputs(network, data)
    assert [member.training for member in network] == [True, False, True]
