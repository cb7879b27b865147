"""Running jobs in folders: files, checkpoints, progress. The only floor with clocks and signals."""

from typing import TYPE_CHECKING

from fpnas.lazy import imported_on_demand

if TYPE_CHECKING:
    from fpnas.runner.callbacks import Callback, RunInfo
    from fpnas.runner.evaluation import evaluate
    from fpnas.runner.files import ArchRecord, inherit_weights, load, read_arch, run_settings, trained_folder
    from fpnas.runner.latency_cache import latency_table, read_latency_table
    from fpnas.runner.of_run import training_of
    from fpnas.runner.prediction import Prediction, predict
    from fpnas.runner.progress import Progress
    from fpnas.runner.rehearsal import Forecast, forecast
    from fpnas.runner.runner import run
    from fpnas.runner.ship import Exported, export
    from fpnas.runner.trackers import trackers_by_name
    from fpnas.runner.tuning import tuned

__all__ = [
    "ArchRecord",
    "Callback",
    "Exported",
    "Forecast",
    "Prediction",
    "Progress",
    "RunInfo",
    "evaluate",
    "export",
    "forecast",
    "latency_table",
    "inherit_weights",
    "load",
    "predict",
    "read_arch",
    "read_latency_table",
    "run",
    "run_settings",
    "trackers_by_name",
    "trained_folder",
    "training_of",
    "tuned",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = imported_on_demand(
        __name__,
        {
            "callbacks": "Callback RunInfo",
            "evaluation": "evaluate",
            "files": "ArchRecord inherit_weights load read_arch run_settings trained_folder",
            "latency_cache": "latency_table read_latency_table",
            "of_run": "training_of",
            "prediction": "Prediction predict",
            "progress": "Progress",
            "rehearsal": "Forecast forecast",
            "runner": "run",
            "ship": "Exported export",
            "trackers": "trackers_by_name",
            "tuning": "tuned",
        },
    )
