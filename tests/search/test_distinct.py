"""The prior under which each distinct network is as probable as another, against networks told apart by extraction."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import helpers_run as h
import pytest
import torch
from torch import fx, nn

import fpnas
from fpnas.elastic import Conv2d, Linear, Repeat, conv_norm, searchable_mbconv
from fpnas.evaluators.distinct import canonical, distinct_logits
from fpnas.memory import Memory
from fpnas.search.alpha_update import Posterior
from fpnas.search.strategy import Scores
from fpnas.streams import generator


class Net(nn.Module):
    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.classifier = Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.blocks(x).mean((2, 3)))


def block(name: str, outs: int | fpnas.Choice = 4, ins: int = 4, stride: int = 1) -> nn.Module:
    """12 codes, or 24 with widths; kernel 0 idles the other choices but widths."""
    kernel, act = fpnas.Choice(f"{name}.kernel", (0, 3)), fpnas.Choice(f"{name}.act", ("relu", "swish"))
    splits, expansion = fpnas.Choice(f"{name}.splits", (0, 1, 2)), fpnas.Choice(f"{name}.expansion", (2,))
    return searchable_mbconv(ins, outs, kernel, stride, expansion, act, splits)


def bypassed() -> nn.Module:
    """A block whose width counts although it is bypassed, and one in which all is idle then."""
    width = fpnas.Choice("a.channels", (2, 4))
    return Net(block("a", width, stride=2), Conv2d(width, 4, bias=False), block("b"))


def deep() -> nn.Module:
    """A depth that idles whole blocks, which idle choices of their own."""
    return Net(Repeat(fpnas.Choice("depth", (0, 1, 2)), [block("a"), block("b")]))


def read_twice() -> nn.Module:
    """An activation that a bypassed block shares with a layer that always runs: never idle."""
    act = fpnas.Choice("act", ("relu", "swish"))
    kernel, expansion = fpnas.Choice("kernel", (0, 3)), fpnas.Choice("expansion", (1, 2))
    return Net(searchable_mbconv(4, 4, kernel, 1, expansion, act), conv_norm(4, 4, act=act))


def without() -> nn.Module:
    """Nothing is ever idle."""
    return Net(Conv2d(4, 4, fpnas.Choice("kernel", (1, 3)), bias=False))


@pytest.mark.parametrize(
    ("make", "networks"), [(bypassed, 2 * 7 * 7), (deep, 1 + 7 + 49), (read_twice, 6), (without, 2)]
)
def test_each_distinct_network_is_as_probable_as_another_and_goes_by_one_code(make: Any, networks: int) -> None:
    supernet = fpnas.Supernet(make())
    space = supernet.space
    distribution = fpnas.ArchDistribution(space)
    distribution.set_logits(distinct_logits(supernet))
    codes = torch.tensor(list(itertools.product(*(range(n) for n in space.cardinalities))))
    rows, simple = codes.tolist(), canonical(supernet)(codes).tolist()
    network_of = {tuple(row): told_by(supernet.extract(space.decode(row))) for row in rows}
    probability: Counter[str] = Counter()
    names: dict[str, set[tuple[int, ...]]] = {}
    for row, other, p in zip(rows, simple, distribution.log_prob(codes).exp().tolist(), strict=True):
        network = network_of[tuple(row)]
        assert network == network_of[tuple(other)]
        probability[network] += p
        names.setdefault(network, set()).add(tuple(other))
    assert list(probability.values()) == pytest.approx([1 / networks] * networks)
    assert [len(codes) for codes in names.values()] == [1] * networks


def told_by(network: fx.GraphModule) -> str:
    """Equal for networks of equal layers in equal places."""
    return f"{network} {network.code}"


@pytest.mark.parametrize("joint", [False, True])
def test_a_posterior_is_scores_laid_over_it(joint: bool) -> None:
    """log P with the prior, less log P without, is the prior's log P but for a constant; after the join too."""
    supernet = fpnas.Supernet(bypassed())
    prior = fpnas.ArchDistribution(supernet.space)
    prior.set_logits(distinct_logits(supernet))
    codes = prior.sample(64, generator(0, "codes"))
    scores = Scores(codes, codes.double() @ torch.arange(1.0, codes.shape[1] + 1, dtype=torch.float64), num_images=1)
    found: list[torch.Tensor] = []
    for first in (prior, None):
        distribution = fpnas.ArchDistribution(supernet.space)
        update = Posterior(Memory(supernet.space), "product", prior=first)
        update.start(distribution)
        if joint:
            distribution = distribution.joined()
            update.start(distribution)
        update(distribution, scores, None, generator(0, "costs"))
        found.append(distribution.log_prob(codes).detach())
    assert float(found[1].std()) > 1
    difference = found[0] - found[1] - prior.log_prob(codes).detach()
    assert float((difference - difference[0]).abs().max()) < 1e-9


def test_a_search_begins_with_it() -> None:
    supernet = fpnas.spaces.tiny(in_channels=1, num_classes=h.CLASSES)
    judge = fpnas.SupernetEvaluator(supernet, h.made_up(size=16), batch_size=12)
    budget = fpnas.Budget(fpnas.Flops(supernet, (1, 16, 16)), target=5e5)
    search = fpnas.methods.fpnas_posterior(judge, budget, prior="distinct", epochs=1)
    logits, kernel = search.distribution.logits.detach(), supernet.space.position("group2.kernel")
    assert logits[kernel, :3].exp().tolist() == pytest.approx([1 / 24, 1, 1])
    assert search.settings()["prior"] == "distinct"
    assert "prior" not in fpnas.methods.fpnas_posterior(judge, budget, epochs=1).settings()
