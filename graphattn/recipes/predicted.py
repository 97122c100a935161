"""What classifiers say of new data."""

from typing import Any, NamedTuple

from torch import Tensor


class Predicted(NamedTuple):
    """Labels as in the data, and a probability [num_examples, num_classes] for each class, in the order of `classes`."""

    labels: list[Any]
    probabilities: Tensor
    classes: list[Any]

    @classmethod
    def of(cls, scores: Tensor, classes: list[Any]) -> "Predicted":
        """From scores [num_examples, num_classes].

        >>> import torch
        >>> Predicted.of(torch.tensor([[0., 1.], [2., 0.]]), ['no', 'yes']).labels
        ['yes', 'no']
        """
        return cls([classes[place] for place in scores.argmax(-1).tolist()], scores.softmax(-1), classes)
