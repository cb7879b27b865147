"""Digits, for a first try: 1,797 grey images of handwritten digits, 8 x 8 pixels, which scikit-learn carries with it.

They are enlarged to 32 x 32 pixels by default, the least that networks for small images take well. There are no test
images of their own, so a part is split off.
"""

from __future__ import annotations

from pathlib import Path

import torch

from fpnas.data.images import ImageSet
from fpnas.data.request import Parts, Request
from fpnas.errors import missing_extra

FORM = "digits"
IMAGE_SIZE = 32
_BRIGHTEST = 16


def recognises(data: str | Path) -> bool:
    """By its name."""
    return data == FORM


def read(request: Request) -> Parts:
    """Scikit-learn's digits."""
    del request  # there are no choices
    try:
        from sklearn import datasets
    except ImportError as error:
        raise missing_extra("scikit-learn, which holds the digits", "digits", error) from error
    pixels, labels = datasets.load_digits(return_X_y=True)  # (1797, 64), whole numbers 0..16; (1797,)
    values = torch.as_tensor(pixels).view(-1, 1, 8, 8)
    every = ImageSet((values * (255 / _BRIGHTEST)).round().to(torch.uint8), torch.as_tensor(labels).long())
    return Parts(FORM, tuple(str(digit) for digit in range(10)), every, None, "split", IMAGE_SIZE)
