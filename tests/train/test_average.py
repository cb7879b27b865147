"""The average of the weights, against one written by hand that keeps them all."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fpnas.train.average import averaged, decay_at


def layers() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1))
    with torch.no_grad():
        for number, p in enumerate(network.parameters()):
            p.fill_(number)
    return network


@pytest.mark.parametrize("decay", [0.3, 0.9, 0.999])
def test_it_is_the_weighted_sum_over_all_steps(decay: float) -> None:
    """Weights of step n: (1 - d_n) times the decays after it; the first step starts it. Statistics likewise."""
    network = layers()
    average = averaged(network, decay)
    g = torch.Generator().manual_seed(0)
    history: list[dict[str, Tensor]] = []
    for _ in range(30):
        with torch.no_grad():
            for p in network.parameters():
                p.add_(torch.randn(p.shape, generator=g))
        network.train()(torch.randn(4, 1, 5, 5, generator=g))
        average.update_parameters(network)
        history.append({name: value.clone().double() for name, value in network.state_dict().items()})
    shares = []
    for step in range(30):
        share = 1.0 if step == 0 else 1 - min(decay, step / (step + 9))
        for later in range(step + 1, 30):
            share *= min(decay, later / (later + 9))
        shares.append(share)
    assert sum(shares) == pytest.approx(1)
    for name, value in average.module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert value == 30
        else:
            hand = sum(share * step[name] for share, step in zip(shares, history, strict=True))
            torch.testing.assert_close(value.double(), hand, rtol=1e-4, atol=1e-5)


def test_the_warm_up_ends_at_the_decay() -> None:
    decays = [decay_at(updates, 0.99) for updates in range(2000)]
    assert decays[1] == 0.1
    assert decays == sorted(decays)
    assert decays[890] < 0.99 == decays[891] == decays[-1]


def test_the_averaged_network_is_a_copy_of_the_plain_one() -> None:
    network = layers()
    average = averaged(network, 0.9)
    assert average.module.state_dict().keys() == network.state_dict().keys()
    assert [type(layer) for layer in average.module.modules()] == [type(layer) for layer in network.modules()]
    average.update_parameters(network)
    with torch.no_grad():
        network[0].weight.fill_(7)  # pyright: ignore
    assert not (average.module[0].weight == 7).any()
