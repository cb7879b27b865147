"""Fashion-MNIST: 60,000 training and 10,000 test images, 28 x 28 grey pixels, 10 classes (Xiao et al. 2017; MIT).

Where it lies, in the order it is looked for: `$FPNAS_DATA/fashion-mnist`, the cache folder, the folder of Debian's
package. It is downloaded only when asked for. Whatever goes by this name has the published contents, checked by
SHA-256: Debian's files are the official deflate streams under another gzip header, so their MD5s differ and their
contents don't (with the official header put back, all four have the official MD5s: a test does so).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from fpnas.data.download import DownloadError, RemoteFile, fetch_files
from fpnas.data.idx import content_sha256
from fpnas.data.idx_folder import FILES, Stem, image_sets, missing_files, read_idx_folder
from fpnas.data.places import cache_folder, own_folder
from fpnas.data.request import Parts
from fpnas.errors import InputError

NAME = "fashion-mnist"
URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
TIMEOUT_SECONDS = 30.0

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

OFFICIAL: Mapping[str, RemoteFile] = {
    "train-images-idx3-ubyte.gz": RemoteFile(26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    "train-labels-idx1-ubyte.gz": RemoteFile(29_515, "25c81989df183df01b3e8a0aad5dffbe"),
    "t10k-images-idx3-ubyte.gz": RemoteFile(4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
    "t10k-labels-idx1-ubyte.gz": RemoteFile(5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
}
"""The files of the official download, as its README states them."""

CONTENTS: Mapping[Stem, str] = {
    "train-images": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""SHA-256 of the files, unpacked."""


def folders() -> tuple[Path, ...]:
    """Where Fashion-MNIST is looked for, in order; a download goes to the first."""
    return (*dict.fromkeys((own_folder(NAME), cache_folder(NAME))), DEBIAN_FOLDER)


def find() -> Path | None:
    """The first folder that holds all four files."""
    return next((folder for folder in folders() if not missing_files(folder)), None)


def differing(values: Mapping[Stem, UInt8[Tensor, " ..."]], contents: Mapping[Stem, str] = CONTENTS) -> str | None:
    """The name of the first of four files that is not Fashion-MNIST's; None where all are."""
    # The labels first: they are small, and tell other data sets apart without hashing all images.
    stems = sorted(values, key=lambda stem: values[stem].numel())
    return next((FILES[stem] for stem in stems if content_sha256(values[stem]) != contents[stem]), None)


def fetch(
    folder: Path,
    *,
    url: str = URL,
    files: Mapping[str, RemoteFile] = OFFICIAL,
    contents: Mapping[Stem, str] = CONTENTS,
    timeout: float = TIMEOUT_SECONDS,
) -> None:
    """Puts the official files into `folder`: all four, with their MD5s and the contents' SHA-256s checked, or none.

    Raises:
        InputError: they can't be had; says where to put them, and the package that has them.
    """

    def accept(temporary: Path) -> None:
        wrong = differing(read_idx_folder(temporary), contents)
        if wrong is not None:
            raise DownloadError(f"other contents in {wrong}")

    try:
        fetch_files(url, files, folder, accept=accept, timeout=timeout)
    except (DownloadError, InputError) as error:
        raise InputError(f"Fashion-MNIST from {url}", str(error), _how_to_get(folder)) from error


def read_fashion_mnist(folder: str | Path | None = None, *, download: bool = False, url: str = URL) -> Parts:
    """Fashion-MNIST, 28 x 28 pixels.

    Args:
        folder: where its four files are; looked for in `folders()` by default.
        download: whether to fetch it where it isn't found.
        url: where to fetch it from.

    Raises:
        InputError: it isn't found or can't be had, or what is there is something else.
    """
    found = find() if folder is None else Path(folder)
    if found is None:
        found = folders()[0]
        if not download:
            places = ", ".join(f"'{place}'" for place in folders())
            partial = next((place for place in folders() if len(missing_files(place)) < len(FILES)), None)
            got = "none of its files" if partial is None else f"only some ('{partial}' is incomplete)"
            raise InputError(f"the four files of Fashion-MNIST in one of {places}", got, _how_to_get(found))
        fetch(found, url=url)
    values = read_idx_folder(found)
    wrong = differing(values)
    if wrong is not None:
        fix = f"replace it, or give the folder itself as the data: '{found}'"
        raise InputError("Fashion-MNIST as published", f"other contents in {wrong} of '{found}'", fix)
    return named(values)


def named(values: Mapping[Stem, UInt8[Tensor, " ..."]]) -> Parts:
    """The data set of files that are known to be Fashion-MNIST's."""
    train, test = image_sets(values)
    return Parts(NAME, CLASSES, train, test, "test")


def _how_to_get(folder: Path) -> str:
    return (
        f"put {', '.join(OFFICIAL)} into '{folder}', or run `apt-get install {DEBIAN_PACKAGE}` on Debian or Ubuntu, "
        "or ask for the download"
    )
