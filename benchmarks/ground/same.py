"""Does this checkout take the same course as another, bit for bit? Then what the other has run need not run again.

    python benchmarks/ground/same.py OTHER [--pool cifar10-tiny-3M] [--arms NAME ...]

Runs each arm of `compare.py`, and a training, by the code of either checkout on this machine: some steps about the end
of the warm-up and about theta, three looks of short trainings cut to three steps each. Where records, logits, answers
and weights are the same to the last bit, the pair of digests is kept in runs/same.json, and compare.py counts the
arm's runs by the one code as the other's, and make_pools.py goes on with a pool where "a training" has such a pair: a
refactor costs minutes instead of hours. Beside it stand the stored trajectories of tests/golden.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
KEPT_AT = HERE.parent / "runs" / "same.json"
STEPS = 8
"""Of a training, and at either place of an arm."""
TRAINING = "a training"
"""Of a network of the pool, by its recipe: what its rows are made by."""
RECORDED = ("entropy", "num_samples", "train_loss", "val_loss", "cost_mean")
"""Of each step; what else a record holds may come and go."""


def same_as(digest: str, pairs: Sequence[Sequence[str]]) -> set[str]:
    """All digests that equal it, by one pair or by several in a row.

    Example:
        >>> sorted(same_as("a", [["a", "b"], ["b", "c"], ["d", "e"]]))
        ['a', 'b', 'c']
    """
    found = {digest}
    while more := {other for pair in pairs if found & set(pair) for other in pair} - found:
        found |= more
    return found


def kept(arm: str, pool: str) -> list[list[str]]:
    """The pairs of digests with which an arm's course on a pool was the same."""
    rows = json.loads(KEPT_AT.read_text()) if KEPT_AT.exists() else []
    return [row["digests"] for row in rows if (row["arm"], row["pool"]) == (arm, pool)]


def courses(pool_name: str, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Of the checkout whose modules are on the path: each arm's digest, and that of what a few steps of it came to."""
    import ground

    with getattr(ground, "torchs_gradients", nullcontext)():  # older checkouts know no others
        return _courses(pool_name, names)


def _courses(pool_name: str, names: Sequence[str]) -> dict[str, dict[str, str]]:
    import arms
    import compare
    import ground
    import torch

    torch.set_num_threads(1)
    pool = ground.POOLS[pool_name]
    trained = _training(ground, pool)
    found: dict[str, dict[str, str]] = {}
    if TRAINING in names or not names:
        digest = ground.results_file.source(*ground.TRAINS)
        found[TRAINING] = {"source": digest, "course": hashlib.sha256(trained).hexdigest()}
    every = [*arms.SEARCHES, compare.RULE, compare.RIDGE]
    for name in [name for name in every if name in names or not names]:
        course = hashlib.sha256(trained)
        if name in arms.SEARCHES:
            search: Any = arms.make(pool, name, seed=0, steps=1000)
            gradual = hasattr(search.evaluator, "steps_per_look")
            if gradual:
                search.evaluator.steps_per_look = 3
            if hasattr(search.strategy, "population"):  # so that it has children in so few steps
                search.strategy.population, search.strategy.tournament = 6, 2
            warm = round(search.warmup * 1000)
            # The end of the warm-up, and where distributions are joined.
            for at, steps in [(0, 9)] if gradual else [(warm - 4, STEPS), (max(446, warm + 4), STEPS)]:
                search.steps_done = at
                for _ in range(steps):
                    told = search.step().metrics
                    course.update(repr([told[name] for name in RECORDED]).encode())
            logits = search.distribution.logits.detach()
            course.update(logits.numpy().tobytes() + repr(sorted(search.answer().arch.items())).encode())
            course.update(_bits(search.evaluator.supernet))
        else:
            rows = [] if name == compare.RULE else compare.first_seeds(pool)[:6]
            arch = arms.by_ridge(pool, rows, 0) if rows else arms.by_rule(pool)
            course.update(repr(sorted(arch.items())).encode())
        found[name] = {"source": compare.source(pool, name), "course": course.hexdigest()}
        print(name, course.hexdigest()[:12], file=sys.stderr, flush=True)
    return found


def _training(ground: Any, pool: Any) -> bytes:
    """The weights after a few steps of a training by the pool's recipe."""
    arch = ground.draw(pool, 1)[0]
    network = ground.fpnas.from_scratch(ground.supernet(pool), arch, 0)
    data = ground.images(pool.data, pool.image_size).learnt
    training = ground.fpnas.Training(network, data, recipe=pool.recipe, seed=0)
    for _ in range(STEPS):
        training.step()
    return _bits(training.network)


def _bits(module: Any) -> bytes:
    return b"".join(value.detach().cpu().numpy().tobytes() for value in module.state_dict().values())


def _ask(root: Path, pool: str, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """The courses by a checkout's code, in a process of its own."""
    paths = (root / "src", root / "benchmarks" / "ground", root / "benchmarks")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", str(HERE), "--print", str(root), "--pool", pool]
    command += ["--arms", *names] if names else []
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def _commit(root: Path) -> str:
    words = ["git", "-C", str(root), "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="another checkout of this project")
    parser.add_argument("--pool", default="cifar10-tiny-3M")
    parser.add_argument("--arms", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--print", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(given)
    if asked.print:
        print(json.dumps(courses(asked.pool, asked.arms)))
        return 0
    here = HERE.parents[2]
    ours, theirs = _ask(here, asked.pool, asked.arms), _ask(asked.other, asked.pool, asked.arms)
    both = [name for name in ours if name in theirs]
    if not both:
        parser.error("no such arm in both checkouts")
    rows = json.loads(KEPT_AT.read_text()) if KEPT_AT.exists() else []
    for name in both:
        equal = ours[name]["course"] == theirs[name]["course"]
        digests = [theirs[name]["source"], ours[name]["source"]]
        print(f"{name}: {'the same' if equal else 'ANOTHER course'}")
        if equal and digests[0] != digests[1] and digests not in kept(name, asked.pool):
            commits = [_commit(asked.other), _commit(here)]
            rows.append({"arm": name, "pool": asked.pool, "digests": digests, "commits": commits})
    KEPT_AT.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    return 0 if all(ours[name]["course"] == theirs[name]["course"] for name in both) else 1


if __name__ == "__main__":
    sys.exit(main())
