"""Fashion-MNIST: where it is looked for, its checksums, and its download from a server on this machine."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import struct
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from handmade import idx_bytes, tiny_data, write_folder

from fpnas.data import fashion_mnist, load
from fpnas.data.download import RemoteFile
from fpnas.errors import InputError

PACKAGED = fashion_mnist.DEBIAN_FOLDER
needs_package = pytest.mark.skipif(
    not PACKAGED.is_dir(), reason=f"Debian's package {fashion_mnist.DEBIAN_PACKAGE} is not installed"
)


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
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder, and the address that a server on this machine has it under."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No Fashion-MNIST on this machine; the returned cache folder is where it would go."""
    monkeypatch.delenv("FPNAS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "no-package")
    return tmp_path / "cache" / "fpnas" / "fashion-mnist"


def published(folder: Path) -> tuple[dict[str, RemoteFile], dict[str, str]]:
    """Writes a little data set for a server to have; returns what a publisher would say of it."""
    data = tiny_data()
    write_folder(folder, data, packed=True)
    files = {
        path.name: RemoteFile(path.stat().st_size, hashlib.md5(path.read_bytes()).hexdigest())
        for path in sorted(folder.iterdir())
    }
    contents = {name.split("-idx")[0]: hashlib.sha256(idx_bytes(values)).hexdigest() for name, values in data.items()}
    return files, contents


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_downloads_whole_files_and_nothing_besides(served: tuple[Path, str], elsewhere: Path) -> None:
    folder, url = served
    files, contents = published(folder)
    fashion_mnist.fetch(elsewhere, url=url, files=files, contents=contents)
    assert files_in(elsewhere.parent) == sorted(files)
    assert all((elsewhere / name).read_bytes() == (folder / name).read_bytes() for name in files)
    assert fashion_mnist.find() == elsewhere


def test_a_download_replaces_what_was_incomplete(served: tuple[Path, str], elsewhere: Path) -> None:
    folder, url = served
    files, contents = published(folder)
    elsewhere.mkdir(parents=True)
    (elsewhere / "t10k-labels-idx1-ubyte.gz").write_bytes(b"half")
    fashion_mnist.fetch(elsewhere, url=url + "/", files=files, contents=contents)
    assert (elsewhere / "t10k-labels-idx1-ubyte.gz").read_bytes() == (folder / "t10k-labels-idx1-ubyte.gz").read_bytes()


@pytest.mark.parametrize("place", [0, 3])
def test_a_wrong_checksum_leaves_nothing_behind(served: tuple[Path, str], elsewhere: Path, place: int) -> None:
    folder, url = served
    files, contents = published(folder)
    path = folder / list(files)[place]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(InputError, match=f"wrong checksum from {url}/{path.name}"):
        fashion_mnist.fetch(elsewhere, url=url, files=files, contents=contents)
    assert files_in(elsewhere) == []


def test_a_wrong_length_leaves_nothing_behind(served: tuple[Path, str], elsewhere: Path) -> None:
    folder, url = served
    files, contents = published(folder)
    path = folder / next(iter(files))
    whole = path.read_bytes()
    for content, got in [(whole + bytes(10_000_000), "more bytes instead of"), (whole[:-7], "bytes instead of")]:
        path.write_bytes(content)
        with pytest.raises(InputError, match=got):
            fashion_mnist.fetch(elsewhere, url=url, files=files, contents=contents)
    assert files_in(elsewhere) == []


def test_md5_alone_is_not_trusted(served: tuple[Path, str], elsewhere: Path) -> None:
    folder, url = served
    files, contents = published(folder)
    with pytest.raises(InputError, match="other contents in t10k-images-idx3-ubyte"):
        fashion_mnist.fetch(elsewhere, url=url, files=files, contents=contents | {"t10k-images": "0" * 64})
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"not idx"))
    content = (folder / "train-labels-idx1-ubyte.gz").read_bytes()
    files["train-labels-idx1-ubyte.gz"] = RemoteFile(len(content), hashlib.md5(content).hexdigest())
    with pytest.raises(InputError, match="an IDX file"):
        fashion_mnist.fetch(elsewhere, url=url, files=files, contents=contents)
    assert files_in(elsewhere) == []


@pytest.mark.parametrize(
    ("path", "reason"), [("/absent", "404"), ("/slow", "timed out"), ("/cut", "bytes"), ("/babble", "no http")]
)
def test_a_failing_server_is_one_sentence(served: tuple[Path, str], elsewhere: Path, path: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as error:
        fashion_mnist.fetch(elsewhere, url=served[1] + path, timeout=0.2)
    message = str(error.value)
    assert "\n" not in message
    assert str(elsewhere) in message
    assert "apt-get install dataset-fashion-mnist" in message
    assert files_in(elsewhere) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "http://[", "file:///nowhere"])
def test_no_server_at_all_is_one_sentence(elsewhere: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(InputError, match=r"put train-images-idx3-ubyte\.gz, .* into "):
        fashion_mnist.read_fashion_mnist(download=True, url=url)


def test_a_folder_that_can_not_be_written_is_one_sentence(served: tuple[Path, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="or ask for the download"):
        fashion_mnist.fetch(tmp_path / "file" / "fashion-mnist", url=served[1])


def test_without_being_asked_nothing_is_downloaded(elsewhere: Path) -> None:
    with pytest.raises(InputError, match="none of its files") as error:
        fashion_mnist.read_fashion_mnist(url="http://127.0.0.1:1")
    assert str(elsewhere) in str(error.value)
    assert "apt-get install dataset-fashion-mnist" in str(error.value)
    assert not elsewhere.exists()
    elsewhere.mkdir(parents=True)
    (elsewhere / "t10k-labels-idx1-ubyte").write_bytes(b"")
    with pytest.raises(InputError, match=f"'{elsewhere}' is incomplete"):
        fashion_mnist.read_fashion_mnist()


def test_where_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("FPNAS_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    cache = tmp_path / ".cache" / "fpnas" / "fashion-mnist"
    assert fashion_mnist.folders() == (cache, PACKAGED)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert fashion_mnist.folders() == (cache, PACKAGED)
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert fashion_mnist.folders() == (Path("/c/fpnas/fashion-mnist"), PACKAGED)
    monkeypatch.setenv("FPNAS_DATA", "~/d")
    assert fashion_mnist.folders()[:2] == (tmp_path / "d" / "fashion-mnist", Path("/c/fpnas/fashion-mnist"))


def test_the_first_complete_folder_is_taken(elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPNAS_DATA", str(tmp_path / "own"))
    write_folder(elsewhere, tiny_data())
    incomplete = dict(list(tiny_data().items())[:3])
    write_folder(tmp_path / "own" / "fashion-mnist", incomplete)
    assert fashion_mnist.find() == elsewhere


def test_other_contents_do_not_go_by_its_name(elsewhere: Path) -> None:
    write_folder(elsewhere, tiny_data())
    with pytest.raises(InputError, match="other contents in t10k-labels-idx1-ubyte"):
        fashion_mnist.read_fashion_mnist()
    with pytest.raises(InputError, match="other contents"):
        fashion_mnist.read_fashion_mnist(elsewhere)


def official_bytes(name: str) -> bytes:
    """An official file, from Debian's: the deflate stream is the same, the header lacks the name and the time."""
    packaged = (PACKAGED / name).read_bytes()
    seconds = 0x59A7E9DE if name.startswith("train") else 0x59A7E9F3
    header = b"\x1f\x8b\x08\x08" + struct.pack("<I", seconds) + packaged[8:10]
    return header + name.removesuffix(".gz").encode() + b"\0" + packaged[10:]


@needs_package
def test_the_official_files_pass_their_checksums(served: tuple[Path, str], elsewhere: Path) -> None:
    folder, url = served
    for name in fashion_mnist.OFFICIAL:
        (folder / name).write_bytes(official_bytes(name))
    data = fashion_mnist.read_fashion_mnist(download=True, url=url)
    assert files_in(elsewhere) == sorted(fashion_mnist.OFFICIAL)
    assert len(data.train.labels) == 60_000


@needs_package
def test_the_packaged_files_are_fashion_mnist(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", PACKAGED)
    started = time.perf_counter()
    data = load(fashion_mnist.NAME)
    assert time.perf_counter() - started < 5  # 0.5 s on an idle core
    assert (len(data.train), len(data.heldout), data.image_size, data.in_channels) == (60_000, 10_000, 28, 1)
    assert data.train.labels.bincount().tolist() == [6000] * 10
    assert data.heldout.labels.bincount().tolist() == [1000] * 10
    assert data.mean == pytest.approx((0.2860,), abs=1e-4)  # as published
    assert data.std == pytest.approx((0.3530,), abs=1e-4)
    assert data.classes[9] == "Ankle boot"
    assert data.heldout_from == "test"
