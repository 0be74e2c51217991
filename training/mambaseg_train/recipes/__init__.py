"""Recipes: an experiment of a paper, or one of ours, in one small JSON file each (``training/recipes``)."""

from __future__ import annotations

from mambaseg_train.recipes.load import load_recipe, read_recipe, recipe_ids, recipes_folder
from mambaseg_train.recipes.model import DataSource, Paper, Recipe

__all__ = ["DataSource", "Paper", "Recipe", "load_recipe", "read_recipe", "recipe_ids", "recipes_folder"]
