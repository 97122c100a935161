"""The additive score of GAT and GATv2 with any slope."""

import torch
from torch import Tensor

from graphattn.kernels.scores import Additive

KERNEL_SLOPE = 0.2  # below 0, of 'leaky_relu' in graphattn.kernels.scores


def leaky_relu_score(
    query: Tensor, key: Tensor, vector: Tensor, edge_weight: Tensor | None, negative_slope: float
) -> tuple[Tensor, Tensor, Additive]:
    """Query, key and score for vector . LeakyReLU(query + key + edge_weight @ edge_features).

    Kernels know one slope s = 0.2, and another one t is a mixture of two of their channels: with a = (1 - t) / (1 - s),
    LeakyReLU_t(x) = a LeakyReLU_s(x) + (1 - a) x, and (1 + s) x = LeakyReLU_s(x) - LeakyReLU_s(-x).

    Args:
        query: [num_queries, heads, dim].
        key: [num_keys, heads, dim].
        vector: [heads, dim].
        edge_weight: [heads, dim, edge_dim], or None.
        negative_slope: t.
    """
    if negative_slope == KERNEL_SLOPE:
        return query, key, Additive(vector, edge_weight, "leaky_relu")
    share = (1 - negative_slope) / (1 - KERNEL_SLOPE)
    linear = (1 - share) / (1 + KERNEL_SLOPE)
    vector = torch.cat([(share + linear) * vector, -linear * vector], -1)
    edge_weight = None if edge_weight is None else torch.cat([edge_weight, -edge_weight], 1)
    query, key = (torch.cat([x, -x], -1) for x in (query, key))
    return query, key, Additive(vector, edge_weight, "leaky_relu")
