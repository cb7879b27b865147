"""How long stages take on this machine, and what fits into so many minutes."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fpnas import parallel
from fpnas.data import ImageData
from fpnas.errors import InputError
from fpnas.text import duration
from fpnas.train import Training, accuracy
from fpnas.train.suited import MOST_EPOCHS

SEARCH_SHARE = 0.4
"""Of the minutes, what a search gets; nearly all of the rest is the training's."""
TUNE_SHARE = 0.15
"""Of the minutes, and of that share, what a whole network gets at most that learns the images before the search."""
REST_SECONDS, REST_SHARE = 10.0, 0.03
"""What is kept for files, the report and a slower machine than the one measured."""
TRAINING_SHARE = 0.3
"""What a training gets at least, where the search took longer than it was told to: else the job would be in vain."""
LEAST_LOOKS, MOST_LOOKS = 3, 12
LEAST_STEPS = 1 / 3
"""Of a short training's usual steps, below which it tells nothing."""
_WARM_UP, _TIMED = 3, 8


@dataclass(frozen=True)
class Pace:
    """Seconds of a training.

    Args:
        step: a step.
        judging: the held-out images, after each epoch.
        steps: an epoch has.
    """

    step: float
    judging: float
    steps: int

    @property
    def epoch(self) -> float:
        """Seconds of an epoch."""
        return self.steps * self.step + self.judging


def pace_of(training: Training, images: ImageData) -> Pace:
    """The pace of a training, new, that is thrown away afterwards."""
    steps = training.steps_total // training.recipe.epochs
    alone = max(1, steps - 1)  # an epoch's last step judges as well
    warm_up = min(_WARM_UP, alone - 1)
    timed = min(_TIMED, alone - warm_up)
    for _ in range(warm_up):
        training.step()
    begun = time.perf_counter()
    for _ in range(timed):
        training.step()
    step = (time.perf_counter() - begun) / timed
    begun = time.perf_counter()
    accuracy(training.trained, images, device=training.device)
    return parallel.broadcast(Pace(step, time.perf_counter() - begun, steps))


def search_within(
    minutes: float, seconds_a_look: float, *, full: int | None, spent: float = 0.0
) -> tuple[int, int | None]:
    """Epochs of a search within its share of the minutes; steps of a short training, None for the default.

    Args:
        minutes: for all.
        seconds_a_look: of an epoch of the search.
        full: the usual steps of a look where it is by short trainings, which may then have fewer; None for others.
        spent: seconds of that share that are gone.

    Raises:
        InputError: too few minutes.
    """
    room = SEARCH_SHARE * 60 * minutes - spent
    epochs = int(room / seconds_a_look)
    if full is None:
        if epochs < 1:
            raise _too_few(minutes, seconds_a_look, spent)
        return epochs, None
    if epochs >= LEAST_LOOKS:
        return min(epochs, MOST_LOOKS), None
    steps = int(full * room / (LEAST_LOOKS * seconds_a_look))
    if steps < LEAST_STEPS * full:
        raise _too_few(minutes, LEAST_LOOKS * seconds_a_look * LEAST_STEPS, spent)
    return LEAST_LOOKS, steps


def seconds_left(minutes: float, spent: float) -> float:
    """Of the minutes, for a training; not less than its least share."""
    return 60 * max(minutes - spent / 60, TRAINING_SHARE * minutes)


def training_within(seconds: float, pace: Pace) -> int:
    """Epochs that fit into the seconds that are left; one at least, and no more than a training gets by default."""
    return min(max(1, int((seconds * (1 - REST_SHARE) - REST_SECONDS) / pace.epoch)), MOST_EPOCHS)


def tuning_within(minutes: float, pace: Pace, most: int) -> int:
    """Epochs of the whole network that fit into its share of the minutes; one at least."""
    return max(1, min(most, int(TUNE_SHARE * 60 * minutes / pace.epoch)))


def unused(seconds: float, epochs: int) -> str:
    """What a training of the most epochs leaves of the time, in words."""
    if epochs < MOST_EPOCHS:
        return ""
    return f", the most that a training gets: the job ends about {duration(round(seconds))} before its time"


def _too_few(minutes: float, least: float, spent: float) -> InputError:
    needed = (least + spent) / SEARCH_SHARE / 60
    expected = f"at least {needed:.2g} minutes, for a search of {duration(least)} and a training"
    return InputError(expected, f"{minutes:g}", "raise --minutes, or take smaller images")
