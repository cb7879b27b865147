"""Does a judge know a good network? Scores a pool's networks and compares their ranks with the truth's.

    python benchmarks/ground/fidelity.py RUN [--pool cifar10-tiny-3M] [--images 2000] [--half 0|1] [--by val] [--json]
        [--results FILE.md]
    python benchmarks/ground/fidelity.py --proxy [--seed 0] [--device cuda] [the same]

With --proxy each network is trained shortly, as `fpnas search` does; scores are kept in runs/ground, so a
call that was stopped goes on. RUN is a search's folder with its checkpoint, and each network of the pool is scored
on the same images of the run's own alpha half, the weights as they are.

Fidelity is Spearman's rank correlation of scores and accuracies within the pool, whose networks are of one cost. To
count the blocks that run is a judge too, and no bad one: beside the fidelity stands that of depth alone, and what the
scores know among networks of the same depth. Then, by how much the networks with each option are ranked lower or higher
than noise alone would rank them: that is bias, which more images don't mend.

The truth is the test accuracy, or with --by val that on the held-back images; --half takes every other network. Tune by
val on one half, report the other by test.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ground
import results_file
import torch
from standing import misjudged, spearman

from fpnas import InputError, SupernetEvaluator
from fpnas.evaluators import ProxyEvaluator
from fpnas.runner.folder import read_json
from fpnas.space import Arch

Judge = SupernetEvaluator | ProxyEvaluator


def judge_of(run: Path, pool: ground.Pool, num_images: int) -> SupernetEvaluator:
    """A run's evaluator, with its weights.

    Raises:
        InputError: no run, or one of another space or other images.
    """
    if not (run / "run.json").exists() or not (run / "checkpoint.pt").exists():
        raise InputError("a search's folder with its checkpoint", str(run), "give the --out of a search")
    settings = read_json(run / "run.json")["settings"]
    if settings.get("space") != pool.space or settings.get("image_size") != pool.image_size:
        got = f"{settings.get('space')} at {settings.get('image_size')} px"
        raise InputError(f"a search of {pool.space} at {pool.image_size} px", got, "choose the pool of its space")
    there = ground.images(pool.data, pool.image_size)
    data = there.learnt if settings["data_digest"] == there.learnt.digest else there.whole
    if settings["data_digest"] != data.digest:
        raise InputError(f"a search on {pool.data}", "one on other images", "choose the pool of its data")
    supernet = ground.fresh_supernet(pool)
    judge = SupernetEvaluator(supernet, data, seed=settings["data_seed"], judged_on=num_images)
    state = torch.load(run / "checkpoint.pt", weights_only=True, map_location="cpu")
    supernet.load_state_dict(state["job"]["evaluator"]["supernet"])
    return judge


def proxies(pool: ground.Pool, seed: int, device: str = "cpu") -> ProxyEvaluator:
    """A judge by short trainings, with the scores that it has given before."""
    data = ground.images(pool.data, pool.image_size).learnt
    judge = ProxyEvaluator(ground.fresh_supernet(pool), data, seed=seed, device=device)
    if _kept(judge).exists():
        judge.load_state_dict(torch.load(_kept(judge), weights_only=True))
    return judge


def _kept(judge: ProxyEvaluator) -> Path:
    facts = repr((judge.settings(), results_file.source(*ground.TRAINS, "evaluators")))
    return ground.ROOT / "runs" / "ground" / f"proxy_{hashlib.sha256(facts.encode()).hexdigest()[:20]}.pt"


def scores_of(judge: Judge, codes: torch.Tensor) -> tuple[list[float], int]:
    """Mean log-likelihoods an image, and of how many images."""
    found: list[torch.Tensor] = []
    for part in codes.split(8):
        if isinstance(judge, SupernetEvaluator):
            found.append(judge.judge(part))
            continue
        found.append(judge.score(judge.canonical(part)))
        _kept(judge).parent.mkdir(parents=True, exist_ok=True)
        torch.save(judge.state_dict(), _kept(judge))
    images = judge.num_judged if isinstance(judge, SupernetEvaluator) else judge.num_images
    return (torch.cat(found) / images).tolist(), images


def fidelity(judge: Judge, pool: ground.Pool, half: int | None = None, by: str = "test") -> dict[str, Any]:
    """Spearman and the options' rank errors, of the pool's networks or of every other one."""
    rows = ground.read(pool.path)[1]
    archs = list(dict.fromkeys(row.arch for row in rows))
    archs = archs if half is None else archs[half::2]
    truth = [_mean([row.test if by == "test" else row.val[-1] for row in rows if row.arch == arch]) for arch in archs]
    scores, images = scores_of(judge, torch.tensor([judge.space.encode(arch) for arch in archs]))
    return {
        "spearman": spearman(scores, truth),
        "depth": spearman([depth(arch) for arch in archs], truth),
        "beyond_depth": spearman(beyond(scores, archs), beyond(truth, archs)),
        "error": (len(archs) - 1) ** -0.5,
        "networks": len(archs),
        "of": pool.count if half is None else pool.count // 2,
        "by": by,
        "images": images,
        "options": {name: asdict(found) for name, found in misjudged(archs, scores, truth).items()},
    }


def depth(arch: Arch) -> int:
    """How many groups aren't bypassed."""
    return sum(option != 0 for name, option in arch.items() if name.endswith(".kernel"))


def beyond(values: Sequence[float], archs: Sequence[Arch]) -> list[float]:
    """The values less their mean over the networks of the same depth."""
    depths = [depth(arch) for arch in archs]
    means = {d: _mean([value for value, own in zip(values, depths, strict=True) if own == d]) for d in set(depths)}
    return [value - means[d] for value, d in zip(values, depths, strict=True)]


def lines(found: dict[str, Any], pool: ground.Pool) -> list[str]:
    """What `fidelity` gives, to be read."""
    options = sorted(found["options"].items(), key=lambda item: item[1]["mean"])
    return [
        f"* Spearman {found['spearman']:.2f} by {found['by']}; its standard error by chance {found['error']:.2f}",
        f"* Depth alone: {found['depth']:.2f}; among networks of the same depth: {found['beyond_depth']:.2f}",
        f"* {found['networks']} of {found['of']} networks of {pool.name}, {found['images']} images each",
        "",
        "Ranks of 100 by score, less what the true ranks let expect: below 0 an option's networks are judged too low.",
        "",
        *results_file.table(
            ["option", "ranks", "networks"],
            [[name, f"{o['mean']:+.1f} ± {o['error']:.1f}", o["networks"]] for name, o in options],
        ),
    ]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", nargs="?")
    parser.add_argument("--proxy", action="store_true", help="judge by short trainings")
    parser.add_argument("--seed", type=int, default=0, help="of these")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of these")
    parser.add_argument("--pool", choices=tuple(ground.POOLS), default="cifar10-tiny-3M")
    parser.add_argument("--images", type=int, default=2000, help="of the run's alpha half")
    parser.add_argument("--half", type=int, choices=(0, 1), help="of the pool's networks")
    parser.add_argument("--by", choices=("test", "val"), default="test", help="which accuracy is the truth")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--results", type=Path)
    asked = parser.parse_args(given)
    if (asked.run is None) != asked.proxy:
        parser.error("give RUN or --proxy")
    pool = ground.POOLS[asked.pool]
    torch.set_num_threads(1)
    try:
        judge = proxies(pool, asked.seed, asked.device) if asked.proxy else judge_of(asked.run, pool, asked.images)
        found = fidelity(judge, pool, asked.half, asked.by)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if asked.json:
        print(json.dumps(found, indent=2))
        return 0
    name = f"short trainings of seed {asked.seed}" if asked.proxy else f"the weights of {asked.run}"
    text = lines(found, pool)
    print("\n".join(text))
    results_file.write(asked.results, [*results_file.head(f"How {name} rank the pool {pool.name}"), *text])
    return 0


if __name__ == "__main__":
    sys.exit(main())
