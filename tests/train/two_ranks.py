"""What torchrun starts twice in test_training_ranks.py: the words of `parallel`, and a training with its resumes.

torchrun --nproc-per-node 2 tests/train/two_ranks.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import helpers_run as h

import fpnas
from fpnas import parallel
from fpnas.errors import InputError
from fpnas.runner import Progress

FIELDS: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 12,
    "crop": "pad",
    "flip": True,
    "ema": 0.9,
    "mixup": 0.4,
    "drop_path": 0.2,
}


def data() -> fpnas.data.ImageData:
    """47 images, so that ranks' parts differ in size: 12, 12, 12 and 11 images."""
    return h.made_up(train=47)


WEIGHTS = {"a": 0.3, "b": 1.0, "c": 2.0, "d": 9.0}


def weighted(**fields: Any) -> fpnas.Training:
    """A training whose labels aren't mixed, with class weights and a teacher."""
    teacher = lambda images: images[:, 0, ::4, ::4].flatten(1)[:, :4]  # noqa: E731
    fields = {"mixup": 0.0, "class_weights": WEIGHTS, "teacher": teacher, "teacher_weight": 0.25, **fields}
    return training(**fields)


def training(**fields: Any) -> fpnas.Training:
    supernet = h.small_supernet()
    network = fpnas.from_scratch(supernet, {**supernet.arch, "a.channels": 8})
    return fpnas.Training(network, data(), **{**FIELDS, **fields})


def plain(**fields: Any) -> fpnas.Training:
    """Nothing is drawn, so that parts of one process are those of ranks; batches of 12 and 11 images."""
    return training(**{"crop": "none", "flip": False, "mixup": 0.0, "drop_path": 0.0, "lr": 0.05, **fields})


def check_words() -> None:
    rank = parallel.rank()
    assert (parallel.world_size(), rank in (0, 1)) == (2, True)
    value = torch.tensor([1.0 + rank, 10.0 * rank])
    assert parallel.mean(value).tolist() == [1.5, 5.0]
    assert value.tolist() == [1.0 + rank, 10.0 * rank], "what came is left as it is"
    assert parallel.broadcast({"rank": rank, "tensor": value})["tensor"].tolist() == [1.0, 0.0]
    assert [parallel.anywhere(rank == 1), parallel.anywhere(rank == 0), parallel.anywhere(False)] == [True, True, False]
    assert parallel.share(torch.arange(5)).tolist() == [[0, 1, 2], [3, 4]][rank]
    assert h.gloo_threads() or sys.platform != "linux"
    with parallel.ranks():  # a second time: nothing happens
        assert parallel.world_size() == 2
    with pytest.raises(InputError, match="two for each rank"):
        training(batch_size=3)
    with pytest.raises(InputError, match="at least 8 images, two for each part of them"):
        training(batch_size=6, accumulate=2)


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    with parallel.ranks():
        check_words()
        fpnas.run(training(), folder / "unbroken", progress=Progress())
        for name, make in (("weighted", weighted), ("weighted-mixed", lambda: training(class_weights=WEIGHTS))):
            fpnas.run(make(), folder / name, progress=Progress())
            fpnas.run(make(), folder / f"{name}-first", max_steps=1, progress=Progress())
        fpnas.run(plain(accumulate=2, class_weights=WEIGHTS), folder / "in-parts", progress=Progress())
        fpnas.run(plain(precision="bf16"), folder / "bf16", progress=Progress())
        fpnas.run(plain(sync_batch_norm=True), folder / "synchronised", progress=Progress())
        for stop in (1, 3, None):
            found = fpnas.run(training(), folder / "stopped", max_steps=stop, checkpoint_every=2, progress=Progress())
        found = fpnas.run(training(), folder / "stopped", progress=Progress())  # has ended: nothing to do
        assert parallel.mean(torch.tensor(found.accuracy)).item() == found.accuracy
    assert parallel.world_size() == 1
    assert not h.gloo_threads(), "left behind they abort processes that end, now and then"


if __name__ == "__main__":
    main()
