"""Recipes by the names that files have, and trained models out of files."""

import os

from torch import nn

from graphattn.recipes.checkpoint import read_whole
from graphattn.recipes.graph_classification import GraphClassification
from graphattn.recipes.graph_regression import GraphRegression
from graphattn.recipes.language_modeling import LanguageModeling
from graphattn.recipes.node_classification import NodeClassification
from graphattn.recipes.node_regression import NodeRegression
from graphattn.recipes.recipe import Recipe
from graphattn.recipes.sequence_classification import SequenceClassification
from graphattn.recipes.sequence_to_sequence import SequenceToSequence
from graphattn.recipes.tagging import Tagging
from graphattn.recipes.trained import KIND, Trained

KNOWN: tuple[type[Recipe], ...] = (
    NodeClassification,
    NodeRegression,
    GraphClassification,
    GraphRegression,
    SequenceClassification,
    Tagging,
    SequenceToSequence,
    LanguageModeling,
)
RECIPES: dict[str, type[Recipe]] = {recipe.name: recipe for recipe in KNOWN}


def load(path: str | os.PathLike[str], model: nn.Module | None = None) -> Trained:
    """What `Trained.save` or the argument `save` wrote. Its predictions are those of before.

    Args:
        path: Of the file.
        model: Where it was trained with a model of your own, one like it, for the weights.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, another file, or its model was one of your own and none is given.
    """
    content = read_whole(path)
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise ValueError(
            f"'{path}' holds no trained model (got {type(content).__name__}); give a file that save() or --save wrote"
        )
    if content["name"] not in RECIPES:
        raise ValueError(
            f"'{path}' is of a recipe {content['name']!r} that this version does not know ({sorted(RECIPES)}); it was written"
            f" by graphattn {content['version']}"
        )
    recipe = RECIPES[content["name"]].of(content["options"])
    if content["is_own_model"] and model is None:
        raise ValueError(f"'{path}' has the weights of a model of your own; load(path, model=a module like it)")
    network = recipe.build(content["facts"]) if model is None else model
    network.load_state_dict(content["state"])
    names = ("figures", "history", "epoch", "seed", "seconds", "counts")
    given = {name: content[name] for name in names}
    return Trained(recipe, content["facts"], network.eval(), **given, is_own_model=content["is_own_model"])
