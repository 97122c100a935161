"""The attention of a layer as numbers for the page."""

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphattn.explain.rollout import attention_rollout
from graphattn.viz.explorer.masks import Rows, rows_of, write_integers, write_mask

STEPS = 2**16 - 1  # a weight is written as one of so many steps from the smallest to the largest
LARGEST_ROLLOUT = 2 * 10**8  # products: of more the rollout is left out

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (queries, keys) -> how far apart they are


def write_layer(rows: Rows, num_keys: int, most: int, distance: Distance | None = None) -> dict[str, Any]:
    """Mask, weights of every head, and how spread and how far its attention is; at most `most` weights in all.

    Of more, the largest of each row and head are kept, and `left` is the largest share of a row that is not.
    """
    if not np.isfinite(rows.weights).all():
        broken = int((~np.isfinite(rows.weights)).sum())
        raise ValueError(f"attention weights must be finite (got {broken} of {rows.weights.size} that are not)")
    num_queries, heads = len(rows.counts), rows.weights.shape[1]
    low = min(0.0, float(rows.weights.min(initial=0)))
    high = max(0.0, float(rows.weights.max(initial=0)))
    layer = {"heads": heads, "mask": write_mask(rows, num_keys), "low": low, "high": high if high > low else low + 1.0}
    layer["spread"] = spread_of(rows)
    if distance is not None:
        layer["distance"] = distance_of(rows, distance)
    if rows.weights.size <= most:
        return layer | {"weights": write_weights(rows.weights.T, layer["low"], layer["high"])}
    kept = max(1, most // max(1, num_queries * heads))
    keys, weights, left = largest_of_rows(rows, kept, num_keys)
    written = write_weights(weights, layer["low"], layer["high"])
    return layer | {"kept": kept, "left": left, "kept_keys": write_integers(keys, num_keys + 1), "weights": written}


def write_weights(weights: np.ndarray, low: float, high: float) -> str:
    steps = np.rint((weights - low) / (high - low) * STEPS).clip(0, STEPS)
    return base64.b64encode(np.ascontiguousarray(steps, "<u2").tobytes()).decode()


def spread_of(rows: Rows) -> list[float]:
    """Of each head, 2 ** entropy in bits, the mean over queries with edges: over how many keys a query spreads its attention."""
    size = np.abs(rows.weights)
    total = sum_rows(size, rows)
    share = size / np.where(total == 0, 1, total)[rows.queries]
    entropy = -sum_rows(share * np.log2(np.where(share > 0, share, 1)), rows)
    return mean_of(2**entropy, total > 0)


def distance_of(rows: Rows, distance: Distance) -> list[float]:
    """Of each head, how far away what is attended to lies, weighted by attention, the mean over queries with edges."""
    size = np.abs(rows.weights)
    total = sum_rows(size, rows)
    far = sum_rows(size * distance(rows.queries, rows.keys)[:, None], rows)
    return mean_of(far / np.where(total == 0, 1, total), total > 0)


def sum_rows(values: np.ndarray, rows: Rows) -> np.ndarray:
    """[num_edges, heads] -> [num_queries, heads]."""
    total = torch.zeros(len(rows.counts), values.shape[1], dtype=torch.float64)
    return total.index_add_(0, torch.from_numpy(rows.queries), torch.from_numpy(values)).numpy()


def mean_of(values: np.ndarray, counts: np.ndarray) -> list[float]:
    """The mean over the rows that count, of each head; 0 if none does."""
    return (np.where(counts, values, 0).sum(0) / np.maximum(1, counts.sum(0))).tolist()


def largest_of_rows(rows: Rows, kept: int, num_keys: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Keys and weights [heads, num_queries, kept] of the largest of each row, `num_keys` and 0 where there are fewer; and
    the largest share of a row that is left out."""
    num_queries, heads = len(rows.counts), rows.weights.shape[1]
    keys = np.full((heads, num_queries, kept), num_keys)
    weights = np.zeros((heads, num_queries, kept))
    starts = np.concatenate([[0], np.cumsum(rows.counts)])
    left = 0.0
    for query in range(num_queries):
        part = slice(starts[query], starts[query + 1])
        of_row = np.abs(rows.weights[part])
        most = min(kept, len(of_row))
        best = torch.from_numpy(of_row).topk(most, dim=0).indices.numpy()  # [most, heads]
        keys[:, query, :most] = rows.keys[part][best].T
        weights[:, query, :most] = np.take_along_axis(rows.weights[part], best, 0).T
        total = of_row.sum(0)
        share = 1 - np.take_along_axis(of_row, best, 0).sum(0) / np.where(total == 0, 1, total)
        left = max(left, float(np.where(total == 0, 0, share).max(initial=0)))
    return keys, weights, left


def rollout_of(layers: list[tuple[Tensor, Tensor]], num_nodes: int) -> Rows | None:
    """The rollout of layers on one set of nodes; None where it is undefined (weights below zero) or takes too long."""
    if any(weights.numel() and weights.min() < 0 for _, weights in layers):
        return None
    edges = max(edge_index.size(1) for edge_index, _ in layers)
    reach = min(num_nodes, (edges // max(1, num_nodes) + 1) * len(layers))
    if edges * reach > LARGEST_ROLLOUT:
        return None
    rollout = attention_rollout(layers, num_nodes)
    edge_index = rollout.indices().flip(0)
    return rows_of(edge_index, rollout.values().unsqueeze(1), num_nodes, num_nodes)


def among(edge_index: Tensor, weights: Tensor, keys: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
    """The edges among chosen nodes. `keys` and `queries` are the places of all nodes among the chosen, -1 for the others."""
    source, target = keys[edge_index[0].cpu()], queries[edge_index[1].cpu()]
    both = (source >= 0) & (target >= 0)
    return torch.stack([source[both], target[both]]), weights.cpu()[both]
