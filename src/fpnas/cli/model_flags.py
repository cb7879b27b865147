"""Flags of a search inside a network that exists: which one, with which weights, and what of it may be smaller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import typer

from fpnas.errors import InputError, unknown_name

if TYPE_CHECKING:
    from fpnas.data import ImageData
    from fpnas.elastic import Importance, Supernet
    from fpnas.spaces import Model, Smaller

N = TypeVar("N", int, float)

IMPORTANCES = ("taylor", "l2", "l1")
"""Those of `make_elastic`; written here, too, so that --help needn't import torch."""


@dataclass(frozen=True)
class SpaceFlags:
    """The space: one of fpnas's or one's own, or the networks inside one that exists."""

    space: Annotated[
        str | None,
        typer.Option("--space", help="tiny (the default; find: auto); see fpnas spaces; your own by --import."),
    ] = None
    from_model: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="Search inside a network that exists: timm/NAME, torchvision/NAME or FILE.py:FUNCTION.",
        ),
    ] = None
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights", help="Of --from: a .safetensors or .pth file, or none; by default those of the library."
        ),
    ] = None
    widths: Annotated[
        str | None, typer.Option("--widths", help="Of --from: fractions of each width; 0.25,0.5,0.75,1.")
    ] = None
    kernels: Annotated[
        str | None, typer.Option("--kernels", help="Of --from: further sizes of depthwise convolutions, such as 3,5.")
    ] = None
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort",
            help="Of --from: which channels narrower networks keep, by what the loss would be without them (taylor, the"
            " default) or by the norms of weights (l1, l2).",
        ),
    ] = None
    tune_epochs: Annotated[
        int | None,
        typer.Option(
            "--tune-epochs",
            min=0,
            help="Of --from: epochs in which the whole network learns your images before the search; by default 6 (of"
            " many images fewer), or 0 of fresh weights.",
        ),
    ] = None
    skips: Annotated[bool, typer.Option("--skips", help="Of --from: residual blocks may be left out.")] = False

    def model(self) -> Model | None:
        """The network that --from names; None without it.

        Raises:
            InputError: it can't be had, or flags don't go together.
        """
        from fpnas.spaces import model

        if self.from_model is None:
            given: dict[str, object] = {"--weights": self.weights, "--widths": self.widths, "--kernels": self.kernels}
            given |= {
                "--sort": self.sort,
                "--skips": "given" if self.skips else None,
                "--tune-epochs": self.tune_epochs,
            }
            idle = [flag for flag, value in given.items() if value is not None]
            if idle:
                raise InputError(f"--from beside {' and '.join(idle)}", "none", "name a network, or leave them out")
            return None
        if self.space is not None:
            raise InputError("--space or --from", "both", "leave one of them out")
        if self.sort is not None and self.sort not in IMPORTANCES:
            raise unknown_name("importance", self.sort, IMPORTANCES)
        return model(self.from_model, self.weights)

    def supernet(self, found: Model | None, images: ImageData, seed: int) -> Supernet:
        """The space for these images, with `found` as `model` gave it."""
        from fpnas.spaces import by_name

        size, channels = images.image_size, images.in_channels
        if found is None:
            make = by_name(self.space or "tiny")
            return make(num_classes=images.num_classes, in_channels=channels, image_size=size, seed=seed)
        return self.inside(found, images.num_classes, channels, size, seed, images)

    def tunes(self, found: Model) -> bool:
        """Whether the whole network learns the images before the search."""
        return bool(found.pretrained if self.tune_epochs is None else self.tune_epochs)

    def tuned(self, found: Model, images: ImageData, out: Path, checkpoint_every: int, **how: Any) -> Model:
        """`found` after its epochs on the images; see `runner.tuned`."""
        from fpnas.runner import tuned

        how["epochs"] = self.tune_epochs
        return tuned(found, images, out, how=how, checkpoint_every=checkpoint_every)

    def unsorted(self, found: Model, images: ImageData) -> Supernet:
        """The space of the networks inside `found` before it has learnt anything."""
        return found.supernet(images.num_classes, images.in_channels, images.image_size, self.smaller, sort="l2")

    def inside(
        self,
        found: Model,
        num_classes: int,
        in_channels: int,
        image_size: int,
        seed: int,
        images: ImageData | None = None,
    ) -> Supernet:
        """The space of the networks inside `found`; `images` where channels are sorted by them."""
        return found.supernet(num_classes, in_channels, image_size, self.smaller, seed, self.importance, images)

    @property
    def importance(self) -> Importance | None:
        """What channels are sorted by; None for the default."""
        return cast("Importance | None", self.sort)

    @property
    def smaller(self) -> Smaller:
        """What may be smaller."""
        from fpnas.spaces import Smaller

        default = Smaller()
        widths = default.widths if self.widths is None else _numbers(self.widths, float, "--widths")
        kernels = default.kernels if self.kernels is None else _numbers(self.kernels, int, "--kernels")
        return Smaller(widths, kernels, self.skips)


def _numbers(text: str, kind: Callable[[str], N], flag: str) -> tuple[N, ...]:
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise InputError("numbers with commas between them", repr(text), f"correct {flag}") from None
