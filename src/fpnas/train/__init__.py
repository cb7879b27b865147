"""Training of found networks, from scratch or from inherited weights."""

from fpnas.train.distil import AtSize, Teacher
from fpnas.train.evaluate import Accuracy, accuracy
from fpnas.train.loop import Training
from fpnas.train.network import from_scratch, inherited, recalibrate
from fpnas.train.recipe import Recipe

__all__ = [
    "Accuracy",
    "AtSize",
    "Recipe",
    "Teacher",
    "Training",
    "accuracy",
    "from_scratch",
    "inherited",
    "recalibrate",
]
