"""A small picture of an image as text that a page can hold."""

from __future__ import annotations

import base64
import io

from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

SIDE = 96
"""Pixels a side at most."""
_EXACT = 32
"""Up to so many pixels a side each pixel is seen: these are kept exactly."""


def thumbnail(image: UInt8[Tensor, "c h w"]) -> str | None:
    """A data URL: a PNG of small images, a JPEG of at most `SIDE` pixels of others; None for 2, 4 or more channels."""
    channels = image.shape[0]
    if channels not in (1, 3):
        return None
    pixels = image.cpu().permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    kind = "png" if max(picture.size) <= _EXACT else "jpeg"
    picture.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    picture.save(out, kind, quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode()}"
