"""Padded batches [num_examples, length, ...] and the nodes of graphs, laid end to end: the way in and the way back."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from graphattn.graphs.complete import CompleteGraph
from graphattn.graphs.exported import is_exporting
from graphattn.graphs.graph import Graph
from graphattn.graphs.sizes import parse_integer

HIDDEN = -1e4  # what is added to scores to hide a key: this or less, in float16 too


def from_padded(
    x: Tensor, mask: Tensor | None = None, graph: Callable[[Sequence[int]], Graph] = CompleteGraph
) -> tuple[Tensor, Graph]:
    """A padded batch as nodes without padding, and the graph of who attends to whom inside each example.

    Args:
        x: [num_examples, length, ...], such as features [num_examples, length, channels] or tokens [num_examples, length].
        mask: [num_examples, length], True or 1 for nodes and False or 0 for padding, anywhere in the row: the
            `attention_mask` of tokenizers, and the mask of PyG's `to_dense_batch`. `key_padding_mask` of torch says the
            opposite: give `~key_padding_mask`. A floating point mask is one that is added to scores, as in torch: 0 for nodes, -inf
            (or less than -10,000) for padding; one that holds a 1 is read as 1 and 0. None: nothing is padding.
        graph: Makes the graph of the numbers of nodes of the examples: `CompleteGraph`, `causal`, or a function such as
            `lambda sizes: BandedGraph(sizes, 5, 5)`.

    Returns:
        The nodes [num_nodes, ...], example after example, differentiable in `x`, and the graph. `to_padded` leads back.

    Raises:
        ValueError, TypeError: if the mask does not fit, or `graph` gives one over other nodes.

    >>> x, graph = from_padded(torch.arange(8.0).view(2, 4, 1), torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]]))
    >>> x.flatten(), graph
    (tensor([0., 1., 2., 4., 5.]), CompleteGraph([3, 2]))
    """
    refuse_export()
    if not isinstance(x, Tensor) or x.dim() < 2:
        got = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"'x' must be a tensor [num_examples, length, ...] (got {got})")
    if not callable(graph):
        raise TypeError(
            f"'graph' must be a function that makes a graph of the sizes of the examples, such as causal (got {graph!r})"
        )
    is_node = check_mask(mask, x)
    counts = [x.size(1)] * x.size(0) if is_node is None else is_node.sum(1).tolist()
    made = graph(counts)
    if not isinstance(made, Graph):
        raise TypeError(f"'graph' must make a Graph of the sizes of the examples (got {type(made).__name__})")
    if [size[0] for size in made.sizes] != counts:
        raise ValueError(f"'graph' must make a graph over examples of {counts} nodes (got {made})")
    return x.flatten(0, 1) if is_node is None else x[is_node], made


def to_padded(
    x: Tensor, layout: Graph | Tensor, length: int | None = None, fill_value: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Nodes laid end to end as a padded batch, and the mask of its nodes.

    Args:
        x: [num_nodes, ...].
        layout: The mask that `from_padded` was given, whose places the nodes go back to; or a graph over the nodes, whose
            examples become rows that are padded behind.
        length: Of the rows; the longest example by default, and as long as a mask.
        fill_value: What padding holds.

    Returns:
        [num_examples, length, ...], differentiable in `x`, and the mask [num_examples, length], as PyG's `to_dense_batch`
        gives them.

    Raises:
        ValueError: if the numbers of nodes differ, or `length` is too short.

    >>> padded, mask = to_padded(torch.arange(5.0), CompleteGraph([3, 2]))
    >>> padded
    tensor([[0., 1., 2.],
            [3., 4., 0.]])
    """
    refuse_export()
    if not isinstance(x, Tensor) or x.dim() < 1:
        raise TypeError(f"'x' must be a tensor [num_nodes, ...] (got {type(x).__name__})")
    if isinstance(layout, Tensor):
        is_node = as_bools(layout).to(x.device)
        if length not in (None, is_node.size(1)):
            raise ValueError(f"'length' is that of the mask, {is_node.size(1)} (got {length})")
    elif isinstance(layout, Graph):
        is_node = mask_of_counts([size[0] for size in layout.sizes], length, x.device)
    else:
        raise TypeError(f"'layout' must be a Graph or a mask [num_examples, length] (got {type(layout).__name__})")
    num_nodes = int(is_node.sum())
    if x.size(0) != num_nodes:
        raise ValueError(f"'x' must hold the {num_nodes} nodes of 'layout' (got {list(x.shape)})")
    padded = x.new_full((*is_node.shape, *x.shape[1:]), fill_value)
    padded[is_node] = x
    return padded, is_node


def refuse_export() -> None:
    if is_exporting():
        raise ValueError(
            "torch.export cannot carry the graph of a padded batch, whose sizes are not known before the code runs; export what"
            " takes the nodes of one example and a mask [num_nodes, num_nodes], and call from_padded and to_padded outside of it"
        )


def check_mask(mask: Any, x: Tensor) -> Tensor | None:
    if mask is None:
        return None
    is_node = as_bools(mask)
    if is_node.shape != x.shape[:2]:
        raise ValueError(f"'mask' must be [num_examples, length] = {list(x.shape[:2])} (got {list(is_node.shape)})")
    return is_node.to(x.device)


def as_bools(mask: Any) -> Tensor:
    """A mask [num_examples, length] of bools, of 0 and 1, or of 0 and -inf."""
    if not isinstance(mask, Tensor) or mask.dim() != 2:
        got = list(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(
            f"'mask' must be a tensor [num_examples, length] (got {got}); of numbers of nodes [num_examples] make"
            " torch.arange(length) < counts[:, None]"
        )
    if mask.dtype == torch.bool:
        return mask
    is_zero, is_one = mask == 0, mask == 1
    if mask.is_floating_point() and bool((is_zero | (mask <= HIDDEN)).all()):
        return is_zero
    if not bool((is_one | is_zero).all()):
        raise ValueError(
            "'mask' must hold True or 1 for nodes and False or 0 for padding; or, in floating point, 0 for nodes and -inf for"
            f" padding (got {mask.dtype} with other numbers); give a bool mask, such as mask > 0"
        )
    return is_one


def mask_of_counts(counts: list[int], length: int | None, device: torch.device) -> Tensor:
    longest = max(counts, default=0)
    length = longest if length is None else parse_integer("length", length)
    if length < longest:
        raise ValueError(f"'length' must be at least {longest}, the longest example (got {length})")
    return torch.arange(length, device=device) < torch.tensor(counts, device=device)[:, None]
