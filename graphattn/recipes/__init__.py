"""Recipes: data in; a trained, saved model with its figures out.

trained = GraphClassification().train(examples, save="model.pt")     # or any other of these
print(trained)                                                       # figures of the reported epoch, which the model has
trained.predict(new_examples)                                        # load("model.pt").predict(...) later
"""

from graphattn.recipes.best_of import best_of
from graphattn.recipes.choice import Choice
from graphattn.recipes.fit import Fit, Keep, fit
from graphattn.recipes.graph_classification import GraphClassification
from graphattn.recipes.graph_regression import GraphRegression
from graphattn.recipes.language_modeling import LanguageModeling
from graphattn.recipes.loading import load
from graphattn.recipes.node_classification import NodeClassification
from graphattn.recipes.node_regression import NodeRegression
from graphattn.recipes.predicted import Predicted
from graphattn.recipes.recipe import Recipe
from graphattn.recipes.schedule import Schedule
from graphattn.recipes.sequence_classification import SequenceClassification
from graphattn.recipes.sequence_to_sequence import SequenceToSequence
from graphattn.recipes.tagging import Tagging
from graphattn.recipes.trained import Trained

__all__ = [
    "Choice",
    "Fit",
    "GraphClassification",
    "GraphRegression",
    "Keep",
    "LanguageModeling",
    "NodeClassification",
    "NodeRegression",
    "Predicted",
    "Recipe",
    "Schedule",
    "SequenceClassification",
    "SequenceToSequence",
    "Tagging",
    "Trained",
    "best_of",
    "fit",
    "load",
]
