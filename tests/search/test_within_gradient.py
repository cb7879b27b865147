"""Alpha's gradient under draws within the budget is that of the truncated distribution, by enumeration of 144."""

from __future__ import annotations

import helpers_run as h
import pytest
import torch

import fpnas
from fpnas import ArchDistribution, Budget
from fpnas.search import CostTerm
from fpnas.search.alpha_update import Gradient
from fpnas.search.strategy import Scores
from fpnas.search.within import Within
from fpnas.streams import generator

EVERY = torch.tensor(h.ALL_CODES)
REWARD = torch.tensor([-h.table_loss(code) for code in h.ALL_CODES], dtype=torch.float64)
BUDGET = Budget(h.TableCost(), 45.0)
TRIALS, K = 1500, 8


def distribution() -> ArchDistribution:
    found = ArchDistribution(h.TABLE_SPACE)
    draws = torch.randn(found.logits.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    found.set_logits(0.7 * draws + 0.5 * torch.arange(found.logits.shape[1]))
    return found


def exact(found: ArchDistribution) -> torch.Tensor:
    """The gradient of the mean reward of those within the budget."""
    meets = (BUDGET.excess(EVERY) <= 0).double()
    p = found.log_prob(EVERY).exp() * meets
    (gradient,) = torch.autograd.grad((p * REWARD).sum() / p.sum(), found.logits)
    return gradient


@pytest.mark.parametrize("truncated", [True, False])
def test_the_surrogates_gradient_is_the_truncated_distributions(truncated: bool) -> None:
    found, within = distribution(), Within()
    place = {tuple(code): number for number, code in enumerate(EVERY.tolist())}
    estimates: list[torch.Tensor] = []
    for trial in range(TRIALS):
        codes = within.draw(found, BUDGET, K, generator(0, "k", trial))
        peers = within.draw(found, BUDGET, 64, generator(0, "peers", trial)) if truncated else None
        reward = REWARD[[place[tuple(code)] for code in codes.tolist()]]
        scores = Scores(codes, reward, 1, peers=peers)
        (gradient,) = torch.autograd.grad((reward * scores.log_prob(found)).mean(), found.logits)
        estimates.append(gradient)
    stacked = torch.stack(estimates)
    mean, error = stacked.mean(dim=0), stacked.std(dim=0) / TRIALS**0.5
    off = ((mean - exact(found)).abs() / error.clamp_min(1e-12))[found.is_option]
    # Without the peers it is the gradient of something else, and by far.
    assert float(off.max()) < 4.5 if truncated else float(off.max()) > 20


class Spy(Gradient):
    """Keeps what it is handed."""

    handed: list[tuple[Scores, Budget | None]]

    def loss(self, distribution: ArchDistribution, scores: Scores, budget: Budget | None) -> torch.Tensor:
        self.handed.append((scores, budget))
        return scores.log_prob(distribution).sum()


@pytest.mark.parametrize("name", ["fpnas", "parsec", "reinforce"])
@pytest.mark.parametrize("within", [True, False])
def test_a_move_by_gradient_is_handed_peers_where_all_are_drawn_within_the_budget(name: str, within: bool) -> None:
    term = None if within else CostTerm()
    search = fpnas.methods.METHODS[name](h.TableEvaluator(), BUDGET, epochs=2, warmup=0.0, cost_term=term)
    spy = Spy(0.1, term)
    spy.handed = []
    spy.start(search.distribution)
    search.strategy.update = spy  # type: ignore[attr-defined]
    for _ in range(3):
        search.step()
    assert len(spy.handed) == 3
    for scores, _ in spy.handed:
        assert (scores.peers is not None) == within
        if scores.peers is not None:
            assert not BUDGET.excess(scores.peers).any()
            assert not BUDGET.excess(scores.codes).any()
