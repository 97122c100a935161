"""Recipes whose examples have one class each: what they share."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphattn.recipes.choice import Choice
from graphattn.recipes.examples import OfExamples
from graphattn.recipes.labels import classes_of, encode_labels, label_of
from graphattn.recipes.measures import OF_CLASSES, check_measure, class_figures
from graphattn.recipes.parts import Parts, split_classes
from graphattn.recipes.predicted import Predicted


@dataclass(frozen=True)
class OfClasses(OfExamples):
    """Examples with `y`, a whole number each; parts have a share of every class."""

    measure: str = "accuracy"
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_measure(self.measure, OF_CLASSES)
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"'smoothing' must be in [0, 1) (got {self.smoothing})")

    def choice(self, facts: dict[str, Any]) -> Choice:
        return Choice(self.measure, ties="loss")

    def parts(self, examples: list[Any], shares: Sequence[float], seed: int) -> Parts:
        return split_classes(torch.cat([label_of(data) for data in examples]), shares, seed)

    def check_target(self, example: Any) -> None:
        label_of(example)

    def learn(self, examples: list[Any]) -> dict[str, Any]:
        classes = classes_of(torch.cat([label_of(data) for data in examples]), "examples")
        if self.measure == "roc_auc" and len(classes) != 2:
            raise ValueError(
                f"'roc_auc' is of two classes (got {len(classes)}: {classes.tolist()[:20]}); take 'accuracy'"
            )
        return {"classes": classes.tolist()}

    def target(self, example: Any, facts: dict[str, Any]) -> Tensor:
        return encode_labels(label_of(example), torch.tensor(facts["classes"]), "validation or test examples")

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(self.outputs(model, batch), batch.y, label_smoothing=self.smoothing)

    def figures(self, model: nn.Module, batches: Iterable[Any]) -> dict[str, float]:
        return class_figures(*self.outputs_and_targets(model, batches))

    def predict(self, model: nn.Module, data: Any, facts: dict[str, Any]) -> Predicted:
        """`Predicted`, for each of a list of examples or for one."""
        return Predicted.of(self.scores(model, self.batches_of(data, facts)), facts.get("names") or facts["classes"])
