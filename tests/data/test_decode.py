"""Decoding one image: every kind of image becomes what the module says, broken ones are told by a reason."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pictures import encoded, picture
from PIL import Image, ImageFile, features

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


def test_avif_and_a_file_of_two_photographs() -> None:
    flat = np.full((16, 24, 3), (200, 100, 50), np.uint8)
    if features.check("avif"):
        assert np.abs(rgb(decode(encoded(flat, "AVIF", quality=95), 3)).astype(int) - flat).max() <= 6
    other = Image.new("RGB", (8, 8))
    two = encoded(Image.fromarray(flat), "MPO", save_all=True, append_images=[other])  # as telephones write .jpg
    assert np.abs(rgb(decode(two, 3)).astype(int) - flat).max() <= 4


@pytest.fixture
def without_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Pillow that was built without WebP and AVIF, and no pillow-heif."""
    monkeypatch.setattr(module.features, "check", lambda _: False)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    module._formats.cache_clear()
    yield
    module._formats.cache_clear()


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (HEIC, r"it is HEIC, which needs the package pillow-heif: run `pip install 'fpnas\[heic\]'`"),
        (HEIC.replace(b"heic", b"avif"), "it is AVIF, which needs Pillow 11.3 or newer: run `pip install --upgrade"),
        (encoded(picture(0), "WEBP"), "it is WebP, which needs another Pillow"),
    ],
)
def test_a_format_that_this_pillow_cannot_read_says_what_to_install(
    without_formats: None, content: bytes, words: str
) -> None:
    for read in (read_header, lambda bytes: decode(bytes, 3)):
        with pytest.raises(UnreadableImage, match=words):
            read(content)


def test_heic_is_read_by_pillow_heif(without_formats: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Plugin(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self) -> None:
            self._size, self._mode = (5, 4), "RGB"

        def load(self) -> Any:
            self.im = Image.new("RGB", self.size, (1, 2, 3)).im
            return super().load()

    def register() -> None:
        Image.register_open("HEIF", Plugin, lambda prefix: prefix[4:12] == b"ftypheic")

    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(register_heif_opener=register))
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    module._formats.cache_clear()
    assert decode(HEIC, 3)[:, 0, 0].tolist() == [1, 2, 3]
    assert read_header(HEIC).width == 5


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
        (b"", "it is empty"),
        (b"not an image", "it is no JPEG, PNG, WebP, AVIF or HEIC image"),
        (encoded(picture(0), "BMP"), "it is BMP, which isn't read: convert it to PNG"),
        (encoded(picture(0), "GIF"), "it is GIF, which isn't read"),
        (encoded(picture(0), "TIFF"), "it is TIFF, which isn't read"),
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
