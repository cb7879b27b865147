"""`fpnas search`: finds an architecture, in a folder that it can go on in."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from fpnas.cli.latency import LatencyBatch, LatencyFile, LatencyRuntime, table_for, warn_without_use
from fpnas.cli.method_flags import MethodFlags, arguments
from fpnas.cli.model_flags import SpaceFlags
from fpnas.cli.options import BY_DATA, Data, Images, ImageSizes, Json, Stage, ranks, set_up
from fpnas.cli.output import Chosen, print_json, resumable, say_found
from fpnas.cli.targets import Targets
from fpnas.errors import InputError
from fpnas.runner.callbacks import Callback, RunInfo
from fpnas.runner.folder import read_json
from fpnas.runner.trackers import trackers_by_name
from fpnas.text import counted, duration, short

if TYPE_CHECKING:
    from fpnas.cost import Budget, Flops, LatencyTable
    from fpnas.elastic import Supernet
    from fpnas.evaluators import Split
    from fpnas.search import Search

METHODS = (
    "fpnas",
    "fpnas-posterior",
    "fpnas-thompson",
    "parsec",
    "darts",
    "fbnetv2",
    "reinforce",
    "random",
    "evolution",
)
"""Those of fpnas.search.methods.METHODS; written here, too, so that --help needn't import torch."""

SHORT, SEVERAL = "fpnas-thompson", "fpnas-posterior"
"""The default methods: for one target or none, by short trainings, and for several targets."""
NEARLY = 0.95
"""Of the greatest FLOPs: from here on a network counts as the largest."""


def search(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="The run's folder; where it holds this run already, it goes on.")],
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            help=f"{', '.join(METHODS)}. {SHORT} (the default) trains each network that it looks at shortly, "
            f"on smaller images; the others share a supernet's weights. {SEVERAL} is the default for several targets.",
        ),
    ] = None,
    image_sizes: ImageSizes = None,
    latency_batch: LatencyBatch = None,
    latency_file: LatencyFile = None,
    runtime: LatencyRuntime = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            min=1,
            help=f"Length of the search: looks at K networks each ({SHORT}; 4), or epochs of shared weights "
            "(10, or as many as make 1,200 steps).",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=2, help="Images a step.")] = 64,
    crop: Annotated[
        str | None,
        typer.Option("--crop", show_default=BY_DATA, help="Of short trainings: none or pad, as in `fpnas train`."),
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option("--flip/--no-flip", show_default=BY_DATA, help="Of short trainings: mirror half of the images."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            show_default="accuracy",
            help="By which short trainings compare networks: accuracy, or balanced_accuracy, to which each class "
            "counts the same.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--parallel",
            help="data or architectures: what torchrun's ranks split, a step's images (the default) or its networks.",
        ),
    ] = None,
    accumulate: Annotated[
        int | None,
        typer.Option(
            "--accumulate",
            min=1,
            help="Run a step's images in so many parts, one after the other, to need less memory; of shared weights.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the expected time, memory and K0, and write nothing.")
    ] = False,
    as_json: Json = False,
    *,
    targets: Targets,
    space_flags: SpaceFlags,
    method_flags: MethodFlags,
    reading: Images,
    running: Stage,
) -> None:
    """Search a space for the architecture that suits your images and your budget."""
    from fpnas import parallel
    from fpnas.cost import Budget, Flops, budget_for, cost_model, measured_in
    from fpnas.evaluators import ProxyEvaluator, SupernetEvaluator
    from fpnas.runner import run
    from fpnas.runner.latency_cache import RUN_TABLE
    from fpnas.runner.suited import length_in_words, length_of_search, seen_as
    from fpnas.search import methods

    if as_json and not dry_run:
        raise InputError("--json beside --dry-run", "--json alone", "add --dry-run, or read the files of --out")
    device, precision = set_up(running.threads, running.device, running.precision)
    seed = running.seed
    callbacks = trackers_by_name(running.log)
    given = targets.by_kind()
    several = any(len(many) > 1 for many in given.values())
    method = method or (SEVERAL if several else SHORT)
    options = arguments(method, method_flags)
    of_short = {"crop": crop, "flip": flip, "metric": metric}
    asked: dict[str, Any] = {name: value for name, value in of_short.items() if value is not None}
    if accumulate is not None and method == SHORT:
        raise InputError("a method with shared weights, for --accumulate", method, "leave --accumulate out")
    if asked and method != SHORT:
        flags = " and ".join(f"--{name}" for name in asked)
        raise InputError(f"--method {SHORT}, for {flags}", method, "leave out what belongs to short trainings")
    if "cost_term" in options and not given:
        raise InputError(
            "a target, for a cost term", "none", "give --target-flops, say, or leave --beta and its kin out"
        )
    if several and method != SEVERAL:
        raise InputError(f"one target, or --method {SEVERAL}", f"several with {method}", "give it one target")
    if targets.target_ms is None:
        warn_without_use(latency_batch, latency_file, "--target-ms", runtime)
    sizes = reading.sizes(image_sizes, method, SHORT)
    source = space_flags.model()
    size = source.image_size if source is not None and reading.image_size is None else reading.image_size
    size = size if sizes is None else sizes[-1]
    wanted = reading.record(data, size, reading.fit)
    images = wanted.load(reading.workers)
    shape = (images.in_channels, images.image_size, images.image_size)
    where: dict[str, Any] = {"seed": seed, "device": device, "precision": precision}

    def budget_over(supernet: Supernet) -> Budget | list[Budget] | None:
        def table(shape: tuple[int, ...]) -> LatencyTable:
            own: LatencyTable | None = None
            if parallel.rank() == 0:  # one rank's clock for all
                given_by: dict[str, Any] = {"file": latency_file, "folder": out, "batch_size": latency_batch}
                own = table_for(supernet, shape, **given_by, device=device, runtime=runtime)
            return cast("LatencyTable", parallel.broadcast(own))

        if several:
            ((kind, values),) = given.items()
            cost = cost_model(kind, supernet, shape, targets.memory, table)
            return [Budget(cost, target) for target in values]
        most = {kind: value for kind, (value,) in given.items()}
        return budget_for(most, supernet, shape, targets.memory, table, sizes)

    with ranks(device, running.rank_timeout), resumable():
        if source is not None and not dry_run and space_flags.tunes(source):
            budget_over(space_flags.unsorted(source, images))  # what can't be met is said before the training
            moved = {name: asked[name] for name in ("crop", "flip") if name in asked}
            every = running.checkpoint_every
            source = space_flags.tuned(source, images, out, every, recipe=moved, **where)
        supernet = space_flags.supernet(source, images, seed)
        if split is not None and (parallel.world_size() == 1 or method == SHORT):
            idle_for = f"--method {SHORT}" if method == SHORT else "one process"
            warnings.warn(f"--parallel has no effect on {idle_for}", stacklevel=2)
        if method == SHORT:
            moved = {name: asked[name] for name in asked if name != "metric"}
            as_seen, why = seen_as(images, batch_size, inherit=supernet.pretrained, **moved)
            asked |= {**as_seen, "image_sizes": sizes}
            task = ProxyEvaluator(supernet, images, batch_size=batch_size, **asked, **where)
            chosen = f"{why}; "
        else:
            way = cast("Split", split or "data")
            shared: dict[str, Any] = {"split": way, "accumulate": accumulate or 1}
            task = SupernetEvaluator(supernet, images, batch_size=batch_size, **shared, **where)
            chosen = ""
        budget = budget_over(supernet)
        budgets = budget if isinstance(budget, list) else [] if budget is None else [*budget.parts]
        measured = measured_in(budget[0] if isinstance(budget, list) else budget)
        keep = None if measured is None else {RUN_TABLE: measured.to_json()}
        per_epoch = task.steps_per_epoch
        length = epochs or length_of_search(method, per_epoch, inherit=supernet.pretrained)
        chosen += length_in_words(method, length, per_epoch)
        job = methods.METHODS[method](task, budget, epochs=length, seed=seed, **options)
        reading.warn(images)
        idle = _Idle(budgets)
        if dry_run:
            idle.warn()
            _say_forecast(job, running.max_steps, as_json, chosen, budgets)
            return
        run(
            job,
            out,
            max_steps=running.max_steps,
            checkpoint_every=running.checkpoint_every,
            keep=keep,
            facts={**wanted.of_run(), "chosen": chosen},
            callbacks=[*callbacks, Chosen(chosen), idle],
        )
        if parallel.rank() == 0:
            say_found(out)
            if not budgets:
                _warn_of_largest(out, Flops(supernet, shape))


class _Idle(Callback):
    """Warns, once it is certain that the search will run, of a target that no network exceeds."""

    def __init__(self, budgets: Sequence[Budget]) -> None:
        self._budgets = budgets

    def on_start(self, run: RunInfo) -> None:
        """The folder is this run's."""
        del run
        self.warn()

    def warn(self) -> None:
        """In a line each, on stderr."""
        for budget in self._budgets:
            if not budget.binds:
                most = f"{short(budget.cost.bounds()[1])}, the most that a network of this space has"
                target = f"the target of {short(budget.target)} {budget.cost.name}"
                # What is to be mended is on the command line, not in code.
                line = f"{target} has no effect: it is not below {most}"
                warnings.warn_explicit(line, UserWarning, "command line", 1)


def _warn_of_largest(out: Path, cost: Flops) -> None:
    """Without a target, the larger a network the better it is, mostly: that need not be what was wanted."""
    found, most = float(read_json(out / "arch.json")["flops"]), cost.bounds()[1]
    if read_json(out / "result.json").get("learnt", True) and found >= NEARLY * most:
        line = f"without a target the search went for the largest network, {short(found)} of {short(most)} FLOPs"
        warnings.warn_explicit(f"{line}; give --target-flops, say", UserWarning, "command line", 1)


def _say_forecast(job: Search, max_steps: int | None, as_json: bool, chosen: str, budgets: Sequence[Budget]) -> None:
    """What the search would take, on stdout; nothing is written."""
    from fpnas import parallel
    from fpnas.runner import forecast

    found = forecast(job, max_steps)
    if parallel.rank() != 0:
        return
    space = job.distribution.space
    if as_json:
        settings = job.settings()
        facts = {"space": settings["space"], "method": job.method, "size": space.size, "device": settings["device"]}
        bounds = {own.cost.name: own.cost.bounds() for own in budgets}
        print_json({**facts, "chosen": chosen, **({"bounds": bounds} if bounds else {}), **asdict(found)})
        return
    print(chosen)
    for own in dict.fromkeys(own.cost for own in budgets):
        least, most = own.bounds()
        print(f"networks of this space have {short(least)} to {short(most)} {own.name}")
    entropy = f"entropy {found.entropy:.2f} nats"
    print(f"{space.size:.4g} architectures; alpha begins to learn from K0 = {found.k0} of them ({entropy})")
    steps = f"{counted(found.steps, 'step')}, {found.seconds_per_step:.3g} s a step at K0"
    print(f"{steps}, {duration(found.seconds)} in all if K stays there; nothing was written")
    print(
        f"{found.memory_mb:.0f} MiB; a step of the largest network needs {found.largest_mb:.0f} MiB beside its weights"
    )
