"""The network to train: an architecture with fresh weights, or with those that it had in the supernet."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.optim.swa_utils import update_bn

from fpnas.cost.recorder import multiply_adds
from fpnas.data import Data, EpochOrder
from fpnas.elastic import Supernet, initialise
from fpnas.elastic.checks import evaluating
from fpnas.errors import InputError
from fpnas.space import Option
from fpnas.streams import generator
from fpnas.train.recipe import Recipe


def from_scratch(supernet: Supernet, arch: Mapping[str, Option], seed: int = 0) -> fx.GraphModule:
    """The plain network of `arch` with weights drawn for its own size; the supernet's may be on the meta device."""
    network = supernet.extract(arch)
    if any(parameter.is_meta for parameter in network.parameters()):
        network = network.to_empty(device="cpu")
    initialise(network, generator(seed, "network"))
    return network


def facts_of(network: nn.Module, data: Data) -> dict[str, Any]:
    """What arch.json says of a network: space and choices where it knows them, its input, multiply-adds, parameters."""
    known = getattr(network, "meta", {})
    device = next(iter(network.parameters()), torch.zeros(0)).device
    return {
        **{name: known[name] for name in ("space", "smaller", "pretrained", "choices") if name in known},
        **data.describe(),
        "num_classes": data.num_classes,
        "flops": multiply_adds(network, torch.zeros(1, *data.input_shape, dtype=data.input_dtype, device=device)),
        "params": sum(parameter.numel() for parameter in network.parameters()),
    }


def check_outputs(network: nn.Module, data: Data) -> None:
    """Warns where a network has outputs of no class: it learns not to give them, and they stay in its file.

    Raises:
        InputError: it gives no logits, or fewer than there are classes.
    """
    device = next(iter(network.parameters()), torch.zeros(0)).device
    with torch.no_grad(), evaluating(network):
        shape = tuple(network(torch.zeros(2, *data.input_shape, dtype=data.input_dtype, device=device)).shape)
    if len(shape) != 2 or shape[1] < data.num_classes:
        expected = f"logits of shape (2, {data.num_classes}) for two examples of {data.name!r}"
        raise InputError(expected, str(shape), "give the network as many outputs as there are classes")
    if shape[1] > data.num_classes:
        what = f"the network has {shape[1]} outputs for the {data.num_classes} classes of {data.name!r}"
        warnings.warn(f"{what}: it learns not to give the others, but keeps them", stacklevel=3)


def inherited(supernet: Supernet, arch: Mapping[str, Option], data: Data) -> fx.GraphModule:
    """The plain network of `arch` with the supernet's weights and batch norms recalibrated on training images."""
    network = supernet.extract(arch)
    recalibrate(network, data.normalized_by(supernet.normalization))
    return network


def recalibrate(network: nn.Module, data: Data, num_batches: int = 20, batch_size: int = 256) -> None:
    """Sets the running statistics of batch norms to those of training images; a search leaves them untouched."""
    order = EpochOrder(len(data.train), min(batch_size, len(data.train)), 0, "recalibrate")
    batches = (data.train.subset(order.batch(step)) for step in range(min(num_batches, order.steps_per_epoch)))
    with torch.no_grad():
        update_bn((data.normalize(batch.inputs) for batch in batches), network)


def optimizer_of(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's, with weight decay on parameters of two dimensions or more."""
    flat = [p for p in network.parameters() if p.dim() < 2]
    kernels = [p for p in network.parameters() if p.dim() >= 2]
    groups = [{"params": kernels, "weight_decay": recipe.decay}, {"params": flat, "weight_decay": 0.0}]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.max_lr, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=recipe.max_lr, fused=True)


def mend_statistics(network: nn.Module) -> None:
    """Running statistics that took in something not finite begin anew: an average would never get rid of it."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_var is not None:  # pyright: ignore[reportPrivateUsage]
            kept = (module.running_mean, module.running_var)
            if not all(bool(values.isfinite().all()) for values in kept if values is not None):
                module.reset_running_stats()


def placed(module: nn.Module, device: str) -> nn.Module:
    """On the device, channels last."""
    return module.to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
