"""What the model says of an input, beside what is true."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphattn.viz.canvas import words_of

MOST_CLASSES = 5  # of each node or input, the likeliest


def predictions_of(
    output: Any, data: Data, num_nodes: int, classes: Sequence[str] | None, is_writing: bool
) -> dict[str, Any] | None:
    """Of the input or of each node: the likeliest classes and their probabilities, or the number itself; None where the
    output is neither, such as features.

    Scores count as classes if these are named, if `data.y` holds such, or if the model writes tokens.
    """
    output = output[0] if isinstance(output, tuple) and output else output
    if not isinstance(output, Tensor) or not output.is_floating_point() or not output.numel():
        return None
    output = output.detach().cpu().double().view(len(output) if output.dim() else 1, -1)
    truth = truth_of(data, len(output))
    if len(output) not in (1, num_nodes):
        return None
    of_nodes = len(output) == num_nodes and not (num_nodes == 1 and truth is None)
    if output.size(1) == 1 and classes is None:
        names = None if truth is None else [f"{value:.4g}" for value in truth]
        return {"of_nodes": of_nodes, "values": [f"{value:.4g}" for value in output[:, 0].tolist()], "truth": names}
    are_classes = truth is not None and are_numbers_of(truth, output.size(1))
    if classes is None and not are_classes and not is_writing:
        return None
    if classes is not None and len(classes) != output.size(1):
        raise ValueError(f"'classes' must name the {output.size(1)} outputs of the model (got {len(classes)} names)")
    probabilities = as_probabilities(output)
    likeliest, number = probabilities.topk(min(MOST_CLASSES, output.size(1)), dim=1)
    name = [words_of(entry) for entry in (range(output.size(1)) if classes is None else classes)]
    rows = [[[name[place], round(share, 5)] for share, place in zip(*row)]
            for row in zip(likeliest.tolist(), number.tolist())]  # fmt: skip
    known = [name[int(value)] for value in truth] if truth is not None and are_classes else None
    return {"of_nodes": of_nodes, "likeliest": rows, "truth": known}


def are_numbers_of(truth: list[float], num_outputs: int) -> bool:
    """Whether labels can be numbers of the outputs; of many nodes the largest number must be the last output."""
    if not all(float(value).is_integer() and 0 <= value < num_outputs for value in truth):
        return False
    return len(truth) == 1 or max(truth) == num_outputs - 1


def truth_of(data: Data, count: int) -> list[float] | None:
    y = getattr(data, "y", None)
    return y.flatten().tolist() if isinstance(y, Tensor) and y.numel() == count else None


def as_probabilities(output: Tensor) -> Tensor:
    """The softmax of scores (or of logarithms of probabilities); what is probabilities already stays."""
    if (output >= 0).all() and torch.allclose(output.sum(1), torch.ones(len(output), dtype=output.dtype), atol=1e-4):
        return output
    return output.softmax(1)
