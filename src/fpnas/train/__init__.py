"""Training of found networks, from scratch or from inherited weights."""

from fpnas.train.class_weights import ClassWeights
from fpnas.train.distil import AtSize, Renormalized, Teacher
from fpnas.train.evaluate import Accuracy, ClassAccuracy, Mistake, accuracy, evaluation_record
from fpnas.train.loop import Training
from fpnas.train.network import from_scratch, inherited, recalibrate
from fpnas.train.recipe import Recipe
from fpnas.train.suited import Suited, recipe_for

__all__ = [
    "Accuracy",
    "AtSize",
    "ClassAccuracy",
    "ClassWeights",
    "Mistake",
    "Recipe",
    "Renormalized",
    "Suited",
    "Teacher",
    "Training",
    "accuracy",
    "evaluation_record",
    "from_scratch",
    "inherited",
    "recalibrate",
    "recipe_for",
]
