"""Digits, for a first try: 1,797 grey images of handwritten digits, 8 x 8 pixels, which scikit-learn carries with it.

They are enlarged to 32 x 32 pixels by default, the least that networks for small images take well. There are no test
images of their own, so a fifth is split off: which one depends on the seed alone.
"""

from __future__ import annotations

import torch

from fpnas.data.images import ImageData, ImageSet
from fpnas.data.splits import stratified_split
from fpnas.errors import InputError

NAME = "digits"
IMAGE_SIZE = 32
HELDOUT = 0.2
_BRIGHTEST = 16


def load_digits(*, image_size: int | None = None, seed: int = 0) -> ImageData:
    """Scikit-learn's digits, with a seeded fifth of each class held out.

    Args:
        image_size: pixels a side, 32 by default; enlarged straight from 8.
        seed: decides which images are held out, so it must be the same wherever held-out images are to stay unseen.

    Raises:
        InputError: scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        fix = "run `pip install 'fpnas[digits]'`"
        raise InputError("scikit-learn, which holds the digits", f"no such package ({error})", fix) from error
    pixels, labels = datasets.load_digits(return_X_y=True)  # (1797, 64), whole numbers 0..16; (1797,)
    values = torch.as_tensor(pixels).view(-1, 1, 8, 8)
    every = ImageSet((values * (255 / _BRIGHTEST)).round().to(torch.uint8), torch.as_tensor(labels).long())
    kept, held = stratified_split(every.labels, HELDOUT, seed)
    return ImageData.of(
        NAME,
        every.subset(kept),
        every.subset(held),
        classes=tuple(str(digit) for digit in range(10)),
        heldout_from="split",
        image_size=image_size or IMAGE_SIZE,
    )
