"""Crops and mirror images of a batch of uint8 images, for trainings and for the short trainings of a search alike.

Every draw comes from the stream that is handed in, on the CPU; the images may be anywhere.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

PADDED = 1 / 8
"""Of an image's side: by so much at most a padded crop shifts it."""


def padded_crop(images: Tensor, stream: Generator) -> Tensor:
    """(n, C, H, W): each shifted by up to `PADDED` of H, at least a pixel, both ways; black comes in at the border."""
    height, width = images.shape[2:]
    pad = max(1, round(PADDED * height))
    # Drawn on the CPU, where the stream is; taken from a view of all shifts at once, wherever the images are.
    corners = torch.randint(2 * pad + 1, (len(images), 2), generator=stream).to(images.device, non_blocking=True)
    shifts = F.pad(images, (pad, pad, pad, pad)).unfold(2, height, 1).unfold(3, width, 1)
    return shifts[torch.arange(len(images), device=images.device), :, corners[:, 0], corners[:, 1]]


def flipped(images: Tensor, stream: Generator) -> Tensor:
    """(n, C, H, W): each mirrored, left to right, with probability 1/2."""
    chosen = (torch.rand(len(images), generator=stream) < 0.5).nonzero().flatten().to(images.device, non_blocking=True)
    mirrored = images.clone()
    mirrored[chosen] = images[chosen].flip(3)
    return mirrored
