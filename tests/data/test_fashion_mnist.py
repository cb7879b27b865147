"""Fashion-MNIST: where it is looked for, its checksums, and its download from a server on this machine."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fpnas.data import ImageData, load
from fpnas.data.readers import fashion_mnist
from fpnas.errors import InputError

PACKAGED = fashion_mnist.DEBIAN_FOLDER
LAST = "t10k-labels-idx1-ubyte.gz"


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        if "slow" in self.path:
            time.sleep(1)
        elif "cut" in self.path:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"short")
        elif "babble" in self.path:
            self.wfile.write(b"no http at all\n\n")
        else:
            super().do_GET()


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No Fashion-MNIST on this machine; the returned cache folder is where it would go."""
    monkeypatch.delenv("FPNAS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "no-package")
    return tmp_path / "cache" / "fpnas" / "fashion-mnist"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a Fashion-MNIST of 20 and 8 images, which is taken for the published one."""
    rng = np.random.default_rng(0)
    contents: dict[str, bytes] = {}
    for part, count in (("train", 20), ("t10k", 8)):
        images, labels = rng.integers(0, 256, (count, 28, 28), np.uint8), np.arange(count, dtype=np.uint8) % 10
        sizes = count.to_bytes(4, "big")
        contents[f"{part}-images-idx3-ubyte.gz"] = b"\0\0\x08\3" + sizes + 2 * b"\0\0\0\x1c" + images.tobytes()
        contents[f"{part}-labels-idx1-ubyte.gz"] = b"\0\0\x08\1" + sizes + labels.tobytes()
    folder = tmp_path / "served"
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(gzip.compress(content, mtime=0))
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(fashion_mnist, "FILES", sums)
    return folder


@pytest.fixture
def served(tiny: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same, and a server on this machine that has it."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tiny)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(fashion_mnist, "URL", f"http://127.0.0.1:{server.server_port}")
    yield tiny
    server.shutdown()
    server.server_close()
    thread.join()


def fashion(download: bool = False) -> ImageData:
    return load("fashion-mnist", download=download)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name != ".lock")


def refused(words: str, download: bool = True) -> str:
    with pytest.raises(InputError, match=words) as error:
        fashion(download)
    message = str(error.value)
    assert "\n" not in message
    assert "apt-get install dataset-fashion-mnist" in message
    return message


def test_downloads_whole_files_and_nothing_besides(served: Path, elsewhere: Path) -> None:
    elsewhere.mkdir(parents=True)
    (elsewhere / LAST).write_bytes(b"half")
    data = fashion(download=True)
    assert files_in(elsewhere.parent) == sorted(fashion_mnist.FILES)
    assert all((elsewhere / name).read_bytes() == (served / name).read_bytes() for name in fashion_mnist.FILES)
    content = gzip.decompress((served / "train-images-idx3-ubyte.gz").read_bytes())
    assert data.train.inputs.numpy().tobytes() == content[16:]
    assert (data.train.labels.tolist(), len(data.heldout)) == ([*range(10)] * 2, 8)
    assert fashion().digest == data.digest


def test_several_may_download_at_once(served: Path, elsewhere: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        digests = [data.digest for data in threads.map(fashion, [True] * 4)]
    assert len(set(digests)) == 1


def test_other_contents_are_refused_and_leave_nothing_behind(served: Path, elsewhere: Path) -> None:
    whole = (served / LAST).read_bytes()
    bomb = gzip.compress(bytes(100_000_000))
    for content in (whole[:-1] + b"?", whole[:-7], whole + b"more", b"no gzip", gzip.compress(b"other"), bomb, b""):
        (served / LAST).write_bytes(content)
        assert str(elsewhere) in refused(f"Fashion-MNIST from {fashion_mnist.URL}, got ")
        assert files_in(elsewhere) == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("/absent", "404"),
        ("/slow", "timed out"),
        ("/cut", "gzip"),
        ("/babble", "no http"),
        ("http://127.0.0.1:1", "refused"),
        ("nonsense", "unknown url type"),
        ("http://[", "Invalid IPv6"),
        ("file:///nowhere", "No such file"),
    ],
)
def test_a_failing_server_is_one_sentence(
    served: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, url: str, reason: str
) -> None:
    monkeypatch.setattr(fashion_mnist, "URL", fashion_mnist.URL + url if url.startswith("/") else url)
    monkeypatch.setattr(fashion_mnist, "TIMEOUT_SECONDS", 0.2 if url == "/slow" else 30)
    assert f"put train-images-idx3-ubyte.gz, {list(fashion_mnist.FILES)[1]}" in refused(reason)
    assert files_in(elsewhere) == []


def test_a_folder_that_can_not_be_written_is_one_sentence(served: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file")
    refused("or ask for the download")


def test_without_being_asked_nothing_is_downloaded(served: Path, elsewhere: Path) -> None:
    assert str(elsewhere) in refused("the four files of Fashion-MNIST in .*, got none of them", download=False)
    assert not elsewhere.exists()
    elsewhere.mkdir(parents=True)
    for name in list(fashion_mnist.FILES)[1:]:
        (elsewhere / name).write_bytes(b"")
    refused(f"got '{elsewhere}' without {next(iter(fashion_mnist.FILES))}", download=False)


def test_where_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("FPNAS_DATA", raising=False)
    for cache, folder in (("", tmp_path / ".cache"), ("relative", tmp_path / ".cache"), ("/c", Path("/c"))):
        monkeypatch.setenv("XDG_CACHE_HOME", cache)
        assert fashion_mnist.folders() == (folder / "fpnas" / "fashion-mnist", PACKAGED)
    monkeypatch.setenv("FPNAS_DATA", "~/d")
    assert fashion_mnist.folders()[:2] == (tmp_path / "d" / "fashion-mnist", Path("/c/fpnas/fashion-mnist"))


def test_the_first_complete_folder_is_taken(
    tiny: Path, elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FPNAS_DATA", str(tmp_path / "own"))
    (tmp_path / "own" / "fashion-mnist").mkdir(parents=True)
    (tmp_path / "own" / "fashion-mnist" / LAST).write_bytes(b"incomplete")
    elsewhere.parent.mkdir(parents=True)
    tiny.rename(elsewhere)
    assert len(fashion().train) == 20
    (elsewhere / LAST).write_bytes(gzip.compress(b"other"))
    assert str(elsewhere) in refused(f"Fashion-MNIST as published, got .*{LAST} has the wrong checksum", download=False)


def test_the_packaged_files_are_fashion_mnist(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not PACKAGED.is_dir():
        pytest.skip(f"Debian's package {fashion_mnist.DEBIAN_PACKAGE} is not installed")
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", PACKAGED)
    started = time.perf_counter()
    data = fashion()
    assert time.perf_counter() - started < 5  # 0.5 s on an idle core
    assert (len(data.train), len(data.heldout), data.image_size, data.in_channels) == (60_000, 10_000, 28, 1)
    assert data.train.labels.bincount().tolist() == [6000] * 10
    assert data.heldout.labels.bincount().tolist() == [1000] * 10
    assert data.mean == pytest.approx((0.2860,), abs=1e-4)  # as published
    assert data.std == pytest.approx((0.3530,), abs=1e-4)
    assert data.classes[9] == "Ankle boot"
    assert data.heldout_from == "test"
