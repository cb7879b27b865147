"""Fetches files over HTTP into a folder, whole or not at all: checked first, moved into place afterwards.

Which files, from where and with which checksums is left to the data sets.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fpnas.errors import FpnasError

_BLOCK = 1 << 20


class DownloadError(FpnasError):
    """A download failed; the message is a reason to be put into a sentence. No file was left behind."""


@dataclass(frozen=True)
class RemoteFile:
    """What a file to be fetched must be: its length in bytes and its MD5, as its publisher states it."""

    size: int
    md5: str


def fetch_files(
    base_url: str,
    files: Mapping[str, RemoteFile],
    folder: Path,
    *,
    accept: Callable[[Path], None],
    timeout: float,
) -> None:
    """Fetches `base_url`/name for each file into `folder`.

    Everything goes to a temporary folder in `folder` until each file has its length and its MD5 and `accept` has
    raised nothing; so a reader never meets half a file, and concurrent downloads (ranks of one run) don't disturb
    each other.

    Args:
        base_url: where the files are.
        files: what they must be, by name.
        folder: where they go; made where it isn't there.
        accept: given the temporary folder, the last say on the contents.
        timeout: seconds to wait for the connection, and for each answer on it.

    Raises:
        DownloadError: a file is not to be had or is another one, or the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Inside, not beside: the folder may be a mount of its own, and files only move whole within one file system.
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as temporary:
            for name, file in files.items():
                _fetch(f"{base_url.rstrip('/')}/{name}", file, Path(temporary) / name, timeout)
            accept(Path(temporary))
            for name in files:
                os.replace(Path(temporary) / name, folder / name)
    except (OSError, http.client.HTTPException, ValueError) as error:
        # URLError and timeouts are OSErrors; ValueError is what an ill-formed URL gives.
        raise DownloadError(" ".join(str(error).split()) or type(error).__name__) from error


def _fetch(url: str, file: RemoteFile, target: Path, timeout: float) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    size = 0
    try:
        answer = urllib.request.urlopen(url, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise DownloadError(f"'{error}' from {url}") from error
    with answer, target.open("wb") as out:
        # Read one byte more than there should be at most: an endless answer must not fill the disk.
        while block := answer.read(min(_BLOCK, file.size + 1 - size)):
            size += len(block)
            digest.update(block)
            out.write(block)
    if size != file.size:
        got = "more" if size > file.size else str(size)
        raise DownloadError(f"{got} bytes instead of {file.size} from {url}")
    if digest.hexdigest() != file.md5:
        raise DownloadError(f"a file with the wrong checksum from {url}")
