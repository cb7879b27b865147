"""From one encoded image to a square of pixels: all of it as it is judged, or a random part of it to learn from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fpnas.data.decode import Box, Pixels, decode, decode_part
from fpnas.data.images import Fit, resize_images
from fpnas.streams import generator

Square = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

_TRIES = 10
_RATIOS = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class Target:
    """What all images become: channels, pixels a side, and how those that aren't square become so."""

    channels: int
    size: int
    fit: Fit

    def decode(self, content: bytes | Path) -> Pixels:
        """The image, of any size.

        Raises:
            UnreadableImage: it can't be decoded.
        """
        # Twice the size: what is then resized still has all the detail that the result can show.
        return decode(content, self.channels, 2 * self.size)

    def fitted(self, pixels: Pixels) -> Square:
        """(C, size, size), of an image that was decoded."""
        if pixels.shape[1:] == (self.size, self.size):
            return pixels
        return resize_images(torch.from_numpy(np.array(pixels))[None], self.size, self.fit)[0].numpy()

    def whole(self, content: bytes | Path) -> Square:
        """(C, size, size) of the image, the same whoever makes it."""
        return self.fitted(self.decode(content))


@dataclass(frozen=True)
class Crops:
    """Random parts of images, as Inception has them: a function of (seed, epoch, image).

    Attributes:
        seed: of all draws.
        area: the least share of an image's area; its sides are at most as 4 to 3.
    """

    seed: int
    area: float

    def square(self, content: bytes | Path, target: Target, epoch: int, number: int) -> Square:
        """(C, size, size) of a part of image `number`, for an epoch.

        Raises:
            UnreadableImage: it can't be decoded.
        """
        return decode_part(
            content,
            target.channels,
            target.size,
            lambda width, height: self.box(width, height, epoch, number),
        )

    def box(self, width: int, height: int, epoch: int, number: int) -> Box:
        """The part, of an image of that size; the largest in the middle where none of ten draws fits."""
        draws = torch.rand(_TRIES, 4, generator=generator(self.seed, "crop", epoch, number)).tolist()
        low, high = map(math.log, _RATIOS)
        for of_area, of_ratio, of_left, of_top in draws:
            area = (self.area + (1 - self.area) * of_area) * width * height
            ratio = math.exp(low + (high - low) * of_ratio)
            wide, tall = math.sqrt(area * ratio) / width, math.sqrt(area / ratio) / height
            if wide <= 1 and tall <= 1:
                left, top = (1 - wide) * of_left, (1 - tall) * of_top
                return left, top, left + wide, top + tall
        least, most = (bound * height / width for bound in _RATIOS)
        wide = min(1.0, most)
        tall = min(1.0, 1 / least)
        return (1 - wide) / 2, (1 - tall) / 2, (1 + wide) / 2, (1 + tall) / 2
