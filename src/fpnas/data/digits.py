"""Digits, for a first try: 1,797 grey images of handwritten digits, 8 x 8 pixels, which scikit-learn carries with it.

They are enlarged to 32 x 32 pixels by default, the least that networks for small images take well. There are no test
images of their own, so a part is split off.
"""

from __future__ import annotations

import torch

from fpnas.data.images import ImageSet
from fpnas.data.request import Parts
from fpnas.errors import InputError

NAME = "digits"
IMAGE_SIZE = 32
_BRIGHTEST = 16


def read_digits() -> Parts:
    """Scikit-learn's digits.

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
    return Parts(NAME, tuple(str(digit) for digit in range(10)), every, None, "split", IMAGE_SIZE)
