"""How a search is done by default: its length, and how short trainings see images. The data decide."""

from __future__ import annotations

from typing import Any

from fpnas.data import ImageData
from fpnas.evaluators import proxy
from fpnas.job import epochs_for
from fpnas.search.methods import SHORT
from fpnas.text import lasting
from fpnas.train import recipe_for
from fpnas.train.suited import not_photographs

LOOKS, LOOKS_INHERITED, EPOCHS, STEPS, MOST_EPOCHS = 4, 12, 10, 1200, 100
"""The length of a search by default: looks at K networks each, more of the shorter ones from weights that were trained
before; or epochs of shared weights, of few images as many as make so many steps, which searches on CIFAR-10 take
(docs/ground.md), but not too many."""

SEEN = 4
"""How often short trainings see an image, on average, from where on they augment by default."""


def length_of_search(method: str, steps_per_epoch: int, *, inherit: bool = False) -> int:
    """Looks or epochs of a search by default; `inherit` where short trainings start from weights trained before."""
    if method == SHORT:
        return LOOKS_INHERITED if inherit else LOOKS
    return epochs_for(steps_per_epoch, STEPS, EPOCHS, MOST_EPOCHS)


def length_in_words(method: str, epochs: int, steps_per_epoch: int) -> str:
    """4 looks, which make 2,400 steps."""
    return lasting(epochs, "look" if method == SHORT else "epoch", epochs * steps_per_epoch)


def seen_as(images: ImageData, batch_size: int, *, inherit: bool = False, **asked: Any) -> tuple[dict[str, Any], str]:
    """How short trainings see images, as arguments of `ProxyEvaluator`, and why: as a training does that follows,
    unless they are too short to learn any by heart.

    Args:
        images: the data.
        batch_size: of the search.
        inherit: whether they start from weights that were trained before.
        asked: `crop` and `flip` where they are given.
    """
    steps = proxy.STEPS_INHERITED if inherit else proxy.STEPS
    seldom = steps * batch_size < SEEN * len(images.train)
    given: dict[str, Any] = {"crop": "none", "flip": False, **asked} if seldom else asked
    suited = recipe_for(images, **given)
    why = suited.reason.partition(";")[0]
    if seldom and not asked and not_photographs(images) is None:
        why += f", as short trainings see each less than {SEEN} times"
    return {"crop": suited.recipe.crop, "flip": suited.recipe.flip}, why
