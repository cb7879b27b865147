"""One encoded image becomes pixels: JPEG, PNG, and WebP, AVIF and HEIC where the installed Pillow reads them.

What comes is of unknown origin: sizes are checked before memory is taken, and whatever Pillow says of a broken file
becomes an `UnreadableImage`.

What becomes of the kinds of images that are neither plain grey nor plain RGB:

* palettes, CMYK and YCCK become RGB; 16 bits a channel become 8, the high byte;
* transparent pixels are laid on white;
* EXIF orientation is applied; of an animation, the first frame is taken;
* where a data set is grey a colour image becomes grey (ITU-R 601 luma), where it is RGB a grey one gets three channels.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, features

from fpnas.errors import reason

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
        raise _reason(error, content) from error


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
        raise _reason(error, content) from error


Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of an image, as shares of its width and height."""


def decode_part(content: bytes | Path, channels: int, size: int, choose: Callable[[int, int], Box]) -> Pixels:
    """Decodes a part of an image, brought to `size` x `size` pixels (bilinear, antialiased where it shrinks).

    JPEGs are decoded at a half, a quarter or an eighth of their size where the part then still has `size` pixels.

    Args:
        content: the file's bytes, or where it is.
        channels: 1 for grey, 3 for RGB.
        size: pixels a side.
        choose: from the image's width and height to the part.

    Raises:
        UnreadableImage: it can't be decoded, or claims too many pixels.
    """
    try:
        with _opened(content) as image:
            left, top, right, bottom = choose(image.width, image.height)
            image.draft(None, (math.ceil(size / (right - left)), math.ceil(size / (bottom - top))))
            image.load()
            if image.mode not in ("L", "RGB") or image.has_transparency_data:
                array = to_pixels(image, channels)
                image = Image.fromarray(array[0] if channels == 1 else array.transpose(1, 2, 0))
            width, height = image.size
            box = (left * width, top * height, min(width, right * width), min(height, bottom * height))
            return to_pixels(image.resize((size, size), Image.Resampling.BILINEAR, box), channels)
    except Exception as error:
        raise _reason(error, content) from error


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


@functools.cache
def _formats() -> tuple[str, ...]:
    """The formats that are read, by Pillow's names; HEIC by the package pillow-heif, which Pillow can be taught."""
    try:
        heif: Any = import_module("pillow_heif")
        heif.register_heif_opener()
    except ImportError:
        pass
    Image.init()
    built_in = [name for name in ("WEBP", "AVIF") if name in Image.OPEN and features.check(name.lower())]
    return "JPEG", "PNG", *built_in, *(["HEIF"] if "HEIF" in Image.OPEN else [])


def _opened(content: bytes | Path) -> Image.Image:
    image = Image.open(BytesIO(content) if isinstance(content, bytes) else content, formats=_formats())
    if image.width * image.height > LARGEST_PIXELS:
        image.close()
        raise UnreadableImage(f"it claims {image.width} x {image.height} pixels, more than {LARGEST_PIXELS}")
    return image


def _reason(error: Exception, content: bytes | Path) -> UnreadableImage:
    if isinstance(error, UnreadableImage):
        return error
    if isinstance(error, UnidentifiedImageError):
        return UnreadableImage(_unidentified(content))
    # An OSError of the file system's says its number and the path too.
    return UnreadableImage(error.strerror if isinstance(error, OSError) and error.strerror else reason(error))


_NEEDS = {
    "WEBP": ("WebP", "another Pillow: run `pip install --upgrade pillow`"),
    "AVIF": ("AVIF", "Pillow 11.3 or newer: run `pip install --upgrade pillow`"),
    "HEIF": ("HEIC", "the package pillow-heif: run `pip install 'fpnas[heic]'`"),
}
"""What formats that not every Pillow reads are called, and what reads them."""

_OTHERS = {
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
}
"""How files of formats begin that aren't read."""


def _unidentified(content: bytes | Path) -> str:
    """What a file is that Pillow doesn't know, by its first bytes, and what to do about it."""
    if isinstance(content, Path):
        with content.open("rb") as file:
            content = file.read(64)
    if not content:
        return "it is empty"
    for start, name in _OTHERS.items():
        if content.startswith(start):
            return f"it is {name}, which isn't read: convert it to PNG"
    known = None
    if content[4:8] == b"ftyp":
        brands = content[8 : min(64, int.from_bytes(content[:4], "big"))]
        if b"avi" in brands:
            known = "AVIF"
        elif any(brand in brands for brand in (b"hei", b"hev", b"mif1", b"msf1")):
            known = "HEIF"
    elif content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        known = "WEBP"
    if known is None:
        return "it is no JPEG, PNG, WebP, AVIF or HEIC image"
    name, needed = _NEEDS[known]
    return f"a broken {name} image" if known in _formats() else f"it is {name}, which needs {needed}"
