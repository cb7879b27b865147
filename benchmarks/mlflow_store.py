"""Does MLflow's SQLite store hold each step of a run once, also of an interrupted run? Exits with 1 if it doesn't.

    pip install mlflow && python benchmarks/mlflow_store.py

A script of its own, since MLflow is too large for the tests. It searches `tiny` on scikit-learn's digits for twelve
steps, fails after the seventh, goes on, and compares what MLflow's own client reads with metrics.jsonl.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import fpnas
from fpnas.runner import Silent
from fpnas.runner.trackers import PROJECT, MLflow

STEPS, FAILS_AFTER = 12, 6


class Crash(Silent):
    """Fails once the line of a step has been logged."""

    def stepped(self, line: dict[str, Any]) -> None:
        if line["step"] == FAILS_AFTER:
            raise MemoryError


def search() -> fpnas.Search:
    data = fpnas.data.load("digits", image_size=16)
    supernet = fpnas.spaces.tiny(num_classes=data.num_classes, in_channels=data.in_channels)
    task = fpnas.SupernetEvaluator(supernet, data, batch_size=32)
    return fpnas.methods.fpnas_posterior(task, None, epochs=1, warmup=0.0)


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{name}/mlflow.db"
        folder = Path(name) / "run"
        options: dict[str, Any] = {"max_steps": STEPS, "checkpoint_every": 4}
        try:
            fpnas.run(search(), folder, progress=Crash(), callbacks=[MLflow()], **options)
        except MemoryError:
            fpnas.run(search(), folder, progress=Silent(), callbacks=[MLflow()], **options)
        import mlflow
        from mlflow.tracking import MlflowClient

        client: Any = MlflowClient()
        (run,) = client.search_runs([client.get_experiment_by_name(PROJECT).experiment_id])
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        # The line at which the run failed was logged but told to nobody: the failure came before.
        expected = [(line["step"], line["entropy"]) for line in lines if line["step"] != FAILS_AFTER]
        history = client.get_metric_history(run.info.run_id, "entropy")
        found = [(metric.step, metric.value) for metric in history]
        right = sorted(found) == expected and run.info.status == "FINISHED" and run.data.params["space"] == "tiny"
        print(f"mlflow {mlflow.__version__}: {len(found)} of {len(expected)} steps, status {run.info.status}")
        print("as it should be" if right else f"WRONG: {found} where {expected} was logged")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
