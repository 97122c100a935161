"""What all processes must give alike in a call: all but numbers of rows and the numbers in tensors."""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from numbers import Number
from typing import Any

import torch
from torch import Tensor

from graphattn.formulas.normalizers import as_normalizer
from graphattn.formulas.scores import as_score
from graphattn.running.arguments import Options


def facts_of_tensors(tensors: Sequence[Tensor]) -> dict[str, Any]:
    found = {
        f"tensor {number}": (list(x.shape[-2:]), x.dim(), x.dtype, x.device.type) for number, x in enumerate(tensors)
    }
    return found | {"requires_grad": [has_gradient(x) for x in tensors]}


def facts_of_call(tensors: tuple[Tensor, Tensor, Tensor], options: Options) -> dict[str, Any]:
    """Of query, key and value, and the options of `attend`."""
    names = dict(zip(("query", "key", "value"), facts_of_tensors(tensors).values()))
    return names | {
        "batch": tensors[0].shape[:-3],
        "requires_grad": [has_gradient(x) for x in tensors],
        "scale": options.scale,
        "dropout": options.dropout,
        "score": described_option(as_score(options.score)),
        "normalizer": described_option(as_normalizer(options.normalizer)),
        "kernel": options.kernel,
        "bias": described_rows(options.bias),
        "edge_features": described_rows(options.edge_features),
        "edge_query": described_rows(options.edge_query),
        "edge_sum": options.edge_sum,
    }


def has_gradient(x: Tensor) -> bool:
    return torch.is_grad_enabled() and x.requires_grad


def described_rows(x: Any) -> Any:
    """Of a tensor with a row for each edge or query all but their number; of a rule what `described_option` says."""
    return (list(x.shape[1:]), x.dtype, has_gradient(x)) if isinstance(x, Tensor) else described_option(x)


def described_option(x: Any) -> Any:
    """A score, a normalizer or a rule: its class and its fields, shapes of tensors, and which of them want a gradient.

    >>> from graphattn.formulas.normalizers import TopK
    >>> described_option(TopK(3))
    ('TopK', {'k': 3})
    """
    if x is None or isinstance(x, (Number, str)):
        return x
    if isinstance(x, Tensor):
        return list(x.shape), x.dtype, has_gradient(x)
    if isinstance(x, (tuple, list)):
        return [described_option(each) for each in x]
    name = type(x).__name__
    if isinstance(x, torch.nn.Module):
        return name, {key: described_option(each) for key, each in (*x.named_parameters(), *x.named_buffers())}
    if is_dataclass(x):
        given = {field.name: described_option(getattr(x, field.name)) for field in fields(x)}
        return name, {key: value for key, value in given.items() if value is not None}
    return name
