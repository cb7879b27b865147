"""`Recipe`: how a network is trained, in plain numbers; the same for every network that is compared.

All that decides a training beside the network, the data, the seed and the machine is a field here; the resolved fields
go into the run's settings.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from fpnas.errors import InputError, unknown_name

OptimizerName = Literal["sgd", "adamw"]
Crop = Literal["none", "pad", "resized"]

LR: dict[str, float] = {"sgd": 0.2, "adamw": 0.004}
LR_PRETRAINED = 0.08
"""Of "sgd" for weights that were trained before; "adamw" learns these at its own default too (docs/pretrained.md)."""
WEIGHT_DECAY: dict[str, float] = {"sgd": 1e-4, "adamw": 0.05}

_WARMUP = 0.1

_UNTOLD = ("accumulate", "sync_batch_norm")
"""Fields that a run's settings have where they aren't the default."""

_RANGES: dict[str, tuple[str, float, float]] = {
    "epochs": ("[)", 1, math.inf),
    "batch_size": ("[)", 2, math.inf),
    "accumulate": ("[)", 1, math.inf),
    "lr": ("()", 0, math.inf),
    "weight_decay": ("[)", 0, math.inf),
    "warmup": ("[)", 0, 1),
    "label_smoothing": ("[)", 0, 1),
    "ema": ("[)", 0, 1),
    "crop_area": ("(]", 0, 1),
    "randaugment": ("[)", 0, 30),
    "random_erasing": ("[]", 0, 1),
    "mixup": ("[)", 0, math.inf),
    "cutmix": ("[)", 0, math.inf),
    "drop_path": ("[)", 0, 1),
    "teacher_weight": ("[]", 0, 1),
    "teacher_temperature": ("()", 0, math.inf),
}
"""The interval of each number; a round bracket leaves its end out."""


@dataclass(frozen=True)
class Recipe:
    """A training's course. The defaults are the plain recipe of benchmarks/train_recipes.py.

    Args:
        epochs: length.
        batch_size: images a step, on all ranks together.
        accumulate: parts of a rank's images that run one after the other, each with its own batch statistics; their
            gradients are added up. 4 need about a quarter of the memory for activations.
        sync_batch_norm: batch norms see the statistics of all ranks' images, not of the rank's own.
        optimizer: "sgd", Nesterov momentum .9, or "adamw", betas (.9, .999).
        lr: the greatest learning rate; by default 0.2 for "sgd", 0.004 for "adamw".
        weight_decay: on parameters of two dimensions or more, so not on norms and biases; by default 1e-4 for "sgd",
            0.05 for "adamw".
        warmup: fraction of the steps in which the learning rate rises; then it falls to 0 along a cosine.
        warmup_epochs: the same in epochs, instead of `warmup`: 3 of 30 are a `warmup` of 0.1, and the same run.
        label_smoothing: share of the target that goes to all classes alike.
        ema: decay a step of the averaged weights, which are then the ones that are judged and kept; 0: none.
        crop: "pad": a window of the image's own size after padding with an eighth of that in black; "resized": a part
            of at least `crop_area` of the image, enlarged (needs kornia); "none".
        crop_area: least share of the image's area that "resized" leaves.
        flip: mirror half of the images; for photographs, not for digits or letters.
        randaugment: magnitude of RandAugment, 1 to 29; 0: none (needs kornia).
        random_erasing: share of the images in which a rectangle is replaced by the mean image (needs kornia).
        mixup: alpha of mixup's Beta(alpha, alpha); 0: none.
        cutmix: alpha of CutMix's; where both are set, a coin decides for each batch.
        drop_path: probability that the last residual branch is left out for an image; it rises linearly with depth.
        teacher_weight: share of the loss that comes from the teacher, where there is one.
        teacher_temperature: by which logits of teacher and network are divided there.

    Raises:
        InputError: a field out of its range.
    """

    epochs: int = 30
    batch_size: int = 128
    accumulate: int = 1
    sync_batch_norm: bool = False
    optimizer: OptimizerName = "sgd"
    lr: float | None = None
    weight_decay: float | None = None
    warmup: float = _WARMUP
    warmup_epochs: float | None = None
    label_smoothing: float = 0.05
    ema: float = 0.0
    crop: Crop = "none"
    crop_area: float = 0.35
    flip: bool = False
    randaugment: int = 0
    random_erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    drop_path: float = 0.0
    teacher_weight: float = 0.5
    teacher_temperature: float = 2.0

    def __post_init__(self) -> None:
        for name, value, known in (
            ("optimizer", self.optimizer, get_args(OptimizerName)),
            ("crop", self.crop, get_args(Crop)),
        ):
            if value not in known:
                raise unknown_name(name, str(value), known)
        if self.warmup_epochs is not None:
            if not 0 <= self.warmup_epochs < self.epochs:
                got = f"{self.warmup_epochs:g}"
                raise InputError(f"warmup_epochs from 0 to below the {self.epochs} epochs", got, "correct it")
            if self.warmup != _WARMUP:
                raise InputError("warmup or warmup_epochs", "both", "leave one of them out")
        for name, (brackets, low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is None:  # the optimizer's default
                continue
            low_open, high_open = brackets[0] == "(", brackets[1] == ")"
            above = low < value or (value == low and not low_open)
            if not (above and (value < high or (value == high and not high_open))):  # NaN is neither
                expected = f"{name} {'above' if low_open else 'from'} {low:g}"
                expected += f" {'to below' if high_open else 'to'} {high:g}" if math.isfinite(high) else ""
                raise InputError(expected, f"{value:g}", "choose a number in that range")

    def with_fields(self, changes: dict[str, Any]) -> Recipe:
        """The recipe with some fields replaced, or `InputError` where one isn't a field."""
        known = self.names()
        for name in changes:
            if name not in known:
                raise unknown_name("field of a recipe", name, known)
        return replace(self, **changes)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Of the fields."""
        return tuple(field.name for field in fields(cls))

    def for_pretrained(self) -> Recipe:
        """The recipe for weights that were trained before: for "sgd" with a lower `lr`, where it has none."""
        return self if self.lr is not None or self.optimizer != "sgd" else replace(self, lr=LR_PRETRAINED)

    def settings(self) -> dict[str, Any]:
        """All fields, with the defaults that depend on the optimizer filled in, and the warm-up as a fraction.

        Those that divide the work have their place where they do.
        """
        values = asdict(self)
        del values["warmup_epochs"]
        for name in _UNTOLD:
            if values[name] == type(self).__dataclass_fields__[name].default:
                del values[name]
        return {**values, "lr": self.max_lr, "weight_decay": self.decay, "warmup": self.warmup_share}

    @property
    def warmup_share(self) -> float:
        """`warmup`, or `warmup_epochs` as a fraction of the epochs."""
        return self.warmup if self.warmup_epochs is None else self.warmup_epochs / self.epochs

    @property
    def max_lr(self) -> float:
        """`lr`, or the optimizer's default."""
        return LR[self.optimizer] if self.lr is None else self.lr

    @property
    def decay(self) -> float:
        """`weight_decay`, or the optimizer's default."""
        return WEIGHT_DECAY[self.optimizer] if self.weight_decay is None else self.weight_decay

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step of so many: linear warm-up, then cosine to 0."""
        rising = max(1, round(self.warmup_share * steps))
        if step < rising:
            return self.max_lr * (step + 1) / rising
        return self.max_lr * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising))) / 2


def for_loss(loss: object, recipe: Recipe, class_weights: object) -> Recipe:
    """The recipe as it is; beside a loss of one's own without smoothing, which belongs to the cross entropy.

    Raises:
        InputError: such a loss beside what changes or weighs labels.
    """
    if loss is None:
        return recipe
    given = {"class_weights": class_weights, "mixup": recipe.mixup, "cutmix": recipe.cutmix}
    given["label_smoothing"] = recipe.label_smoothing not in (0, Recipe.label_smoothing)
    beside = [name for name, value in given.items() if value]
    if beside:
        raise InputError("a loss of your own alone", f"{' and '.join(beside)} too", "leave them out, or the loss")
    return replace(recipe, label_smoothing=0.0)
