"""What memory does a search need beside training the space's largest network alone?

    python benchmarks/memory.py [--json] [--space fbnetv2-f] [--image-size 64] [--batch-size 64] [--samples 14]

Two processes, one after the other, hold the same images and take the same number of steps: a search whose K
architectures have the largest one among them, and AdamW on that network alone, batch size and layout the same. What
counts is the peak of resident memory, on a GPU of tensors, over what was held before the supernet or the network:

* memory_ratio: that of the search over that of the network alone;
* held_ratio: the same of tensors that stay between steps (weights, gradients, the optimizer's), without activations.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from argparse import Namespace

import resident
import speed
import torch

import fpnas
from fpnas.spaces import by_name

STEPS = 3


def forget_peak(device: str) -> float:
    """The record of the peak starts anew; MiB that are held now, by the process or, on a GPU, by its tensors."""
    gc.collect()
    if device == "cpu":
        resident.forget_peak()
        return resident.resident()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated() / resident.MIB


def peak(device: str) -> float:
    """MiB that were held at most, since `forget_peak`."""
    return resident.peak() if device == "cpu" else torch.cuda.max_memory_allocated() / resident.MIB


def largest_of(options: Namespace) -> fpnas.Arch:
    """The architecture of most FLOPs, found without memory for weights."""
    with torch.device("meta"):
        supernet = by_name(options.space)(num_classes=10, in_channels=3)
    cost = fpnas.Flops(supernet, (3, options.image_size, options.image_size))
    return supernet.space.decode(list(cost.table.extreme(-1)[1]))


def of_search(options: Namespace, arch: fpnas.Arch) -> tuple[float, float]:
    """Peak and held MiB of a search over what was there before."""
    data = speed.images(options, 1280)
    before = forget_peak(options.device)
    warm = speed.fresh(options, data)
    search = speed.search_of(warm, data, options.batch_size, options.samples, device=options.device)
    task = search.evaluator
    assert isinstance(task, fpnas.SupernetEvaluator)
    forced = torch.tensor(task.space.encode(arch))
    learn, score = task.train_step, task.score

    def with_largest(codes: torch.Tensor) -> torch.Tensor:
        codes[len(codes) // 2] = forced  # in place: alpha hears of it too
        return codes

    task.train_step = lambda codes, progress: learn(with_largest(codes), progress)
    task.score = lambda codes: score(with_largest(codes))
    for _ in range(STEPS):
        search.step()
    optimizer = task.state_dict()["optimizer"]["state"].values()
    tensors = [value for state in optimizer for value in state.values()]
    for parameter in task.supernet.parameters():
        tensors += [parameter, *([] if parameter.grad is None else [parameter.grad])]
    return peak(options.device) - before, sum(tensor.nbytes for tensor in tensors) / resident.MIB


def of_largest(options: Namespace, arch: fpnas.Arch) -> tuple[float, float]:
    """Peak and held MiB of training the largest network."""
    data = speed.images(options, 1280)
    with torch.device("meta"):
        supernet = by_name(options.space)(num_classes=10, in_channels=3)
    before = forget_peak(options.device)
    network = fpnas.from_scratch(supernet, arch, 0).to(options.device)
    network = network.to(memory_format=torch.channels_last).train()  # pyright: ignore
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    for step in range(STEPS):
        speed.plain_learn(network, *speed.batch_of(data, options.batch_size, step, options.device))
        optimizer.step()
    tensors = [value for state in optimizer.state.values() for value in state.values()]
    for parameter in network.parameters():
        tensors += [parameter, *([] if parameter.grad is None else [parameter.grad])]
    return peak(options.device) - before, sum(tensor.nbytes for tensor in tensors) / resident.MIB


def main() -> int:
    parser = speed.parser(__doc__)
    parser.add_argument("--samples", type=int, default=14, help="K")
    parser.add_argument("--part", choices=("search", "largest"), default=None, help="one side alone, in this process")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    arch = largest_of(options)
    if options.part is not None:
        print(json.dumps((of_search if options.part == "search" else of_largest)(options, arch)))
        return 0
    found: dict[str, list[float]] = {}
    for part in ("largest", "search"):
        command = [sys.executable, __file__, "--part", part, *sys.argv[1:]]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[part] = json.loads(done.stdout)
    (alone, held_alone), (search, held_search) = found["largest"], found["search"]
    measured = {
        "memory_ratio": round(search / alone, 4),
        "held_ratio": round(held_search / held_alone, 4),
        "search_peak_mib": round(search, 1),
        "largest_peak_mib": round(alone, 1),
        "search_held_mib": round(held_search, 1),
        "largest_held_mib": round(held_alone, 1),
    }
    facts = {
        "space": options.space,
        "image_size": options.image_size,
        "batch_size": options.batch_size,
        "num_samples": options.samples,
        "steps": STEPS,
    }
    speed.show(
        "Memory of a search beside that of the largest network", facts, measured, options, {"memory_ratio": 1.15}
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
