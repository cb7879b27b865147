"""DARTS and FBNetV2: alpha's gradient by finite differences, Gumbel draws by their law, the order of the steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import helpers_run as h
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import fpnas
from fpnas.search import CostTerm
from fpnas.search.soft import Gumbel, Soft, softmax_weights
from fpnas.streams import generator

NAMES = [choice.name for choice in h.small_supernet().space.choices]


def task_of(**options: Any) -> fpnas.SupernetEvaluator:
    settings = {"batch_size": 8, "optimizer": "sgd", "lr": 0.05, "clip": 1e9, "weight_decay": 0.0, "seed": 4}
    return fpnas.SupernetEvaluator(h.small_supernet(double=True), h.made_up(), **{**settings, **options})


NARROW = fpnas.Arch(
    {
        "a.channels": 8,
        "a.kernel": 3,
        "a.expansion": 1,
        "a.splits": 2,
        "b.channels": 12,
        "b.kernel": 5,
        "b.act": "swish",
        "b.splits": 0,
    }
)
"""Some option of each choice isn't the largest."""


def one_hot(space: fpnas.SearchSpace, arch: fpnas.Arch) -> dict[str, Tensor]:
    codes = zip(space.choices, space.encode(arch), strict=True)
    return {choice.name: torch.eye(len(choice.options), dtype=torch.float64)[code] for choice, code in codes}


TERM = CostTerm(beta=0.3, floor=0.05)


def budget_of(task: fpnas.SupernetEvaluator, target: float = 6e3) -> fpnas.Budget:
    return fpnas.Budget(fpnas.Flops(task.supernet, (1, 8, 8)), target)


def some_logits(distribution: fpnas.ArchDistribution) -> Tensor:
    draws = torch.Generator().manual_seed(8)
    return torch.randn(distribution.logits.shape, generator=draws, dtype=torch.float64)


def mixture(logits: Tensor, distribution: fpnas.ArchDistribution) -> dict[str, Tensor]:
    """The softmax of each choice's logits."""
    sizes = distribution.space.cardinalities
    rows = [row[:size].softmax(0) for row, size in zip(logits, sizes, strict=True)]
    return dict(zip(NAMES, rows, strict=True))


def gumbel_mixture(logits: Tensor, distribution: fpnas.ArchDistribution, temperature: float) -> dict[str, Tensor]:
    """FBNetV2's weights for alpha at step 0 under seed 0: its draws stay the same while the logits move."""
    draws = generator(0, "mixtures", "alpha", 0)
    found: list[Tensor] = []
    for row, size in zip(logits, distribution.space.cardinalities, strict=True):
        noise = -(-torch.rand(size, generator=draws, dtype=torch.float64).log()).log()
        found.append(((row[:size].log_softmax(0) + noise) / temperature).softmax(0))
    return dict(zip(NAMES, found, strict=True))


@pytest.mark.parametrize("with_budget", [False, True])
@pytest.mark.parametrize("method", ["darts", "fbnetv2"])
def test_alphas_gradient_by_finite_differences(method: str, with_budget: bool) -> None:
    """Of the validation loss of the mixture and the budget's term, in the logit of each option of each choice."""
    task = task_of()
    budget = budget_of(task) if with_budget else None
    if method == "darts":
        job = fpnas.methods.darts(task, budget, epochs=1, lr=0.01, weight_decay=0.0, warmup=0.0, cost_term=TERM)
    else:
        more: dict[str, Any] = {"temperatures": (2.0, 0.1), "cost_term": TERM}
        job = fpnas.methods.fbnetv2(task, budget, epochs=1, lr=0.01, warmup=0.0, seed=0, **more)
    distribution = job.distribution
    start = some_logits(distribution)
    distribution.set_logits(start)

    def loss_at(logits: Tensor) -> float:
        weights = mixture(logits, distribution) if method == "darts" else gumbel_mixture(logits, distribution, 2.0)
        with torch.no_grad():
            loss = task.soft_loss(weights)
            return float(loss if budget is None else loss + TERM.mixed(budget, list(weights.values())))

    found = torch.zeros_like(start)
    for c, size in enumerate(distribution.space.cardinalities):
        for o in range(size):
            ahead, behind = start.clone(), start.clone()
            ahead[c, o] += 1e-5
            behind[c, o] -= 1e-5
            found[c, o] = (loss_at(ahead) - loss_at(behind)) / 2e-5
    job.step()
    gradient = distribution.logits.grad
    assert gradient is not None
    torch.testing.assert_close(gradient, found, rtol=1e-5, atol=1e-7)
    assert (found.abs().max(dim=1).values > 1e-6).all(), "each choice must matter"


def test_alphas_first_step_goes_against_that_gradient() -> None:
    """Adam's first step is lr in the gradient's sign, decay included."""
    job = fpnas.methods.darts(task_of(), None, epochs=1, lr=0.01, weight_decay=0.5, warmup=0.0)
    start = some_logits(job.distribution)
    job.distribution.set_logits(start)
    job.step()
    assert job.distribution.logits.grad is not None
    used = job.distribution.is_option
    gradient = (job.distribution.logits.grad + 0.5 * start)[used]
    moved = (job.distribution.logits.detach() - start)[used]
    torch.testing.assert_close(moved, -0.01 * gradient / (gradient.abs() + 1e-8), rtol=1e-9, atol=1e-12)


class Spy:
    """Notes which mixtures an evaluator is asked about, and whether alpha's or the weights'."""

    def __init__(self, task: fpnas.SupernetEvaluator) -> None:
        self.calls: list[tuple[str, dict[str, Tensor]]] = []
        learn, loss = task.mixed_train_step, task.soft_loss

        def mixed_train_step(weights: Mapping[str, Tensor], progress: float) -> Any:
            self.calls.append(("weights", dict(weights)))
            return learn(weights, progress)

        def soft_loss(weights: Mapping[str, Tensor]) -> Tensor:
            self.calls.append(("alpha", dict(weights)))
            return loss(weights)

        task.mixed_train_step = mixed_train_step  # type: ignore[method-assign]
        task.soft_loss = soft_loss  # type: ignore[method-assign]

    def order(self) -> str:
        return "".join(kind[0] for kind, _ in self.calls)


def test_darts_moves_alpha_and_then_the_weights_at_each_step_after_warm_up() -> None:
    task = task_of()
    spy = Spy(task)
    job = fpnas.methods.darts(task, None, epochs=2, lr=0.1, warmup=0.34)
    records = [job.step().metrics for _ in range(job.steps_total)]
    assert job.steps_total == 6
    assert spy.order() == "ww" + 4 * "aw"
    assert [record["val_loss"] is None for record in records] == [True, True, False, False, False, False]
    assert all(record["train_loss"] is not None for record in records)
    # The weights learn under the probabilities that the alpha step has left.
    logits = [weights for kind, weights in spy.calls if kind == "weights"][-1]
    wanted = mixture(job.distribution.logits.detach(), job.distribution)
    for name, weight in logits.items():
        torch.testing.assert_close(weight.detach(), wanted[name], rtol=0, atol=1e-12)
    first = spy.calls[0][1]
    for name, weight in first.items():
        torch.testing.assert_close(weight, torch.full_like(weight, 1 / len(weight)), msg=name)


def test_fbnetv2_moves_alpha_at_every_fourth_step() -> None:
    task = task_of(batch_size=3)
    spy = Spy(task)
    job = fpnas.methods.fbnetv2(task, None, epochs=2, lr=0.1, warmup=0.25, temperatures=(5.0, 0.1))
    records = [job.step().metrics for _ in range(job.steps_total)]
    assert job.steps_total == 16
    assert spy.order() == "wwww" + 3 * "awwww"
    assert [number for number, record in enumerate(records) if record["val_loss"] is not None] == [4, 8, 12]
    # Each mixture is a draw of its own, and colder ones are nearer to one-hot.
    heats = [max(float(w.detach().max()) for w in weights.values()) for _, weights in spy.calls]
    assert len(set(heats)) == len(heats)
    flat = [sum(float(w.detach().max()) for w in weights.values()) / len(weights) for _, weights in spy.calls]
    assert sum(flat[:4]) / 4 < 0.6 < 0.85 < sum(flat[-4:]) / 4


def test_the_temperature_stays_through_the_warm_up() -> None:
    """Mixtures of the warm-up are as hot as can be, and the last step is nearly as cold as is asked for."""
    heats: list[float] = []

    def relax(log_prob: Tensor, progress: float, draws: torch.Generator) -> Tensor:
        heats.append(progress)
        return softmax_weights(log_prob, progress, draws)

    job = fpnas.methods.fbnetv2(task_of(batch_size=3), None, epochs=2, warmup=0.5)
    assert isinstance(job.strategy, Soft)
    job.strategy.relax = relax
    for _ in range(job.steps_total):
        job.step()
    assert job.steps_total == 16
    assert set(heats[: 8 * len(NAMES)]) == {0.0}
    assert heats[-1] == 7 / 8


def test_soft_loss_is_the_loss_of_the_mixture_and_leaves_the_weights_alone() -> None:
    task = task_of()
    distribution = fpnas.ArchDistribution(task.space)
    weights = mixture(some_logits(distribution).requires_grad_(), distribution)
    before = {name: value.clone() for name, value in task.supernet.state_dict().items()}
    seen: list[Tensor] = []
    handle = task.supernet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    loss = task.soft_loss(weights)
    handle.remove()
    labels = task.data.train.labels[h.numbers_in(seen[0], task.data)]
    task.supernet.train()
    with fpnas.elastic.batch_statistics(task.supernet), torch.no_grad():
        logits = task.supernet.mix(weights)(seen[0])
    assert loss.item() == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-12)
    loss.backward()
    assert all(p.grad is None and p.requires_grad for p in task.supernet.parameters())
    assert all(torch.equal(value, before[name]) for name, value in task.supernet.state_dict().items())
    assert len(seen[0]) == 8


def test_soft_loss_and_score_look_at_one_batch() -> None:
    """At a one-hot mixture the loss is that of the architecture's score, before a step and after some."""
    task = task_of()
    codes = torch.tensor([task.space.encode(NARROW)])
    weights = one_hot(task.space, NARROW)
    found: list[float] = []
    for _ in range(4):
        score = float(task.score(codes)) / task.num_images
        found.append(float(task.soft_loss(weights)))
        assert found[-1] == pytest.approx(-score, rel=1e-9)
        task.mixed_train_step(weights, 0.0)
    assert len(set(found)) == 4


def test_a_soft_step_of_the_weights_is_a_hard_one_at_one_hot() -> None:
    """The same batch, gradient and step, for one architecture; weights that it lacks stay where they are."""
    hard, soft = task_of(), task_of()
    codes = torch.tensor([hard.space.encode(NARROW)])
    weights = {name: weight.requires_grad_() for name, weight in one_hot(soft.space, NARROW).items()}
    for progress in (0.0, 0.4):
        assert soft.mixed_train_step(weights, progress).loss == pytest.approx(
            hard.train_step(codes, progress).loss, rel=1e-9
        )
    assert all(weight.grad is None for weight in weights.values()), "alpha doesn't learn from the weights' half"
    start = dict(h.small_supernet(double=True).named_parameters())
    moved = 0
    for name, value in soft.supernet.named_parameters():
        torch.testing.assert_close(value, hard.supernet.get_parameter(name), rtol=1e-8, atol=1e-9)
        moved += not torch.equal(value, start[name])
    assert 10 < moved < len(start)


# --------------------------------------------------------------------------------------------------------- the mixtures


P = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)


@pytest.mark.parametrize(("progress", "temperature"), [(0.0, 5.0), (0.5, math.sqrt(0.5)), (1.0, 0.1)])
def test_a_gumbel_draw_by_its_formula(progress: float, temperature: float) -> None:
    """softmax((log p + g) / t), g = -log(-log u); t falls evenly on a log scale."""
    found = Gumbel(5.0, 0.1)(P.log(), progress, generator(0, "test"))
    u = torch.rand(4, generator=generator(0, "test"), dtype=torch.float64).tolist()
    scaled = [(math.log(p) - math.log(-math.log(value))) / temperature for p, value in zip(P.tolist(), u, strict=True)]
    top = max(scaled)
    total = sum(math.exp(value - top) for value in scaled)
    assert found.tolist() == pytest.approx([math.exp(value - top) / total for value in scaled], rel=1e-9, abs=1e-15)


def test_cold_gumbel_draws_are_nearly_one_hot_and_their_argmax_follows_p() -> None:
    relax, draws = Gumbel(5.0, 0.01), generator(0, "test")
    num = 4000
    found = torch.stack([relax(P.log(), 1.0, draws) for _ in range(num)])
    torch.testing.assert_close(found.sum(dim=1), torch.ones(num, dtype=torch.float64))
    assert found.max(dim=1).values.mean() > 0.98
    shares = found.argmax(dim=1).bincount(minlength=4) / num
    assert ((shares - P).abs() < 4 * (P * (1 - P) / num).sqrt()).all()


def test_alphas_draws_and_the_weights_draws_are_different_streams() -> None:
    task = task_of()
    spy = Spy(task)
    job = fpnas.methods.fbnetv2(task, None, epochs=1, lr=1e-9, warmup=0.0)
    job.step()
    (alpha, one), (weights, other) = spy.calls
    assert (alpha, weights) == ("alpha", "weights")
    assert all(not torch.allclose(one[name], other[name]) for name in one)


# ------------------------------------------------------------------------------------------------------------ the rest


@pytest.mark.parametrize("method", ["darts", "fbnetv2"])
def test_a_cost_without_tables_is_refused(method: str) -> None:
    """At the first step that would need it, in one line."""
    task = task_of()
    flops = fpnas.Flops(task.supernet, (1, 8, 8))

    class BlackBox:
        name, space = "coins", task.space

        def __call__(self, codes: Tensor) -> Tensor:
            return flops(codes)

        def bounds(self) -> tuple[float, float]:
            return flops.bounds()

    budget = fpnas.Budget(BlackBox(), 6e3)
    with pytest.raises(fpnas.InputError, match="a cost whose expectation is known, got coins") as caught:
        fpnas.methods.METHODS[method](task, budget, epochs=1, warmup=0.0, cost_term=TERM)
    assert "\n" not in str(caught.value)
