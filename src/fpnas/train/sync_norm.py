"""Batch norms that see all ranks' images: in training, mean and variance over (N, H, W) of all ranks together.

    y = (x - mean) / sqrt(var + eps) * weight + bias,   var divided by n; running_var takes it divided by n - 1

On GPUs these are torch's own `SyncBatchNorm`, which CPUs lack; there two differentiable all-reduces do the same.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from fpnas import parallel


def synchronised(network: nn.Module, device: str) -> nn.Module:
    """A copy of the network that shares its parameters and buffers, with batch norms that see all ranks' images.

    Args:
        network: stays as it is.
        device: where it runs.
    """
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    copied = copy.deepcopy(network, shared)
    return _on_cpu(copied) if device == "cpu" else nn.SyncBatchNorm.convert_sync_batchnorm(copied)


def _on_cpu(module: nn.Module) -> nn.Module:
    if isinstance(module, _BatchNorm):
        return SyncOnCpu(module)
    for name, child in module.named_children():
        module.add_module(name, _on_cpu(child))
    return module


class SyncOnCpu(nn.Module):
    """What torch's `SyncBatchNorm` does on a GPU.

    Args:
        norm: the batch norm whose weights and running statistics it uses.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        if not self.training:
            return norm(x)
        along = [0, *range(2, x.dim())]
        across = [1, -1, *[1] * (x.dim() - 2)]
        count = float(parallel.all_reduce_sum(torch.tensor(x.numel() / x.shape[1], dtype=torch.float64)))
        mean = _summed(x.float().sum(along)) / count
        centred = x.float() - mean.view(across)
        var = _summed(centred.square().sum(along)) / count
        if norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
            momentum = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
            norm.running_mean.lerp_(mean.detach(), momentum)
            norm.running_var.lerp_(var.detach() * (count / (count - 1)), momentum)
        y = centred * (var + norm.eps).rsqrt().view(across)
        if norm.affine:
            y = y * norm.weight.view(across) + norm.bias.view(across)
        return y.to(x.dtype)


def _summed(value: Tensor) -> Tensor:
    """The sum over the ranks, differentiable."""
    return all_reduce(value) if parallel.world_size() > 1 else value
