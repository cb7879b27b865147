"""Decoding one image: every kind of image becomes what the module says, broken ones are told by a reason."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from pictures import encoded, picture
from PIL import Image

from fpnas.data import decode as module
from fpnas.data.decode import UnreadableImage, decode, read_header


def rgb(array: np.ndarray) -> np.ndarray:
    """(C, H, W) as (H, W, C)."""
    return array.transpose(1, 2, 0)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_lossless_kinds_give_the_pixels(kind: str, tmp_path: Path) -> None:
    pixels = picture(0, 5, 7)
    content = encoded(pixels, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert np.array_equal(rgb(decode(content, 3)), pixels)
    (tmp_path / "file").write_bytes(content)
    assert np.array_equal(decode(tmp_path / "file", 3), decode(content, 3))
    header = read_header(content)
    assert (header.width, header.height, header.short_side, header.is_grey) == (7, 5, 5, False)


def test_jpegs_in_rgb_and_cmyk() -> None:
    for image, colour in (
        (Image.new("RGB", (16, 16), (200, 100, 50)), (200, 100, 50)),
        (Image.new("CMYK", (16, 16), (0, 255, 255, 0)), (255, 0, 0)),
    ):
        assert np.abs(rgb(decode(encoded(image, "JPEG", quality=95), 3)).astype(int) - colour).max() <= 4


def test_grey_among_rgb_and_rgb_among_grey() -> None:
    bits = Image.fromarray(picture(3, channels=1)).convert("1")
    assert np.array_equal(decode(encoded(bits), 1)[0], np.asarray(bits) * np.uint8(255))
    grey = picture(1, channels=1)
    content = encoded(grey)
    assert read_header(content).is_grey
    assert np.array_equal(decode(content, 1), grey[None])
    assert np.array_equal(decode(content, 3), np.stack([grey] * 3))
    colour = picture(2)
    luma = (colour.astype(float) @ [0.299, 0.587, 0.114]).round()
    assert np.abs(decode(encoded(colour), 1)[0] - luma).max() <= 1


def test_sixteen_bits_keep_the_high_byte() -> None:
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    content = encoded(Image.fromarray(values))
    assert read_header(content).is_grey
    assert np.array_equal(decode(content, 1)[0], (values // 256).astype(np.uint8))
    assert np.array_equal(decode(content, 3)[2], (values // 256).astype(np.uint8))


def test_sixteen_bits_in_colour(tmp_path: Path) -> None:
    # Pillow doesn't write these: signature, header (4 x 4, 16 bits, RGB), one deflated block, end.
    values = np.arange(48, dtype=np.uint16).reshape(4, 4, 3) * 1300
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0))
    content += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert np.array_equal(rgb(decode(content, 3)), (values // 256).astype(np.uint8))


def test_transparent_pixels_are_laid_on_white() -> None:
    clear = Image.fromarray(np.dstack([picture(4), np.zeros((8, 8), np.uint8)]))
    assert decode(encoded(clear), 3).min() == 255
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert set(decode(encoded(half), 3).flatten().tolist()) <= {126, 127, 128}
    grey = Image.new("LA", (4, 4), (10, 0))
    assert read_header(encoded(grey)).is_grey
    assert decode(encoded(grey), 1).min() == 255


def test_a_palette_with_transparency() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([255, 0, 0, 0, 0, 255, 0, 255, 0])
    image.putpixel((0, 0), 2)
    content = encoded(image, transparency=2)
    assert not read_header(content).is_grey
    found = decode(content, 3)
    assert found[:, 0, 0].tolist() == [255, 255, 255]
    assert found[:, 3, 3].tolist() == [0, 0, 255]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied(kind: str) -> None:
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 255  # the left half
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by a quarter to the right
    found = decode(encoded(pixels, kind, exif=exif.tobytes()), 3)
    assert found.shape == (3, 16, 8)
    assert found[:, :7].min() > 200  # left has become up
    assert found[:, 9:].max() < 55


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.fromarray(picture(seed)) for seed in (5, 6)]
    content = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert np.array_equal(rgb(decode(content, 3)), picture(5))


def test_large_jpegs_are_decoded_small_but_never_below_what_is_enough() -> None:
    content = encoded(picture(7, 200, 300), "JPEG")
    assert decode(content, 3).shape == (3, 200, 300)
    assert decode(content, 3, enough=101).shape == (3, 200, 300)
    assert decode(content, 3, enough=100).shape == (3, 100, 150)
    assert decode(content, 3, enough=10).shape == (3, 25, 38)
    assert decode(encoded(picture(7, 200, 300)), 3, enough=10).shape == (3, 200, 300)


JPEG = encoded(picture(8, 64, 64), "JPEG")
PNG = encoded(picture(8, 64, 64))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no JPEG, PNG or WebP"),
        (b"not an image", "no JPEG, PNG or WebP"),
        (encoded(picture(0), "BMP"), "no JPEG, PNG or WebP"),
        (encoded(picture(0), "GIF"), "no JPEG, PNG or WebP"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (PNG[: len(PNG) // 2], "."),
        (PNG[:60] + bytes(50) + PNG[110:], "."),
        (encoded(picture(0), "WEBP")[:40], "."),
    ],
)
def test_what_is_no_image_or_only_half_of_one(content: bytes, words: str) -> None:
    with pytest.raises(UnreadableImage, match=words) as error:
        decode(content, 3)
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_000, 12_000, 60_000])
def test_a_decompression_bomb_is_refused_by_what_it_claims(side: int) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    content = PNG[:12] + header + struct.pack(">I", zlib.crc32(header)) + PNG[33:]
    for read in (read_header, lambda bytes: decode(bytes, 3)):
        with pytest.raises(UnreadableImage, match="pixels"):
            read(content)


def test_the_limit_of_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_PIXELS", 64)
    decode(encoded(picture(0)), 3)
    with pytest.raises(UnreadableImage, match="it claims 9 x 8 pixels, more than 64"):
        decode(encoded(picture(0, 8, 9)), 3)
