"""A run's folder: claimed by one process, its JSON files and logs, written so that a crash leaves nothing half done."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from filelock import FileLock, Timeout

from fpnas import files
from fpnas.errors import RunFolderError

FORMAT = 2
"""Version of the folder's layout, in run.json."""


class RunFolder:
    """A claimed run folder; a context manager that lets go of it at the end.

    Args:
        path: made where it isn't there.
        kind: "search" or "train".
        settings: of the run, plain JSON.
        facts: what else run.json keeps (versions, hardware, command); written once.

    Raises:
        RunFolderError: another process works in it, it holds another run or other files, or it can't be written.
    """

    def __init__(self, path: str | Path, kind: str, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        self.path = Path(path)
        wanted = cast("dict[str, Any]", json.loads(json.dumps(settings)))
        try:
            known = self._known_settings(kind)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        if known is not None:
            _refuse_other(self.path, known, wanted)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.path / ".lock")
            self._lock.acquire(timeout=0)
        except Timeout:
            raise RunFolderError(
                "a folder that no other process works in", f"{self.path}, in use", "wait for it, or take another --out"
            ) from None
        except OSError as error:
            raise _unwritable(self.path, error) from error
        try:
            if known is None:
                run: dict[str, Any] = {"format": FORMAT, "kind": kind, "settings": wanted, **facts}
                self.write_json("run.json", run)
        except BaseException:
            self._lock.release()
            raise

    def _known_settings(self, kind: str) -> dict[str, Any] | None:
        """The settings of the run that the folder holds, or None where it is new or empty."""
        if not self.path.exists():
            return None
        if not self.path.is_dir():
            raise RunFolderError("a folder for the run", f"the file {self.path}", "choose another --out")
        run = self.path / "run.json"
        if not run.exists():
            _refuse_foreign(self.path)
            return None
        record = read_json(run)
        if record.get("format") != FORMAT or not isinstance(record.get("settings"), dict):
            got = f"format {record.get('format')!r} in {run}"
            raise RunFolderError(f"a run folder of format {FORMAT}", got, "use the version of fpnas that wrote it")
        if record.get("kind") != kind:
            got = f"a {record.get('kind')} in {self.path}"
            raise RunFolderError(f"a new folder, or one with this {kind}", got, "choose another --out")
        return cast("dict[str, Any]", record["settings"])

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def write_json(self, name: str, value: Any) -> None:
        """Writes `name` whole or not at all."""
        self.write_bytes(name, (json.dumps(finite(value), indent=2) + "\n").encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Writes `name` whole or not at all."""
        write_whole(self.path / name, content)

    def cut_log(self, name: str, size: int) -> None:
        """Cuts a log back to its first `size` bytes, the state at a checkpoint; one of no bytes goes."""
        path = self.path / name
        try:
            if size == 0:
                path.unlink(missing_ok=True)
            elif not path.exists() or path.stat().st_size < size:
                got = f"fewer in {path}"
                raise RunFolderError(f"the {size} bytes that were logged", got, "restore the file, or start anew")
            else:
                os.truncate(path, size)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def append(self, name: str, line: Mapping[str, Any]) -> int:
        """Appends a line of JSON to a log; the log's size afterwards, in bytes."""
        try:
            with (self.path / name).open("ab") as file:
                file.write((json.dumps(finite(line)) + "\n").encode())
                return file.tell()
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def sync_log(self, name: str) -> None:
        """Returns once the log, where there is one, is on disk: a checkpoint that counts its bytes may follow."""
        try:
            with (self.path / name).open("rb") as file:
                os.fsync(file.fileno())
        except FileNotFoundError:
            pass
        except OSError as error:
            raise _unwritable(self.path, error) from error


def refuse_before(folder: Path, stage: str) -> None:
    """For a run whose folder gets a stage's folder first: refuses a folder that is none of its own.

    Raises:
        RunFolderError: it holds other files, or a run without that stage.
    """
    if (folder / "run.json").exists():
        if not (folder / stage).exists():
            got = f"a run without {stage}/ in {folder}"
            raise RunFolderError("a new folder, or that of the run that goes on", got, "choose another --out")
    elif folder.is_dir():
        _refuse_foreign(folder)


def _refuse_foreign(folder: Path) -> None:
    """Refuses a folder with files that no run has before its run.json: a process that was killed while it wrote this
    file has left a part of it, and stages have folders of their own."""
    ours = (".lock", "train", "whole", files.temporary_file(folder / "run.json").name)
    inside = sorted(entry.name for entry in folder.iterdir() if entry.name not in ours)
    if inside:
        got = f"{folder}, which holds {inside[0]!r}"
        raise RunFolderError("a new folder, an empty one, or one with a run", got, "choose another --out")


def write_whole(path: Path, content: bytes) -> None:
    """`files.write_whole`, which raises `RunFolderError` where the file can't be written."""
    try:
        files.write_whole(path, content)
    except OSError as error:
        raise _unwritable(path.parent, error) from error


def finite(value: Any) -> Any:
    """`value` with what JSON has no word for, infinities and NaN, as None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in cast("list[Any]", value)]
    return value


def read_json(path: Path, limit: int = 64 * 2**20) -> dict[str, Any]:
    """A JSON object from a file of at most `limit` bytes, or `RunFolderError`."""
    try:
        if path.stat().st_size > limit:
            raise RunFolderError(f"a file of at most {limit} bytes", f"{path}, which is larger", "check what it is")
        value: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RunFolderError("a file", f"{path}, which doesn't exist", "check the path") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RunFolderError("a readable JSON file", f"{path} ({error})", "repair it") from None
    if not isinstance(value, dict):
        raise RunFolderError("a JSON object", f"{type(value).__name__} in {path}", "repair it")
    return cast("dict[str, Any]", value)


def _refuse_other(path: Path, known: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    # What follows from the images last: where another setting explains why they differ, that one is named.
    def order(name: str) -> tuple[bool, str]:
        return name.startswith("data_") or name == "judged_on", name

    for name in sorted(set(known) | set(wanted), key=order):
        if known.get(name) != wanted.get(name):
            got = f"{name} {wanted.get(name)!r:.200} where the run in {path} has {known.get(name)!r:.200}"
            raise RunFolderError("the settings of the run that the folder holds", got, "choose another --out")


def _unwritable(path: Path, error: OSError) -> RunFolderError:
    got = f"{str(path)[:200]} ({error.strerror or error})"
    return RunFolderError("a folder that can be written", got, "make room or rights")
