"""How ranks share a step of the shared weights: by data, or by architectures. With one rank nothing here happens.

By data, each rank runs all K architectures on its part of the batch, with that part's batch statistics. An importance
weight needs the log-likelihood of the whole batch, so each sample costs an all-reduce of one number. By architectures,
each rank runs its share of the K on the whole batch; the softmax over all of them is put together at the end, as an
online softmax is. Either way the gradients travel once a step, in one flat all-reduce with what else is summed.
A mixture of all architectures is split by data alone: the gradients of weights and of alpha are sums over the parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float64, Int64
from torch import Tensor, nn

from fpnas import parallel
from fpnas.data import EpochOrder
from fpnas.evaluators.gradients import OnlineWeights

Split: TypeAlias = Literal["data", "architectures"]
"""What ranks split: the images of a batch, or the architectures of a step."""


def combine(weights: OnlineWeights, split: Split) -> None:
    """Makes the sums those of all ranks, gradients among them; to be called by all of them, before `finish`."""
    if parallel.world_size() == 1:
        return
    top = parallel.greatest(weights.top)
    if top == -math.inf:
        return  # no sample counted on any rank
    weights.lift(top)
    # By data each rank has the same samples, and the same sum of weights.
    shared = parallel.world_size() if split == "data" else 1
    sums = [weights.total / shared, weights.weighted_loss]
    used = [float(parameter.grad is not None) for parameter in weights.parameters]
    like = weights.parameters[0]
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in weights.parameters]
    flat = torch.cat([*(part.flatten() for part in parts), torch.tensor([*sums, *used]).to(like)])
    flat = parallel.all_reduce_sum(flat)
    start = 0
    reached = flat[-len(used) :].tolist()
    for parameter, part, count in zip(weights.parameters, parts, reached, strict=True):
        # As with one rank: a weight that no sample used has no gradient, and the optimizer leaves it alone.
        parameter.grad = part.copy_(flat[start : start + part.numel()].view(part.shape)) if count else None
        start += part.numel()
    weights.total, weights.weighted_loss = flat[start : start + 2].tolist()


def own_images(half: Int64[Tensor, " n"], order: EpochOrder, split: Split) -> Callable[[int], Int64[Tensor, " b"]]:
    """From a step to the images that it takes on this rank, of a half of them."""

    def chosen(step: int) -> Tensor:
        of_half = order.batch(step)
        return half[parallel.share(of_half) if split == "data" else of_half]

    return chosen


def own_rows(costs: Float64[Tensor, " K"]) -> list[int]:
    """Which of K architectures this rank runs: the dearest first, each to the rank that has the least to do."""
    work, dealt = [0.0] * parallel.world_size(), [0] * len(costs)
    for number in sorted(range(len(costs)), key=lambda k: (-float(costs[k]), k)):
        dealt[number] = min(range(len(work)), key=lambda rank: work[rank])
        work[dealt[number]] += float(costs[number])
    return [number for number, rank in enumerate(dealt) if rank == parallel.rank()]


def sum_over_ranks(parameters: Sequence[nn.Parameter]) -> None:
    """Adds up the gradients that parameters have over the ranks, in one exchange."""
    if parallel.world_size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = parallel.all_reduce_sum(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view(gradient.shape))


def first_order(
    weights: Mapping[str, Tensor], parts: Sequence[tuple[Tensor, Tensor]], loss_of: Callable[..., Tensor]
) -> Tensor:
    """The sum of the losses of all ranks' parts, differentiable once in a mixture's weights.

    One part's graph is in memory at a time.

    Args:
        weights: of the mixture.
        parts: this rank's images and labels.
        loss_of: the loss of weights, images and labels.
    """
    leaves = {name: weight.detach().clone().requires_grad_() for name, weight in weights.items()}
    value = torch.zeros(1, dtype=torch.float64)
    for images, labels in parts:
        loss = loss_of(leaves, images, labels)
        loss.backward()
        value += loss.detach().cpu()
    gradients = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves.values()]
    flat = parallel.all_reduce_sum(torch.cat([value, *(gradient.flatten().cpu() for gradient in gradients)]))
    value, *slopes = flat.split([1, *(gradient.numel() for gradient in gradients)])
    return value.squeeze() + sum(
        ((weight - weight.detach()) * slope.to(weight).view_as(weight)).sum().cpu()
        for weight, slope in zip(weights.values(), slopes, strict=True)
    )
