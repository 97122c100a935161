"""Edges by query, and the shortest way to write them: a band is three integers, whatever its length."""

import base64
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class Rows(NamedTuple):
    """The edges of a layer in the order of their queries, each pair once.

    Args:
        counts: [num_queries], edges of each query.
        keys: [num_edges], ascending in each row.
        weights: [num_edges, heads], float64.
    """

    counts: np.ndarray
    keys: np.ndarray
    weights: np.ndarray

    @property
    def queries(self) -> np.ndarray:
        """[num_edges]."""
        return np.repeat(np.arange(len(self.counts)), self.counts)


def rows_of(edge_index: Tensor, weights: Tensor, num_queries: int, num_keys: int) -> Rows:
    """Edges in any order as rows; the weights of a pair that is there several times add up."""
    keys, queries = edge_index.cpu().long()
    pairs, summed = queries * max(1, num_keys) + keys, weights.cpu().double()
    if not (pairs.diff() > 0).all():
        pairs, place = torch.unique(pairs, return_inverse=True)
        summed = torch.zeros(len(pairs), weights.size(1), dtype=torch.float64).index_add_(0, place, summed)
    counts = torch.bincount(pairs // max(1, num_keys), minlength=num_queries)
    return Rows(counts.numpy(), (pairs % max(1, num_keys)).numpy(), summed.numpy())


def write_mask(rows: Rows, num_keys: int) -> dict[str, Any]:
    """The edges for the page: {low, high, step} if each query q sees the keys q + low, q + low + step, ... q + high that
    there are, else the count of each query and the keys themselves."""
    band = band_of(rows, num_keys)
    if band is not None:
        return dict(zip(("low", "high", "step"), band))
    return {"counts": write_integers(rows.counts, num_keys + 1), "keys": write_integers(rows.keys, num_keys)}


def band_of(rows: Rows, num_keys: int) -> tuple[int, int, int] | None:
    """
    >>> from graphattn import BandedGraph, CompleteGraph
    >>> def band(graph):
    ...     edges = graph.edge_index()
    ...     return band_of(rows_of(edges, torch.ones(edges.size(1), 1), *graph.shape), graph.num_keys)
    >>> band(BandedGraph(9, before=2, after=1, dilation=3)), band(CompleteGraph(2, 4))
    ((-6, 3, 3), (-1, 3, 1))
    """
    if not len(rows.keys):
        return None
    query = np.arange(len(rows.counts))
    offsets = rows.keys - rows.queries
    low, high = int(offsets.min()), int(offsets.max())
    step = math.gcd(*np.unique(offsets - low).tolist()) or 1
    first = query + low + step * np.maximum(0, -((query + low) // step))
    last = query + high - step * np.maximum(0, -((num_keys - 1 - query - high) // step))
    counts = np.maximum(0, (last - first) // step + 1)
    return (low, high, step) if (counts == rows.counts).all() else None


def write_integers(values: np.ndarray, limit: int) -> dict[str, Any]:
    """Integers below `limit` in base64, little end first, of as few bytes as they fit in."""
    size = 2 if limit <= 2**16 else 4
    return {"bytes": size, "text": base64.b64encode(np.ascontiguousarray(values, f"<u{size}").tobytes()).decode()}
