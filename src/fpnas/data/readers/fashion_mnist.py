"""Fashion-MNIST: 60,000 training and 10,000 test images, 28 x 28 grey pixels, 10 classes (Xiao et al. 2017; MIT).

Its four files are looked for in `$FPNAS_DATA/fashion-mnist`, in the cache and in the folder of Debian's package, and
downloaded only when asked for. Each is gzip around IDX: a header (16 bytes before images, 8 before labels), then a byte
a pixel or label. The SHA-256 of what is within is known, so nothing else in a file has to be checked. Debian's files
differ from the official ones in the header of gzip alone.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import os
import urllib.request
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from filelock import FileLock

from fpnas.data.images import ImageSet
from fpnas.data.request import Parts, Request
from fpnas.errors import InputError, reason
from fpnas.files import cache_folder, data_folder, write_whole

FORM = "fashion-mnist"
URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
TIMEOUT_SECONDS = 30.0

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")

FILES: Mapping[str, str] = {
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""SHA-256 of the files, unpacked."""

LARGEST = 16 + 60_000 * 28 * 28
"""The bytes of the largest file, unpacked; packed, too, a file has no more."""


def recognises(data: str | Path) -> bool:
    """By its name."""
    return data == FORM


def folders() -> tuple[Path, ...]:
    """Where Fashion-MNIST is looked for, in order; a download goes to the first."""
    return (*dict.fromkeys((data_folder(FORM), cache_folder(FORM))), DEBIAN_FOLDER)


def read(request: Request) -> Parts:
    """Fashion-MNIST, from the first folder that has all of it, or the first folder after a download."""
    places = {folder: _missing(folder) for folder in folders()}
    found = next((folder for folder, missing in places.items() if not missing), folders()[0])
    if places[found] and request.download:
        _download(found)
    elif places[found]:
        partial = next((folder for folder, missing in places.items() if len(missing) < len(FILES)), None)
        got = "none of them" if partial is None else f"'{partial}' without {', '.join(places[partial])}"
        named = " or ".join(f"'{folder}'" for folder in places)
        raise InputError(f"the four files of Fashion-MNIST in {named}", got, _how_to_get(found))
    try:
        contents = [_unpacked(found / name, name) for name in FILES]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        got = f"other files in '{found}' ({reason(error)})"
        raise InputError("Fashion-MNIST as published", got, f"remove them, then {_how_to_get(found)}") from error
    values = [torch.frombuffer(bytearray(content), dtype=torch.uint8) for content in contents]
    train, test = (ImageSet(values[at][16:].view(-1, 1, 28, 28), values[at + 1][8:].long()) for at in (0, 2))
    return Parts(FORM, CLASSES, train, test, "test")


def _missing(folder: Path) -> list[str]:
    # Not Path.is_file, which raises where a folder may not be entered.
    return [name for name in FILES if not os.path.isfile(folder / name)]


def _unpacked(file: Path | io.BytesIO, name: str) -> bytes:
    """The content of a file; an error of gzip's, or ValueError, where it isn't that of Fashion-MNIST's file `name`."""
    with gzip.open(file) as packed:
        content = packed.read(LARGEST + 1)
    if hashlib.sha256(content).hexdigest() != FILES[name]:
        raise ValueError(f"{name} has the wrong checksum")
    return content


def _download(folder: Path) -> None:
    """Puts the four files into `folder` once all are there and sound; processes that do so at once wait in turn."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            if _missing(folder):
                contents = {name: _fetched(name) for name in FILES}
                for name, content in contents.items():
                    write_whole(folder / name, content)
    # URLError and timeouts are OSErrors; ValueError is what an ill-formed address gives.
    except (OSError, http.client.HTTPException, EOFError, zlib.error, ValueError) as error:
        raise InputError(f"Fashion-MNIST from {URL}", reason(error), _how_to_get(folder)) from error


def _fetched(name: str) -> bytes:
    with urllib.request.urlopen(f"{URL}/{name}", timeout=TIMEOUT_SECONDS) as answer:
        content: bytes = answer.read(LARGEST)  # an endless answer must not fill the memory
    _unpacked(io.BytesIO(content), name)
    return content


def _how_to_get(folder: Path) -> str:
    return (
        f"put {', '.join(FILES)} into '{folder}', or run `apt-get install {DEBIAN_PACKAGE}` on Debian or Ubuntu, "
        "or ask for the download"
    )
