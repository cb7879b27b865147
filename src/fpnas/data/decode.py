"""One encoded image, JPEG, PNG or WebP, becomes pixels. What comes is of unknown origin: sizes are checked before
memory is taken, and whatever Pillow says of a broken file becomes an `UnreadableImage`.

What becomes of the kinds of images that are neither plain grey nor plain RGB:

* palettes, CMYK and YCCK become RGB; 16 bits a channel become 8, the high byte;
* transparent pixels are laid on white;
* EXIF orientation is applied; of an animation, the first frame is taken;
* where a data set is grey a colour image becomes grey (ITU-R 601 luma), where it is RGB a grey one gets three channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fpnas.errors import reason

FORMATS = ("JPEG", "PNG", "WEBP")
LARGEST_PIXELS = 64 * 2**20
"""The most pixels of one image; a larger claim is taken for a decompression bomb."""

GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B")
_SIXTEEN_BITS = ("I", "I;16", "I;16B")

Pixels = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]


class UnreadableImage(Exception):
    """An image can't be decoded; the message is a reason to be put into a sentence."""


@dataclass(frozen=True)
class Header:
    """What an image says of itself: pixels, and whether it is grey."""

    width: int
    height: int
    is_grey: bool

    @property
    def short_side(self) -> int:
        """The shorter side in pixels, however the image is turned."""
        return min(self.width, self.height)


def read_header(content: bytes | Path) -> Header:
    """Reads what an image says of itself, without decoding it.

    Raises:
        UnreadableImage: it isn't an image of a known format, or claims too many pixels.
    """
    try:
        with _opened(content) as image:
            return Header(image.width, image.height, image.mode in GREY)
    except Exception as error:
        raise _reason(error) from error


def decode(content: bytes | Path, channels: int, enough: int | None = None) -> Pixels:
    """Decodes an image.

    Args:
        content: the file's bytes, or where it is.
        channels: 1 for grey, 3 for RGB.
        enough: the pixels of the shorter side beyond which no detail is needed: JPEGs are then decoded at a half, a
            quarter or an eighth of their size, several times faster, where that leaves at least so many.

    Returns:
        (channels, height, width) uint8.

    Raises:
        UnreadableImage: it can't be decoded, or claims too many pixels.
    """
    # Pillow's decoders raise a dozen kinds of errors on broken files, and which ones changes with its versions.
    try:
        with _opened(content) as image:
            if enough is not None and min(image.size) >= 2 * enough:
                image.draft(None, (enough, enough))
            image.load()
            return to_pixels(image, channels)
    except Exception as error:
        raise _reason(error) from error


def to_pixels(image: Image.Image, channels: int) -> Pixels:
    """The pixels of a decoded image as (channels, height, width) uint8, as the head of this file says."""
    if "exif" in image.info:
        image = ImageOps.exif_transpose(image)
    if image.mode in _SIXTEEN_BITS:
        values = np.asarray(image).astype(np.int64).clip(0, 65535) >> 8
        image = Image.fromarray(values.astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = "L" if channels == 1 else "RGB"
    if image.mode != mode:
        # A palette holds RGB colours, and Pillow converts it to grey through them.
        image = image.convert(mode)
    array = np.asarray(image)
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


def _opened(content: bytes | Path) -> Image.Image:
    image = Image.open(BytesIO(content) if isinstance(content, bytes) else content, formats=FORMATS)
    if image.width * image.height > LARGEST_PIXELS:
        image.close()
        raise UnreadableImage(f"it claims {image.width} x {image.height} pixels, more than {LARGEST_PIXELS}")
    return image


def _reason(error: Exception) -> UnreadableImage:
    if isinstance(error, UnreadableImage):
        return error
    no_image = isinstance(error, UnidentifiedImageError)
    return UnreadableImage("it is no JPEG, PNG or WebP image" if no_image else reason(error))
