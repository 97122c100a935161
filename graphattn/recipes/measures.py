"""How right predictions are."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


def accuracy(scores: Tensor, y: Tensor) -> float:
    """Share of the examples whose class has the highest of the scores [num_examples, num_classes].

    >>> import torch
    >>> accuracy(torch.tensor([[1., 0.], [0., 1.]]), torch.tensor([0, 0]))
    0.5
    """
    return float((scores.argmax(dim=-1) == y).double().mean())


def roc_auc(scores: Tensor, y: Tensor) -> float:
    """Probability that an example of class 1 has a higher score than one of class 0; equal scores count a half.

    Args:
        scores: [num_examples, 2], of which the difference counts, or [num_examples].
        y: 0 or 1 of each example.

    Returns nan where a class has no example: there is nothing to compare.

    >>> import torch
    >>> roc_auc(torch.tensor([0.1, 0.4, 0.4, 0.8]), torch.tensor([0, 0, 1, 1]))
    0.875
    """
    if scores.dim() == 2:
        scores = scores[:, 1] - scores[:, 0]
    scores, y = scores.detach().double().cpu(), y.cpu().bool()
    positives, negatives = int(y.sum()), int((~y).sum())
    if not positives or not negatives:
        return float("nan")
    _, place, count = scores.unique(return_inverse=True, return_counts=True)
    rank = count.cumsum(0).double() - (count.double() - 1) / 2  # of equals, the mean of their ranks, from 1
    above = float(rank[place][y].sum()) - positives * (positives + 1) / 2
    return above / (positives * negatives)


def macro_f1(scores: Tensor, y: Tensor) -> float:
    """Mean over the classes of 2 precision recall / (precision + recall); classes that never occur do not count.

    >>> import torch
    >>> macro_f1(torch.eye(3)[[0, 0, 1, 2]], torch.tensor([0, 1, 1, 2]))
    0.7777777777777777
    """
    num_classes, predicted = scores.size(-1), scores.argmax(dim=-1)
    right = y[predicted == y].bincount(minlength=num_classes).double()
    both = y.bincount(minlength=num_classes).double() + predicted.bincount(minlength=num_classes).double()
    return float((2 * right / both)[both > 0].mean())


def rmse(predicted: Tensor, measured: Tensor) -> float:
    """Root of the mean square of the errors, in the unit of the targets."""
    return F.mse_loss(predicted, measured).sqrt().item()


def mae(predicted: Tensor, measured: Tensor) -> float:
    """Mean of the absolute errors, in the unit of the targets."""
    return F.l1_loss(predicted, measured).item()


def r2(predicted: Tensor, measured: Tensor) -> float:
    """1 - mean square of the errors / variance: 1 is perfect, 0 as good as the mean, below 0 worse.

    Returns nan where all targets are the same, as that of a single example is.

    >>> import torch
    >>> r2(torch.tensor([1., 2., 4.]), torch.tensor([1., 2., 3.])), r2(torch.ones(1), torch.zeros(1))
    (0.5, nan)
    """
    error, variance = (predicted - measured).double().square().mean(), measured.double().var(correction=0)
    return 1 - (error / variance).item() if variance > 0 else float("nan")


class Measure(NamedTuple):
    function: Callable[[Tensor, Tensor], float]
    higher: bool = True  # is better


OF_CLASSES: Mapping[str, Measure] = {
    "accuracy": Measure(accuracy),
    "roc_auc": Measure(roc_auc),
    "macro_f1": Measure(macro_f1),
}
OF_NUMBERS: Mapping[str, Measure] = {"rmse": Measure(rmse, False), "mae": Measure(mae, False), "r2": Measure(r2)}


def check_measure(name: str, known: Mapping[str, Measure]) -> None:
    if name not in known:
        raise ValueError(f"'measure' must be one of {list(known)} (got {name!r})")


def class_figures(scores: Tensor, y: Tensor) -> dict[str, float]:
    """The loss and all measures of classes; the area under the curve where there are two of them."""
    found = {"loss": F.cross_entropy(scores, y).item()}
    for name, measure in OF_CLASSES.items():
        if name != "roc_auc" or scores.size(1) == 2:
            found[name] = measure.function(scores, y)
    return found
