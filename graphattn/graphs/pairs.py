"""The edges of a graph that is known by its definition alone: all pairs of query and key are asked, some millions at a time."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from graphattn.graphs.csr import row_pointer

CHUNK = 2**21  # pairs asked at a time: some tens of MB


def check_answer(asked: str, answer: Any, shape: Sequence[int]) -> Tensor:
    """`answer`, TypeError unless it has one bool for each pair: what a rule and `allows` of a graph owe."""
    if not isinstance(answer, Tensor) or answer.dtype != torch.bool or answer.shape != torch.Size(shape):
        got = f"{answer.dtype} {list(answer.shape)}" if isinstance(answer, Tensor) else type(answer).__name__
        raise TypeError(
            f"{asked} must give a bool for each pair of query and key, {list(shape)} here (got {got}); compare and combine"
            " tensors by ==, <, &, | and ~"
        )
    return answer


def check_rows(kind: str, degrees: Tensor, keys: Tensor, num_queries: int, num_keys: int) -> None:
    """Raises ValueError unless these can be the edges of a graph: loops find their way by them."""
    for name, x in (("degrees", degrees), ("keys", keys)):
        if not isinstance(x, Tensor) or x.dtype != torch.int64 or x.dim() != 1:
            got = f"{x.dtype} {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"'keys_by_query' of {kind} must give {name} as int64 in one row (got {got})")
    if len(degrees) != num_queries or (degrees < 0).any() or int(degrees.sum()) != len(keys):
        raise ValueError(
            f"'keys_by_query' of {kind} must give a degree for each of {num_queries} queries, in all as many as keys (got"
            f" {len(degrees)} degrees, with a sum of {int(degrees.sum())}, and {len(keys)} keys)"
        )
    if len(keys) and not 0 <= int(keys.min()) <= int(keys.max()) < num_keys:
        raise ValueError(
            f"'keys_by_query' of {kind} must give keys 0 to {num_keys - 1} (got {int(keys.min())} to {int(keys.max())})"
        )
    query = torch.repeat_interleave(torch.arange(num_queries, device=keys.device), degrees)
    falls = (query[1:] == query[:-1]) & (keys[1:] <= keys[:-1])
    if falls.any():
        place = int(falls.nonzero()[0])
        raise ValueError(
            f"'keys_by_query' of {kind} must give the keys of each query in ascending order, each once (got"
            f" {int(keys[place])}, {int(keys[place + 1])} for query {int(query[place])})"
        )


def keys_by_query(
    allows: Callable[[Tensor, Tensor], Tensor], first_key: Tensor, num_keys: Tensor, asked: str = "'allows'"
) -> tuple[Tensor, Tensor]:
    """Degree of each query, and the keys query by query, ascending.

    Args:
        allows: (query, key), int64 tensors of one shape -> bool.
        first_key, num_keys: int64 [num_queries], the keys that a query may have at all.
        asked: what an error calls `allows`.

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
        allowed = check_answer(asked, allows(query, key), query.shape)
        degrees.index_add_(0, query[allowed], degrees.new_ones(()).expand(int(allowed.sum())))
        keys.append(key[allowed])
        first = last
    return degrees, torch.cat(keys)
