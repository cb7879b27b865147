"""Run folders written by hand, byte for byte what the tests say: nothing of the library takes part."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

CHOICES: dict[str, list[Any]] = {
    "group1.kernel": [0, 3, 5],
    "group1.act": ["relu", "swish"],
    "group2.kernel": [0, 3],
    "group2.channels": [8, 16, 24, 32],
}
CARDS = [len(options) for options in CHOICES.values()]
FOUND = {"group1.kernel": 5, "group1.act": "swish", "group2.kernel": 0, "group2.channels": 24}


def layer(name: str, kind: str, flops: int, params: int, shape: list[int], group: str = "", **arguments: Any) -> Any:
    """A line of layers.json."""
    return {
        "name": name,
        "kind": kind,
        "flops": flops,
        "params": params,
        "output_shape": shape,
        "group": group,
        "arguments": arguments,
    }


LAYERS = [
    layer("stem.conv", "Conv2d", 700, 70, [8, 8, 8], kernel_size=3),
    layer("stem.act", "Activation", 0, 0, [8, 8, 8]),
    layer("blocks.0.branches.split2.expand.conv", "Conv2d", 1000, 100, [24, 8, 8], "group1", kernel_size=1),
    layer("blocks.0.branches.split2.depthwise.0.0", "DepthwiseConv2d", 600, 60, [24, 8, 8], "group1", kernel_size=5),
    layer("blocks.0.branches.split2.depthwise.1.0", "DepthwiseConv2d", 600, 60, [24, 8, 8], "group1", kernel_size=5),
    layer("blocks.0.branches.split2.project.conv", "Conv2d", 1000, 100, [16, 8, 8], "group1", kernel_size=1),
    layer("blocks.1.branches.bypass.conv", "Conv2d", 300, 40, [24, 4, 4], "group2", kernel_size=1),
    layer("blocks.2.branches.bypass.branches.equal", "Identity", 0, 0, [24, 4, 4], "group2"),
    layer("classifier", "Linear", 240, 250, [10]),
]


def write_run(folder: Path, epochs: int = 3, steps: int = 20, seed: int = 0, **changes: Any) -> Path:
    """A whole search; `changes` replace settings."""
    folder.mkdir(parents=True)
    settings = {"space": "mine", "data": "digits", "epochs": epochs, "seed": seed, "image_size": 16} | changes
    settings |= {"cost": "FLOPs", "target": 5000.0}
    facts = {"command": "fpnas search --data digits", "versions": {"fpnas": "0.1.0"}, "hardware": {"cores": 2}}
    put(folder / "run.json", {"format": 1, "kind": "search", "settings": settings, **facts})
    total = epochs * steps
    with (folder / "metrics.jsonl").open("w") as log:
        for step in range(total):
            done = step / total
            line = {
                "step": step,
                "epoch": step // steps,
                "entropy": 6 * (1 - done),
                "num_samples": max(2, round(8 * (1 - done))),
                "train_loss": 2 - done,
                "val_loss": None if step < 3 else 2.1 - done,
                "cost_mean": 9000 - 5000 * done,
                "joined": step >= total // 2,
                "seconds": 0.01,
            }
            log.write(json.dumps(line) + "\n")
    with (folder / "distribution.jsonl").open("w") as log:
        for epoch in range(epochs):
            log.write(json.dumps(epoch_line(epoch, (epoch + 1) * steps - 1, 2 * epoch >= epochs)) + "\n")
    arch = {"space": "mine", "image_size": 16, "choices": FOUND, "flops": 4440, "params": 680, "log_prob": -0.5}
    put(folder / "arch.json", arch)
    put(folder / "layers.json", {"flops": 4440, "params": 680, "image_size": 16, "layers": LAYERS})
    result = {"kind": "search", "num_samples_total": 5 * total, "cost": 4440.0, "flops": 4440, "params": 680}
    put(folder / "result.json", {**result, "seconds": 0.01 * total, "peak_memory_mb": 100.0})
    return folder


def epoch_line(epoch: int, step: int, joint: bool) -> dict[str, Any]:
    """A line of distribution.jsonl; the odds of the last option grow with the epoch."""
    cells = [[0, 1], [2, 3]] if joint else [[0], [1], [2], [3]]
    sizes = [math.prod(CARDS[index] for index in cell) for cell in cells]
    codes = [[(7 * n + epoch) % CARDS[0], n % CARDS[1], (n // 2) % CARDS[2], (3 * n) % CARDS[3]] for n in range(12)]
    return {
        "epoch": epoch,
        "step": step,
        "joined": joint,
        "choices": CHOICES,
        "partition": cells,
        "logits": [[0.3 * (epoch + 1) * option for option in range(size)] for size in sizes],
        "samples": {
            "codes": codes,
            "score": [-2 + 0.2 * epoch + 0.1 * (n % 5) for n in range(12)],
            "cost": [3000 + 500 * ((n * 5) % 12) for n in range(12)],
        },
    }


def put(path: Path, value: Any) -> None:
    """A JSON file."""
    path.write_text(json.dumps(value))
