"""Training of found networks, from scratch or from inherited weights."""

from fpnas.train.evaluate import Accuracy, accuracy
from fpnas.train.loop import Training
from fpnas.train.network import from_scratch, inherited, recalibrate

__all__ = ["Accuracy", "Training", "accuracy", "from_scratch", "inherited", "recalibrate"]
