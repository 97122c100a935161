"""Several recipes tried on the same data."""

import os
from collections.abc import Sequence
from typing import Any

from graphattn.recipes.recipe import Recipe
from graphattn.recipes.trained import Trained


def best_of(recipes: Sequence[Recipe], data: Any, **options: Any) -> tuple[Trained, list[Trained]]:
    """The model of the recipe that is best on the validation part, and those of all.

    The test part chooses nothing. Options are those of `Recipe.train`; `save` keeps the best, `log` gets a folder for each.

    Args:
        recipes: Of one task, with the same measure or none; the first one's measure decides.
        data: As the recipes say.

    Raises ValueError without a recipe.
    """
    if not recipes:
        raise ValueError("'recipes' needs one recipe at least (got none)")
    save = options.pop("save", None)
    if options.get("resume") or options.get("minutes") is not None:
        raise ValueError("several recipes are tried in one go (got 'resume' or 'minutes'); train one of them for that")
    log, tried = options.pop("log", None), []
    for number, recipe in enumerate(recipes):
        folder = None if log is None else os.path.join(log, str(number))
        tried.append(recipe.train(data, log=folder, **options))
    choice = next(
        (r.choice(t.facts) for r, t in zip(recipes, tried, strict=True) if r.choice(t.facts).by != "loss"), None
    )
    choice = choice or recipes[0].choice(tried[0].facts)
    best = tried[choice.best([trained.figures["validation"] for trained in tried])]
    if save is not None:
        best.save(save)
    return best, tried
