"""Accuracy of a plain network on held-out images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from fpnas.data import Data


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy in percent and mean loss in nats over `num_images`."""

    accuracy: float
    loss: float
    num_images: int


@torch.no_grad()
def accuracy(model: nn.Module, data: Data, batch_size: int = 512, device: str = "cpu") -> Accuracy:
    """Evaluates `model` on the held-out images of `data`; its mode is restored afterwards."""
    training = model.training
    model.eval()
    correct, loss, total = 0, 0.0, len(data.heldout)
    for start in range(0, total, batch_size):
        part = slice(start, start + batch_size)
        labels = data.heldout.labels[part].to(device)
        logits = model(data.normalize(data.heldout.inputs[part].to(device)))
        correct += int((logits.argmax(dim=1) == labels).sum())
        loss += float(F.cross_entropy(logits, labels, reduction="sum"))
    model.train(training)
    return Accuracy(100 * correct / total, loss / total, total)
