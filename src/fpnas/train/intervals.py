"""95 % intervals of proportions, as of a network's accuracy: how far the images at hand leave it open.

They say what another sample of images of the same origin may give for the same network; not what another training may.
"""

from __future__ import annotations

from statistics import NormalDist

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

_Z = NormalDist().inv_cdf(0.975)


def wilson(right: Int64[Tensor, " c"], images: Int64[Tensor, " c"]) -> Float64[Tensor, "c 2"]:
    """Wilson's interval of each proportion right / images, from 0 to 1; NaN where there are no images.

    It has a width also where none or all are right: 1 of 1 gives 0.207 to 1.
    """
    return _wilson(right.double() / images, images.double())


def of_mean(right: Int64[Tensor, " c"], images: Int64[Tensor, " c"]) -> Float64[Tensor, " 2"]:
    """The interval of the mean of the proportions right / images, each of its own images, from 0 to 1.

    It is Wilson's of one proportion p of as many images as give it the same variance: n = p (1 - p) / Var, where Var is
    the sum of p_c (1 - p_c) / n_c over the squared number of classes. There each class counts two more images, as right
    as classes are on average: one whose few images are all right isn't known for certain. In simulations of 2 to 1,000
    classes of 1 to 1,000 images it held the truth in 93 to 99 % of all draws.

    Args:
        right: how many of each class's images are right.
        images: how many there are, 1 or more.
    """
    k, n = right.double(), images.double()
    usual = ((k + 1) / (n + 2)).mean()
    shrunk = (k + 2 * usual) / (n + 2)
    middle, variance = shrunk.mean(), (shrunk * (1 - shrunk) / n).mean() / len(n)
    return _wilson((k / n).mean(), middle * (1 - middle) / variance)


def _wilson(p: Tensor, n: Tensor) -> Tensor:
    centre = (p * n + _Z**2 / 2) / (n + _Z**2)
    half = _Z * (n * p * (1 - p) + _Z**2 / 4).sqrt() / (n + _Z**2)
    return torch.stack([centre - half, centre + half], dim=-1).clamp(0, 1)
