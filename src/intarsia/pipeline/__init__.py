"""The main job, from a recipe: train an expert a task, fit them into one model, measure it, report it."""

from intarsia.pipeline.recipe import MergeRecipe, Recipe, TaskRecipe
from intarsia.pipeline.results import RunResult, System
from intarsia.pipeline.run import run_recipe

__all__ = ["MergeRecipe", "Recipe", "RunResult", "System", "TaskRecipe", "run_recipe"]
