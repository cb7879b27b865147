"""The command line of the paper's experiments."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist

from fpnas.cli.options import set_up
from fpnas.errors import InputError

ONLY_FULL = (
    "imagenet",
    "classes",
    "classes_seed",
    "image_size",
    "train_epochs",
    "batch_size",
    "train_batch_size",
    "accumulate",
    "only",
)
"""Options that a small run has no use for."""


@dataclass(frozen=True)
class Plan:
    """The command line of an experiment."""

    scale: str
    seeds: int
    epochs: int
    out: Path
    workers: int = 1
    results: Path | None = None
    device: str = "cpu"
    precision: str = "fp32"
    imagenet: Path | None = None
    classes: int = 100
    classes_seed: int = 0
    image_size: int | None = None
    train_epochs: int = 360
    batch_size: int = 1024
    train_batch_size: int = 4096
    accumulate: int = 1
    only: str | None = None


REHEARSAL: dict[str, Any] = {"classes": 2, "image_size": 32, "train_epochs": 1, "batch_size": 8, "train_batch_size": 16}
"""What `--scale rehearsal` changes, beside the space."""


def plan(script: str, about: str | None, epochs: int = 4) -> Plan:
    """Reads the command line.

    Args:
        script: names the folder of finished runs.
        about: what --help says.
        epochs: of a small search.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=("small", "full", "rehearsal"), default="small")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, help=f"of the search; {epochs} small, 180 full, 1 rehearsal")
    kept = "finished runs are kept here by name: take another folder with other settings"
    parser.add_argument("--out", type=Path, default=Path("runs/paper") / script, help=kept)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes of a small run")
    parser.add_argument("--results", type=Path, help="write the results here")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="cpu small, auto full; bf16 on a GPU")
    full = parser.add_argument_group("with --scale full or rehearsal")
    full.add_argument("--imagenet", type=Path, help="a folder of class folders")
    full.add_argument("--classes", type=int, help="of the search; 100")
    full.add_argument("--classes-seed", type=int, help="decides which; 0")
    full.add_argument("--image-size", type=int, help="px, in place of the arms' own")
    full.add_argument("--train-epochs", type=int, help="of the training; 360")
    full.add_argument("--batch-size", type=int, help="images a step of the search, of all ranks; 1024")
    full.add_argument("--train-batch-size", type=int, help="the same of the training; 4096")
    full.add_argument("--accumulate", type=int, help="parts of a rank's images, one after the other; 1")
    full.add_argument("--only", choices=("search",), help="leave the training to a call without it")
    given = parser.parse_args()
    small = given.scale == "small"
    options = {name: getattr(given, name) for name in ONLY_FULL if getattr(given, name) is not None}
    if small and options:
        parser.error(f"--{min(options).replace('_', '-')} needs --scale full")
    if small and dist.is_torchelastic_launched():
        parser.error("--scale small is for one process: start it without torchrun")
    if not small and given.imagenet is None:
        parser.error(f"--scale {given.scale} needs --imagenet FOLDER")
    try:
        device, precision = set_up(None, given.device or ("cpu" if small else "auto"))
    except InputError as error:
        parser.error(str(error))
    # Runs of another device are other runs.
    out = given.out / (given.scale if device == "cpu" else f"{given.scale}-{device}")
    length = given.epochs or {"small": epochs, "full": 180, "rehearsal": 1}[given.scale]
    options = {**(REHEARSAL if given.scale == "rehearsal" else {}), **options}
    return Plan(given.scale, given.seeds, length, out, given.workers, given.results, device, precision, **options)
