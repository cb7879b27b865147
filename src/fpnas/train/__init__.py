"""Training of found networks, from scratch or from inherited weights."""

from typing import TYPE_CHECKING

from fpnas.lazy import imported_on_demand

if TYPE_CHECKING:
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

if not TYPE_CHECKING:
    __getattr__, __dir__ = imported_on_demand(
        __name__,
        {
            "class_weights": "ClassWeights",
            "distil": "AtSize Renormalized Teacher",
            "evaluate": "Accuracy ClassAccuracy Mistake accuracy evaluation_record",
            "loop": "Training",
            "network": "from_scratch inherited recalibrate",
            "recipe": "Recipe",
            "suited": "Suited recipe_for",
        },
    )
