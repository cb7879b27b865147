"""Accuracy and time of exported networks, as measured on this machine."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch

from fpnas import parallel
from fpnas.data import ImageData, ImageSpec, in_turn
from fpnas.shipping import Shipped

_BATCH = 64
_WARM_UP, _REPEATS = 10, 200


def measured(files: Mapping[str, Shipped], data: ImageData, spec: ImageSpec, runtime: str) -> dict[str, Any]:
    """What files do on the held-out images, plain JSON; the first file is the one that the others are compared with.

    Args:
        files: by name.
        data: its held-out images are used, no others.
        spec: what the networks take.
        runtime: the package that runs them.
    """
    known: list[torch.Tensor] = []
    taken: dict[str, list[torch.Tensor]] = {name: [] for name in files}
    for images, of_part in in_turn(data.heldout, _BATCH):
        known.append(of_part)
        for name, file in files.items():
            taken[name].append(file.run(spec.normalize(images)).argmax(dim=1))
    labels, predicted = torch.cat(known), {name: torch.cat(parts) for name, parts in taken.items()}
    milliseconds = ms_per_image(files, data, spec)
    first = next(iter(predicted.values()))
    return {
        "data": data.name,
        "heldout_from": data.heldout_from,
        "num_images": len(labels),
        "repeats": _REPEATS,
        "runtime": f"{runtime} {version(runtime)}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "files": {
            name: {
                "accuracy": 100 * float((classes == labels).double().mean()),
                "bytes": len(files[name].content),
                "ms_per_image": milliseconds[name],
                "agrees": None if classes is first else 100 * float((classes == first).double().mean()),
            }
            for name, classes in predicted.items()
        },
    }


def ms_per_image(files: Mapping[str, Shipped], data: ImageData, spec: ImageSpec) -> dict[str, float]:
    """Median milliseconds of one image by itself on one thread; the files take turns, as the machine has its moods."""
    image = spec.normalize(data.heldout.subset(torch.tensor([0])).inputs)
    taken: dict[str, list[float]] = {name: [] for name in files}
    with parallel.threads(1), torch.no_grad():
        for repeat in range(_WARM_UP + _REPEATS):
            for name, file in files.items():
                started = time.perf_counter()
                file.run(image)
                if repeat >= _WARM_UP:
                    taken[name].append(1e3 * (time.perf_counter() - started))
    return {name: round(statistics.median(values), 4) for name, values in taken.items()}
