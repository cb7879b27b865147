"""Running jobs in folders: files, checkpoints, progress. The only floor with clocks and signals."""

from fpnas.runner.callbacks import Callback, RunInfo
from fpnas.runner.files import ArchRecord, load, read_arch, supernet_weights, trained_folder
from fpnas.runner.progress import Progress, Silent
from fpnas.runner.runner import run
from fpnas.runner.trackers import trackers_by_name

__all__ = [
    "ArchRecord",
    "Callback",
    "Progress",
    "RunInfo",
    "Silent",
    "load",
    "read_arch",
    "run",
    "supernet_weights",
    "trackers_by_name",
    "trained_folder",
]
