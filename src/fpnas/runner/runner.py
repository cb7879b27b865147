"""`run`: drives a job to its end in a folder. The only place with clocks, signals and files of a run."""

from __future__ import annotations

import os
import platform
import shlex
import signal
import sys
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import save as safetensors_bytes

from fpnas import parallel
from fpnas.errors import InputError, RunFolderError, reason
from fpnas.job import Found_co, FromData, Job
from fpnas.runner.callbacks import Callback, GuardedCallbacks, steps_logged
from fpnas.runner.checkpoint import LOGS, has_checkpoint, load_checkpoint, save_checkpoint
from fpnas.runner.folder import RunFolder
from fpnas.runner.progress import LineProgress, Progress
from fpnas.runner.rehearsal import peak_memory_mb, rehearse


def run(
    job: Job[Found_co],
    folder: str | Path,
    *,
    max_steps: int | None = None,
    checkpoint_every: int = 100,
    settings: Mapping[str, Any] | None = None,
    keep: Mapping[str, Mapping[str, Any]] | None = None,
    facts: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    callbacks: Sequence[Callback] = (),
) -> Found_co:
    """Runs `job` to its end in `folder`, or goes on where the folder was left; a run that has ended is left alone.

    Args:
        job: a search or a training, new.
        folder: holds run.json, metrics.jsonl, distribution.jsonl, checkpoint.pt, arch.json, result.json.
        max_steps: end after so many steps from the run's first; a later call with more goes on.
        checkpoint_every: steps between checkpoints.
        settings: what else must agree for the folder to be this run's.
        keep: JSON files that a run needs to go on, such as a measured table; written once.
        facts: what else a new run.json says, such as where the data came from; it needn't agree when the run goes on.
        progress: shows the run; by default on stderr.
        callbacks: hear of each step, such as trackers; one that fails is warned about once and left out.

    Returns:
        What the job found: a `SearchResult` of a search, an `Accuracy` of a training, `job.result()` of your own.

    Raises:
        RunFolderError: the folder is in use, holds another run, or can't be written.
        InputError: a number out of range, or too little memory for the largest network.
        DivergedError: nothing finite for many steps; the last checkpoint is from before them.
        KeyboardInterrupt, SystemExit: on SIGINT and SIGTERM, after the step under way and a checkpoint.
    """
    if checkpoint_every < 1 or (max_steps is not None and max_steps < 1):
        got = f"max_steps {max_steps}, checkpoint_every {checkpoint_every}"
        raise InputError("1 step or more", got, "correct them")
    show = progress or (LineProgress(Console(stderr=True)) if parallel.rank() == 0 else Progress())
    last = job.steps_total if max_steps is None else min(max_steps, job.steps_total)
    resolved = {**job.settings(), **(settings or {})}
    if not has_checkpoint(Path(folder)):
        rehearse(job)  # before there is a folder, whose settings another batch size wouldn't fit
    with _claimed(folder, job, resolved, facts or {}) as place:
        state = parallel.broadcast(None if place is None else load_checkpoint(place.path, set_aside=True))
        sizes: dict[str, int] = dict.fromkeys(LOGS, 0)
        seconds = 0.0
        if state is not None:
            _restore(job, state["job"], Path(folder))
            sizes |= state["log_sizes"]
            seconds = state["seconds"]
        if place is not None:
            for name, content in (keep or {}).items():
                if not (place.path / name).exists():
                    place.write_json(name, content)
        ended = parallel.broadcast(place is not None and (place.path / "result.json").exists())
        if job.steps_done >= last and ended:
            show.already_ended(job, Path(folder))
            return job.result()
        told = GuardedCallbacks([], 0)  # other ranks than 0 write nothing and tell nobody
        if place is not None:
            told = GuardedCallbacks(callbacks, steps_logged(place.path / "metrics.jsonl"))
            for name, size in sizes.items():
                place.cut_log(name, size)
            (place.path / "result.json").unlink(missing_ok=True)

        result: Mapping[str, Any] | None = None
        told.start(Path(folder), job.kind, resolved, job.steps_done, last)
        try:
            with _deferred_signals() as pending, show.shown(job, last):
                while job.steps_done < last:
                    started = time.perf_counter()
                    step = job.step()
                    took = time.perf_counter() - started
                    seconds += took
                    line = {**step.metrics, "seconds": round(took, 6)}
                    if place is not None:
                        for name, content in {"metrics.jsonl": line, **step.logs}.items():
                            sizes[name] = place.append(name, content)
                    show.stepped(line)
                    told.step(line)
                    leaving = parallel.anywhere(bool(pending))  # all ranks leave after the same step
                    due = leaving or job.steps_done % checkpoint_every == 0 or job.steps_done == last
                    if due and place is not None:
                        save_checkpoint(place, {"job": job.state_dict(), "log_sizes": dict(sizes), "seconds": seconds})
                    if leaving:
                        number = pending[0] if pending else signal.SIGTERM
                        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
            result = _leave_files(place, job, seconds)
        finally:
            told.end(result)
        return job.result()


def _restore(job: Job[object], state: dict[str, Any], folder: Path) -> None:
    """Puts a job where its checkpoint says; one of another shape is refused."""
    try:
        job.load_state_dict(state)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        got = f"another in {folder} ({type(error).__name__}: {reason(error)})"
        raise RunFolderError(f"a checkpoint of this {job.kind}", got, "start anew in another folder") from error


def _claimed(
    folder: str | Path, job: Job[object], settings: Mapping[str, Any], facts: Mapping[str, Any]
) -> AbstractContextManager[RunFolder | None]:
    """The run's folder; None on other ranks than 0, which write nothing."""
    if parallel.rank() > 0:
        return nullcontext()
    told = {**_facts(), **(job.origin if isinstance(job, FromData) else {}), **facts, "steps_total": job.steps_total}
    return RunFolder(folder, job.kind, settings, told)


def _leave_files(place: RunFolder | None, job: Job[object], seconds: float) -> Mapping[str, Any] | None:
    """Writes what the job leaves behind; result.json, the sign that the run has ended, last. Returns its content."""
    files = job.files()  # on all ranks, which may have to judge it together
    if place is None:
        return None
    files["result.json"] = {**files["result.json"], "seconds": round(seconds, 3), "peak_memory_mb": peak_memory_mb()}
    for name, content in sorted(files.items(), key=lambda item: item[0] == "result.json"):
        if name.endswith(".safetensors"):
            tensors = {key: value.detach().cpu().contiguous().clone() for key, value in content.items()}
            place.write_bytes(name, safetensors_bytes(tensors))
        else:
            place.write_json(name, content)
    return files["result.json"]


def _facts() -> dict[str, Any]:
    return {
        "command": _command(sys.argv),
        "versions": {"fpnas": version("fpnas"), "torch": torch.__version__, "python": platform.python_version()},
        "hardware": {
            "machine": platform.machine(),
            "system": platform.system(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }


def _command(words: Sequence[str]) -> str:
    """A command line that can be pasted into a shell."""
    program = Path(words[0])
    if program.name in ("fpnas", "__main__.py"):
        return shlex.join(["fpnas", *words[1:]])
    return shlex.join([*(["python"] if program.suffix == ".py" else []), *words])


@contextmanager
def _deferred_signals() -> Generator[list[int]]:
    """Within it, the first SIGINT or SIGTERM is noted in the list, so that the step can end; a second of its kind acts.

    torchrun passes on a Ctrl-C as SIGTERM to ranks that have had the SIGINT already; that is no second wish.
    """
    pending: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield pending
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: Any) -> None:
        del frame
        if number in pending:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        pending.append(number)

    for number in before:
        signal.signal(number, note)
    try:
        yield pending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
