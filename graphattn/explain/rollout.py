"""attention_rollout: how much of each input is in each output, after all layers."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from graphattn.graphs import Graph
from graphattn.graphs.per_head import PerHead
from graphattn.graphs.sizes import parse_integer
from graphattn.inputs.arrays import to_tensor

EdgesAndWeights = tuple[Tensor | Graph | PerHead | list[Tensor], Tensor | list[Tensor]]  # of a layer

REDUCTIONS = ("mean", "max", "min")
CROSS = "memory_attention"  # what decoders call the layer that looks at the memory
TOLERANCE = 2e-2  # of the sum of a row: weights in bfloat16 have 8 bits


def attention_rollout(
    layers: Iterable[EdgesAndWeights] | Mapping[str, EdgesAndWeights],
    num_nodes: int,
    *,
    residual: float = 0.5,
    reduce: str = "mean",
    nodes: Tensor | None = None,
) -> Tensor:
    r"""The product of the attention matrices of all layers, each mixed with the identity (Abnar and Zuidema 2020, sec. 3).

    .. math::
        R = \tilde A_L \cdots \tilde A_1, \quad \tilde A = r I + (1 - r) A

    with A[i, j] the weight of the edge j -> i over all heads, each row scaled to the sum 1. The identity stands for the
    skip connection around a layer. Nothing is dense: a row of R has the nodes that are within L steps.

    What it does not cover: values, output maps, feed-forward layers, normalisation and the signs of all of these. It says how
    attention flows, and is no explanation of what a model says. Layers whose weights are no shares (relu, sigmoid, a sink,
    scale_by_degree) are rescaled to rows of sum 1, and a warning says so. Cross attention joins two sets of nodes and has no
    place in such a product: give the layers of one stack.

    Args:
        layers: (edge_index [2, num_edges] or a Graph, weights [num_edges] or [num_edges, heads]) of each layer, first layer
            first, as `return_attention_weights` gives them; or what `attention_of(model, ...)` gives. No weight may be
            negative. Of a layer over a PerHead both are lists by head, and `reduce` must be 'mean'.
        num_nodes: Number of nodes.
        residual: r, in 0 .. 1.
        reduce: What the heads of a layer come to: 'mean', 'max' or 'min'.
        nodes: int64 [num_chosen], rows of R to compute; all of them by default.

    Returns:
        Sparse COO [num_chosen or num_nodes, num_nodes], coalesced: rows = outputs, columns = inputs. Rows sum to 1; a node
        without edges in any layer has itself alone.

    Raises:
        ValueError: where shapes or options do not fit, and where `attention_of` found cross attention.

    Warns:
        UserWarning: where weights of a row do not sum to 1.

    Example:
        >>> import torch
        >>> edge_index = torch.tensor([[0, 1], [1, 2]])  # a path 0 -> 1 -> 2
        >>> attention_rollout([(edge_index, torch.ones(2, 1))] * 2, num_nodes=3).to_dense()
        tensor([[1.0000, 0.0000, 0.0000],
                [0.7500, 0.2500, 0.0000],
                [0.2500, 0.5000, 0.2500]])
    """
    num_nodes = parse_integer("num_nodes", num_nodes)
    result = None
    for edge_index, weights in reversed(read_layers(layers, num_nodes, residual, reduce)):
        step = mixed_with_identity(edge_index, of_all_heads(weights.detach(), reduce), num_nodes, residual)
        if result is None:
            result = step if nodes is None else step.index_select(0, nodes.to(step.device)).coalesce()
        else:
            result = torch.sparse.mm(result, step).coalesce()
    if result is None:
        raise ValueError("'layers' needs the attention of at least one layer (got none)")
    return result


def read_layers(
    layers: Iterable[EdgesAndWeights] | Mapping[str, EdgesAndWeights], num_nodes: int, residual: float, reduce: str
) -> list[tuple[Tensor, Tensor]]:
    """edge_index and weights of each layer, first layer first, looked through like the options."""
    if isinstance(residual, bool) or not isinstance(residual, (int, float)) or not 0 <= residual <= 1:
        raise ValueError(f"'residual' must be a number in 0 .. 1 (got {residual!r})")
    if reduce not in REDUCTIONS:
        raise ValueError(f"'reduce' must be one of {list(REDUCTIONS)} (got {reduce!r})")
    if isinstance(layers, Mapping):
        refuse_cross_attention(layers)
    given = layers.values() if isinstance(layers, Mapping) else layers
    pairs = [read_layer(*pair_of(layer), reduce) for layer in given]
    for number, (edge_index, weights) in enumerate(pairs, start=1):
        check_layer(edge_index, weights, num_nodes)
        warn_of_rescaling(number, edge_index, weights, num_nodes)
    return pairs


def pair_of(layer: Any) -> tuple[Any, Any]:
    if not isinstance(layer, (tuple, list)) or len(layer) != 2:
        raise ValueError(f"a layer is a pair (edge_index, weights) (got {type(layer).__name__})")
    return layer[0], layer[1]


def refuse_cross_attention(layers: Mapping[str, EdgesAndWeights]) -> None:
    cross = [name for name in layers if name.rpartition(".")[2] == CROSS]
    if cross:
        raise ValueError(
            f"a rollout goes through layers over one set of nodes (got {cross[0]!r}, which joins two); give those of one stack,"
            " such as {name: layer for name, layer in found.items() if name.startswith('encoder.')}"
        )


def warn_of_rescaling(number: int, edge_index: Tensor, weights: Tensor, num_nodes: int) -> None:
    """Says so where a row of a head has another sum than 1: what follows is then no longer what the layer did."""
    total = weights.new_zeros(num_nodes, *weights.shape[1:], dtype=torch.promote_types(weights.dtype, torch.float32))
    total.index_add_(0, edge_index[1], weights.detach().to(total.dtype))
    has_edges = torch.zeros(num_nodes, dtype=torch.bool, device=total.device).index_fill_(0, edge_index[1], True)
    off = (total[has_edges] - 1).abs()
    if off.numel() and float(off.max()) > TOLERANCE:
        rows = int((off.view(len(off), -1).amax(1) > TOLERANCE).sum())
        warnings.warn(
            f"attention_rollout scales the weights of layer {number} to rows of sum 1: {rows} of {len(off)} rows have another"
            f" (off by up to {float(off.max()):.3g}), as relu, sigmoid, a sink or dropout give; its shares are not the layer's",
            stacklevel=4,
        )


def read_layer(edges: Any, weights: Any, reduce: str) -> tuple[Tensor, Tensor]:
    """edge_index and weights as tensors, the lists of a PerHead end to end."""
    if isinstance(edges, (list, PerHead)) and isinstance(weights, list):
        parts = edges.graphs if isinstance(edges, PerHead) else edges
        if reduce != "mean" or len(parts) != len(weights):
            raise ValueError(f"layers whose heads have graphs of their own need reduce='mean' and weights for each of them (got"
                             f" reduce={reduce!r}, {len(parts)} graphs and {len(weights)} weights)")  # fmt: skip
        pairs = [read_layer(*pair, reduce) for pair in zip(parts, weights)]
        for pair in pairs:
            check_layer(*pair, num_nodes=None)
        return torch.cat([pair[0] for pair in pairs], 1), torch.cat(
            [of_all_heads(pair[1].detach(), reduce) / len(pairs) for pair in pairs]
        )
    weights = to_tensor("weights", weights)
    return edges.edge_index(weights.device) if isinstance(edges, Graph) else to_tensor("edge_index", edges), weights


def of_all_heads(weights: Tensor, reduce: str) -> Tensor:
    """One weight for each edge, [num_edges], by `reduce` over the heads; in float32 at least."""
    weights = weights.to(torch.promote_types(weights.dtype, torch.float32))
    if weights.dim() == 1:
        return weights
    return weights.mean(1) if reduce == "mean" else getattr(weights, f"a{reduce}")(1)


def mixed_with_identity(edge_index: Tensor, weights: Tensor, num_nodes: int, residual: float) -> Tensor:
    """residual * I + (1 - residual) * A with rows of sum 1, as a sparse matrix [targets, sources]; empty rows are I's."""
    source, target = edge_index
    total = weights.new_zeros(num_nodes).index_add_(0, target, weights)
    kept = torch.where(total > 0, residual, 1.0).to(weights)
    scaled = (1 - residual) * weights / total.masked_fill(total == 0, 1.0)[target]
    loops = torch.arange(num_nodes, device=source.device)
    places = torch.stack([torch.cat([target, loops]), torch.cat([source, loops])])
    return torch.sparse_coo_tensor(places, torch.cat([scaled, kept]), (num_nodes, num_nodes)).coalesce()


def check_layer(edge_index: Tensor, weights: Tensor, num_nodes: int | None) -> None:
    if edge_index.dim() != 2 or edge_index.size(0) != 2 or weights.dim() not in (1, 2):
        raise ValueError(
            "a layer is (edge_index [2, num_edges], weights [num_edges] or [num_edges, heads])"
            f" (got {list(edge_index.shape)} and {list(weights.shape)})"
        )
    if edge_index.size(1) != weights.size(0):
        raise ValueError(f"each edge needs its weights (got {edge_index.size(1)} edges and {weights.size(0)} weights)")
    if (
        num_nodes is not None
        and edge_index.numel()
        and not 0 <= int(edge_index.min()) <= int(edge_index.max()) < num_nodes
    ):
        raise ValueError(
            f"edges must join nodes 0 .. {num_nodes - 1} (got {int(edge_index.min())} .. {int(edge_index.max())})"
        )
    if not weights.isfinite().all():
        raise ValueError(
            f"weights must be finite (got {int((~weights.isfinite()).sum())} of {weights.numel()} that are not)"
        )
    if weights.numel() and weights.min() < 0:
        raise ValueError(f"weights must not be negative (got {weights.min().item():.3g}); a share has no sign")
