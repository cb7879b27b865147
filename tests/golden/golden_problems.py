"""The problems whose trajectories are stored, in float64 and of numbers that are equal on every machine.

Images and weights are whole numbers and uniform draws of torch's Mersenne twister; normal draws are not used, since
their vectorised versions differ in the last digits from processor to processor.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import helpers_run as h
import torch

import fpnas
from fpnas.memory import Memory
from fpnas.search import CostTerm

SAMPLES = CostTerm(beta=0.3, floor=0.05, estimator="samples")


def table_problem() -> fpnas.Search:
    """20 steps, 10 an epoch; 2 of warm-up, theta at 9; a budget that binds, its term from the step's own samples."""
    budget = fpnas.Budget(h.TableCost(), target=60.0)
    settings = {**h.PINNED, "cost_term": SAMPLES}
    return fpnas.methods.fpnas(h.TableEvaluator(10), budget, **settings, lam=1.0, epochs=2, seed=11)


@torch.no_grad()
def fill(module: torch.nn.Module) -> None:
    """Uniform weights of variance 1 / fan in."""
    for name, parameter in module.named_parameters():
        if parameter.dim() >= 2:
            draws = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            uniform = torch.rand(parameter.shape, generator=draws, dtype=torch.float64) - 0.5
            parameter.copy_(uniform * 2 * (3 / (parameter.numel() / len(parameter))) ** 0.5)


def supernet_problem() -> fpnas.Search:
    """10 steps, 5 an epoch; 1 of warm-up, theta at 4; FLOPs target that binds, its term from many others."""
    supernet = h.small_supernet(double=True)
    fill(supernet)
    task = fpnas.SupernetEvaluator(
        supernet,
        h.made_up(),
        batch_size=5,
        optimizer="sgd",
        lr=0.1,
        temperature=4.0,
        negligible=0.0,
        clip=5.0,
        weight_decay=1e-4,
        seed=13,
    )
    budget = fpnas.Budget(fpnas.Flops(supernet, (1, 8, 8)), target=6000.0)
    settings = {**h.PINNED, "cost_term": CostTerm(beta=0.3, floor=0.05, estimator="many", num_samples=64)}
    return fpnas.methods.fpnas(task, budget, **settings, lam=0.6, epochs=2, seed=14)


def training_problem() -> fpnas.Training:
    """8 steps, 4 an epoch: crop, flip, CutMix, drop path, a teacher, averaged weights, SGD with warm-up and cosine.

    CutMix copies pixels; mixup's float32 sums could differ in the last digits from machine to machine.
    """
    supernet = h.small_supernet(double=True)
    network = supernet.extract({**supernet.arch, "a.channels": 8})
    fill(network)
    recipe = fpnas.Recipe(
        epochs=2,
        batch_size=12,
        lr=0.1,
        weight_decay=1e-3,
        warmup=0.25,
        label_smoothing=0.1,
        ema=0.9,
        crop="pad",
        flip=True,
        cutmix=1.0,
        drop_path=0.3,
        teacher_weight=0.4,
    )
    teacher = lambda images: images[:, 0, ::4, ::4].flatten(1).double() * 2  # noqa: E731
    return fpnas.Training(network, h.made_up(), recipe=recipe, teacher=teacher, seed=9)


def training_trajectory(job: fpnas.Training) -> dict[str, Any]:
    """Each step's record and the norm of its weights; at the end those of the averaged ones, and logits."""
    steps: list[dict[str, Any]] = []
    for _ in range(job.steps_total):
        record = job.step().metrics
        steps.append({**record, "norms": {n: p.detach().norm().item() for n, p in job.network.named_parameters()}})
    trained = job.trained.eval()
    with torch.no_grad():
        logits = trained(job.data.normalize(job.data.heldout.inputs[:4])).tolist()
    return {"steps": steps, "logits": logits, "kept": {n: v.norm().item() for n, v in trained.named_parameters()}}


def method_on_table(name: str, **options: Any) -> fpnas.Search:
    """20 steps, 10 an epoch, 2 of warm-up; a budget that binds."""
    budget = fpnas.Budget(h.TableCost(), target=60.0)
    make = fpnas.methods.METHODS[name]
    return make(h.TableEvaluator(10), budget, epochs=2, seed=21, warmup=0.1, **options)


def posterior_on_table() -> fpnas.Search:
    """Theta at 9; scores that age and share a batch, cells with effects of their own, draws within the budget."""
    memory = Memory(h.TABLE_SPACE, batch_effect=1.0, half_life=15.0, interaction=0.2)
    options = {"lam": 1.0, "join_at": 0.45, "at_least": 2, "temperature": 8.0}
    return method_on_table("fpnas-posterior", memory=memory, **options)


def method_on_supernet(name: str, **options: Any) -> fpnas.Search:
    """20 steps, 5 an epoch, 2 of warm-up; a FLOPs target that binds."""
    supernet = h.small_supernet(double=True)
    fill(supernet)
    task = fpnas.SupernetEvaluator(
        supernet, h.made_up(), batch_size=5, optimizer="sgd", lr=0.1, clip=5.0, weight_decay=1e-4, seed=23
    )
    budget = fpnas.Budget(fpnas.Flops(supernet, (1, 8, 8)), target=6000.0)
    return fpnas.methods.METHODS[name](task, budget, epochs=4, seed=24, warmup=0.1, **options)


METHOD_PROBLEMS: dict[str, Callable[[], fpnas.Search]] = {
    "posterior_table_20": posterior_on_table,
    "parsec_table_20": lambda: method_on_table("parsec", num_samples=6, temperature=8.0, lr=0.1, cost_term=SAMPLES),
    "reinforce_table_20": lambda: method_on_table(
        "reinforce", num_samples=6, baseline_decay=0.9, lr=0.1, cost_term=CostTerm(beta=0.3)
    ),
    "random_table_20": lambda: method_on_table("random", num_samples=4),
    "evolution_table_20": lambda: method_on_table("evolution", num_samples=4, population=12, tournament=4),
    "darts_supernet_20": lambda: method_on_supernet("darts", lr=0.05, weight_decay=1e-3, cost_term=SAMPLES),
    "fbnetv2_supernet_20": lambda: method_on_supernet(
        "fbnetv2", lr=0.05, weight_decay=5e-4, temperatures=(5.0, 0.1), cost_term=SAMPLES
    ),
}
"""The other methods, with every number given: defaults move by measurement."""


PROBLEMS = {"fpnas_table_20": table_problem, "fpnas_supernet_10": supernet_problem}


def method_trajectory(job: fpnas.Search) -> dict[str, Any]:
    """Each step's record, its architectures and the logits after it; the answer; the norm of each weight."""
    steps: list[dict[str, Any]] = []
    done: list[Any] = []
    step = job.strategy.step

    def spy(*arguments: Any) -> Any:
        done.append(step(*arguments))
        return done[-1]

    job.strategy.step = spy
    for _ in range(job.steps_total):
        record = job.step().metrics
        distribution = job.distribution
        logits = [row[used].tolist() for row, used in zip(distribution.logits, distribution.is_option, strict=True)]
        steps.append({**record, "codes": done[-1].codes.tolist(), "logits": logits})
    supernet = getattr(job.evaluator, "supernet", None)
    weights = {} if supernet is None else {n: p.detach().norm().item() for n, p in supernet.named_parameters()}
    answer = job.answer()
    return {
        "steps": steps,
        "arch": dict(answer.arch),
        "log_prob": answer.log_prob,
        "how": answer.how,
        "weights": weights,
    }


def trajectory(job: fpnas.Search) -> dict[str, Any]:
    """The same without how the answer was found."""
    return {name: value for name, value in method_trajectory(job).items() if name != "how"}


MAKERS: dict[str, Callable[[], dict[str, Any]]] = {
    "training_8": lambda: training_trajectory(training_problem()),
    **{name: lambda problem=problem: trajectory(problem()) for name, problem in PROBLEMS.items()},
    **{name: lambda problem=problem: method_trajectory(problem()) for name, problem in METHOD_PROBLEMS.items()},
}
"""File name -> what it must hold."""
