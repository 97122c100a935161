"""The edges of a graph that is known by its definition alone: all pairs of query and key are asked, some millions at a time."""

from collections.abc import Callable

import torch
from torch import Tensor

from graphattn.graphs.csr import row_pointer

CHUNK = 2**21  # pairs asked at a time: some tens of MB


def keys_by_query(
    allows: Callable[[Tensor, Tensor], Tensor], first_key: Tensor, num_keys: Tensor
) -> tuple[Tensor, Tensor]:
    """Degree of each query, and the keys query by query, ascending.

    Args:
        allows: (query, key), int64 tensors of one shape -> bool.
        first_key, num_keys: int64 [num_queries], the keys that a query may have at all.

    >>> degrees, keys = keys_by_query(lambda query, key: key < query, torch.zeros(3).long(), torch.full((3,), 3))
    >>> degrees.tolist(), keys.tolist()
    ([0, 1, 2], [0, 0, 1])
    """
    start = row_pointer(num_keys)
    degrees, keys, first = torch.zeros_like(num_keys), [num_keys[:0]], 0
    while first < len(num_keys):
        last = int(torch.searchsorted(start, start[first] + CHUNK, right=True)) - 1
        last = min(max(last, first + 1), len(num_keys))
        query = torch.repeat_interleave(torch.arange(first, last, device=start.device), num_keys[first:last])
        key = torch.arange(len(query), device=start.device) + start[first] - start[query] + first_key[query]
        allowed = allows(query, key)
        degrees.index_add_(0, query[allowed], degrees.new_ones(()).expand(int(allowed.sum())))
        keys.append(key[allowed])
        first = last
    return degrees, torch.cat(keys)
