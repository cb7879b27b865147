"""Windows and macOS: nothing that only POSIX has is needed to import fpnas, and paths are taken as they are there."""

from __future__ import annotations

import inspect
import ntpath
import os
import subprocess
import sys
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace

import pytest

import fpnas
from fpnas.data import groups
from fpnas.data.readers import csv_file
from fpnas.files import write_whole
from fpnas.runner import rehearsal
from fpnas.spaces import import_file, model
from fpnas.spaces.known import OWN

EVERY_MODULE = """
import builtins, os, pkgutil, signal, socket, sys, time
import fpnas

def every_module():
    return [
        __import__(found.name, fromlist=["_"])
        for found in pkgutil.walk_packages(fpnas.__path__, "fpnas.")
        if found.name != "fpnas.__main__"
    ]

first = every_module()  # with what other libraries import of POSIX, which they guard themselves
posix = {"fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}
known = builtins.__import__

def guarded(name, globals=None, *rest, **more):
    if (globals or {}).get("__name__", "").startswith("fpnas") and name in posix:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return known(name, globals, *rest, **more)

gone = {
    os: "chown fchmod fork forkpty getloadavg geteuid getgid getgroups getpgid getpriority getuid kill killpg lchown "
        "mkfifo nice openpty posix_fadvise posix_spawn pread sched_getaffinity sched_setaffinity setsid sysconf uname "
        "wait3 wait4 WNOHANG O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK",
    signal: "SIGALRM SIGCHLD SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGUSR1 SIGUSR2 SIGWINCH alarm pause pthread_kill "
        "pthread_sigmask setitimer sigwait",
    socket: "AF_UNIX",
    time: "tzset",
}
for module, names in gone.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
for name in [name for name in sys.modules if name.split(".")[0] == "fpnas"]:
    del sys.modules[name]
builtins.__import__ = guarded
import fpnas
second = every_module()
builtins.__import__ = known
assert len(second) == len(first) > 100, (len(first), len(second))
assert not {id(module) for module in first} & {id(module) for module in second}
resource = sys.modules["fpnas.runner.rehearsal"].resource
assert resource is None, resource
"""


def test_every_module_is_imported_without_what_windows_lacks() -> None:
    done = subprocess.run([sys.executable, "-c", EVERY_MODULE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_memory_is_not_told_where_the_system_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rehearsal.peak_memory_mb() > 10
    monkeypatch.setattr(rehearsal, "resource", None)
    assert rehearsal.peak_memory_mb() == 0.0


def test_a_file_is_written_whole_where_folders_can_not_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def as_on_windows(path: str | Path, *rest: int, **more: int) -> int:
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *rest, **more)

    monkeypatch.setattr(os, "open", as_on_windows)
    write_whole(tmp_path / "run.json", b"{}")
    write_whole(tmp_path / "run.json", b"[]")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("run.json", b"[]")]


@pytest.mark.parametrize("place", [r"C:\my nets\net.py", r"\\server\share\net.py", "c:net.py", "nets/löwe.py"])
def test_a_function_in_a_file_is_told_by_the_last_colon(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """POSIX takes such a path of Windows as the name of a file, so that what splits it can be tried here."""
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    file.write_text("from torch import nn\n\ndef my_net():\n    return nn.Sequential(nn.Conv2d(3, 8, 3))\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    before = dict(OWN)
    assert import_file(f"{place}:my_net") == "my-net"
    assert model("my-net").module[0].out_channels == 8
    assert before == OWN
    with pytest.raises(fpnas.InputError, match="none"):
        import_file(f"{place}:other")
    with pytest.raises(fpnas.InputError, match="registers a space"):
        import_file(place)


def test_files_of_windows_are_the_same_in_either_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "os", SimpleNamespace(path=ntpath))
    key, shown = map(inspect.unwrap, (groups._key, groups._shown))  # unchecked: a PureWindowsPath is no Path
    photo = PureWindowsPath(r"C:\Photos\Cat\1.JPG")
    assert key(photo) == key(PureWindowsPath("c:/photos/cat/../cat/1.jpg"))
    assert key(photo) != key(PureWindowsPath(r"D:\Photos\Cat\1.JPG"))
    assert shown(photo, PureWindowsPath("c:/photos")) == r"Cat\1.JPG"
    assert shown(photo, PureWindowsPath("d:/photos")) == r"C:\Photos\Cat\1.JPG"


def test_a_csv_names_a_file_once_in_any_case_where_that_is_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("a.png,cat\nA.png,dog\n")
    request = fpnas.data.request.Request(table)
    assert csv_file.read(request).classes == ("cat", "dog")
    monkeypatch.setattr("os.path.normcase", ntpath.normcase)
    with pytest.raises(fpnas.InputError, match=r"'A\.png' in lines 1 and 2"):
        csv_file.read(request)
