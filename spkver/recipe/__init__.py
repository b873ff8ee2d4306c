"""A recipe: the YAML tree of a training run, and the run that it describes.

from spkver.config import load
from spkver.recipe import Recipe, train

train(load(Recipe, "conf.yaml"), "exp/my")
"""

from spkver.recipe.parts import build
from spkver.recipe.run import average, dry_run, is_complete, train
from spkver.recipe.samples import describe_samples
from spkver.recipe.schema import AugmentConfig, DataConfig, Recipe

__all__ = [
    "AugmentConfig",
    "DataConfig",
    "Recipe",
    "average",
    "build",
    "describe_samples",
    "dry_run",
    "is_complete",
    "train",
]
