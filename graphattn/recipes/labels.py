"""Classes of examples: what the labels of the data may be, and what is said of others before anything is trained."""

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data


def check_labels(y: Any, count: int, what: str) -> Tensor:
    """The labels as int64 [count].

    Args:
        y: What the user has: a tensor [count] or [count, 1] of whole numbers or bools.
        count: How many there should be.
        what: Names them in errors, such as 'nodes'.

    Raises:
        ValueError: where there are none, where they are floating point, one-hot or of another number.
    """
    if not isinstance(y, Tensor):
        raise ValueError(
            f"the {what} have no labels to learn from (got y={y!r}); set data.y to a tensor of class numbers"
        )
    if y.is_floating_point() or y.is_complex():
        whole = bool(torch.isfinite(y).all()) and bool((y == y.round()).all()) if y.is_floating_point() else False
        recipe = "NodeRegression" if what == "nodes" else "GraphRegression"
        advice = f"{'give data.y.long(); ' if whole else ''}numbers to be predicted are for the recipe {recipe}"
        raise ValueError(f"labels must be whole numbers, one for each class (got {y.dtype} {list(y.shape)}); {advice}")
    if y.dim() == 2 and y.size(1) == 1:
        y = y[:, 0]
    if y.dim() == 2 and y.size(0) == count:
        is_one_hot = bool((y.long().sum(1) == 1).all())
        advice = (
            "give y.argmax(1)" if is_one_hot else "choose a column, several labels of one example are not supported"
        )
        raise ValueError(f"the {what} need one label each (got {list(y.shape)}); {advice}")
    if y.dim() > 1 or y.numel() != count:
        raise ValueError(
            f"the {what} need one label each (got {count} {what} and labels {list(y.shape)}); repair data.y"
        )
    return y.reshape(count).long()


def label_of(example: Data) -> Tensor:
    """The label of an example, int64 [1]."""
    y = example.get("y")
    y = torch.tensor(y) if isinstance(y, int) else y
    return check_labels(y.reshape(1) if isinstance(y, Tensor) and y.dim() == 0 else y, 1, "examples")


def classes_of(y: Tensor, what: str) -> Tensor:
    """The different labels, in order: class i has the label classes[i]. Raises ValueError if there is only one."""
    classes = y.unique()
    if classes.numel() < 2:
        raise ValueError(
            f"the {what} to train on are all of one class (got {classes.tolist()}); there is nothing to tell apart"
        )
    return classes


def encode_labels(y: Tensor, classes: Tensor, what: str) -> Tensor:
    """Places of the labels among the classes.

    Raises ValueError if a label is not among them: such an example could never be right.
    """
    places = torch.searchsorted(classes, y).clamp(max=classes.numel() - 1)
    is_strange = classes[places] != y
    if is_strange.any():
        strange, counts = y[is_strange].unique(return_counts=True)
        found = ", ".join(
            f"{label} ({count}x)" for label, count in zip(strange.tolist()[:8], counts.tolist(), strict=False)
        )
        raise ValueError(
            f"labels of {what} that no training example has (got {found}; trained on {classes.tolist()[:20]}); give the"
            " training part examples of each class, or leave these out"
        )
    return places


def check_features(x: Any, what: str) -> Tensor:
    """Features as floating point [num_nodes, num_features], finite. Raises ValueError on others."""
    if not isinstance(x, Tensor) or x.dim() != 2 or x.size(1) == 0:
        got = f"shape {list(x.shape)}" if isinstance(x, Tensor) else f"x={x!r}"
        raise ValueError(
            f"the {what} need features x [num_nodes, num_features] (got {got}); without any, give for example"
            " torch_geometric.transforms.OneHotDegree, or graphattn.transforms.AddDegrees"
        )
    x = x if x.is_floating_point() else x.float()
    broken = int((~torch.isfinite(x.values() if x.layout == torch.sparse_csr else x)).sum())
    if broken:
        raise ValueError(
            f"the features of the {what} have {broken} numbers that are nan or infinite; replace them first"
        )
    return x
