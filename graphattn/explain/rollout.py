"""attention_rollout: how much of each input is in each output, after all layers."""

from collections.abc import Iterable

import torch
from torch import Tensor

REDUCTIONS = ("mean", "max", "min")


def attention_rollout(
    layers: Iterable[tuple[Tensor, Tensor]],
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

    Args:
        layers: (edge_index [2, num_edges], weights [num_edges] or [num_edges, heads]) of each layer, first layer first, as
            `return_attention_weights` gives them; or the values of `attention_of(model, ...)`. No weight may be negative.
        num_nodes: Number of nodes.
        residual: r, in 0 .. 1.
        reduce: What the heads of a layer come to: 'mean', 'max' or 'min'.
        nodes: int64 [num_chosen], rows of R to compute; all of them by default.

    Returns:
        Sparse COO [num_chosen or num_nodes, num_nodes], coalesced: rows = outputs, columns = inputs. Rows sum to 1; a node
        without edges in any layer has itself alone.

    Raises:
        ValueError: where shapes or options do not fit.

    Example:
        >>> import torch
        >>> edge_index = torch.tensor([[0, 1], [1, 2]])  # a path 0 -> 1 -> 2
        >>> attention_rollout([(edge_index, torch.ones(2, 1))] * 2, num_nodes=3).to_dense()
        tensor([[1.0000, 0.0000, 0.0000],
                [0.7500, 0.2500, 0.0000],
                [0.2500, 0.5000, 0.2500]])
    """
    if isinstance(residual, bool) or not isinstance(residual, (int, float)) or not 0 <= residual <= 1:
        raise ValueError(f"'residual' must be a number in 0 .. 1 (got {residual!r})")
    if reduce not in REDUCTIONS:
        raise ValueError(f"'reduce' must be one of {list(REDUCTIONS)} (got {reduce!r})")
    layers = list(layers)
    if not layers:
        raise ValueError("'layers' needs the attention of at least one layer (got none)")
    result = None
    for edge_index, weights in reversed(layers):
        check_layer(edge_index, weights, num_nodes)
        step = mixed_with_identity(edge_index, of_all_heads(weights.detach(), reduce), num_nodes, residual)
        if result is None:
            result = step if nodes is None else step.index_select(0, nodes.to(step.device)).coalesce()
        else:
            result = torch.sparse.mm(result, step).coalesce()
    return result


def of_all_heads(weights: Tensor, reduce: str) -> Tensor:
    """[num_edges], in float32 at least."""
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


def check_layer(edge_index: Tensor, weights: Tensor, num_nodes: int) -> None:
    if edge_index.dim() != 2 or edge_index.size(0) != 2 or weights.dim() not in (1, 2):
        raise ValueError(
            "a layer is (edge_index [2, num_edges], weights [num_edges] or [num_edges, heads])"
            f" (got {list(edge_index.shape)} and {list(weights.shape)})"
        )
    if edge_index.size(1) != weights.size(0):
        raise ValueError(f"each edge needs its weights (got {edge_index.size(1)} edges and {weights.size(0)} weights)")
    if edge_index.numel() and not 0 <= int(edge_index.min()) <= int(edge_index.max()) < num_nodes:
        raise ValueError(
            f"edges must join nodes 0 .. {num_nodes - 1} (got {int(edge_index.min())} .. {int(edge_index.max())})"
        )
    if weights.numel() and weights.min() < 0:
        raise ValueError(f"weights must not be negative (got {weights.min().item():.3g}); a share has no sign")
