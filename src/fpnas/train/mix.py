"""Mixup (Zhang et al., 2018) and CutMix (Yun et al., 2019): each image of a batch is mixed with another of the batch.

As in both papers there is one share a batch; kornia draws one for each image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from fpnas.streams import as_global


def mixed(
    images: Tensor, labels: Tensor, num_classes: int, *, mixup: float, cutmix: float, stream: Generator
) -> tuple[Tensor, Tensor]:
    """Images x and labels y, mixed with their permutation x', y': lam x + (1 - lam) x', or a box of x' pasted into x.

    Args:
        images: (n, C, H, W), normalized.
        labels: (n,) int64.
        num_classes: length of a target.
        mixup: alpha of lam's Beta(alpha, alpha); 0 where only CutMix is wanted.
        cutmix: likewise; 0 where only mixup is wanted. A fair coin decides where both are above 0.
        stream: of all draws.

    Returns:
        Images, and targets (n, num_classes): lam onehot(y) + (1 - lam) onehot(y'), where lam is the share of x.
    """
    coin = float(torch.rand((), generator=stream))
    pasting = cutmix > 0 and (mixup == 0 or coin < 0.5)
    with as_global(stream):
        alpha = torch.tensor(cutmix if pasting else mixup)
        lam = float(torch.distributions.Beta(alpha, alpha).sample())
    partner = torch.randperm(len(images), generator=stream).to(images.device)
    if pasting:
        height, width = images.shape[2:]
        centre = torch.rand(2, generator=stream).tolist()
        rows, columns = (_span(size, place, lam) for size, place in zip((height, width), centre, strict=True))
        result = images.clone()
        result[:, :, rows, columns] = images[partner][:, :, rows, columns]
        lam = 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
    else:
        result = torch.lerp(images[partner], images, lam)
    one_hot = F.one_hot(labels, num_classes).to(images.dtype)
    return result, torch.lerp(one_hot[partner], one_hot, lam)


def _span(size: int, place: float, lam: float) -> slice:
    """A side of CutMix's box, sqrt(1 - lam) of the image's, around `place`, cut at the border."""
    centre, half = int(place * size), int(size * (1 - lam) ** 0.5) // 2
    return slice(max(0, centre - half), min(size, centre + half))
