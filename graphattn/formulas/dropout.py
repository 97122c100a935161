"""Dropout without a stored mask: whether an edge is kept is a function of (seed, query, key, repeat, head).

Every kernel, forward or backward, on any device and in any order of edges, therefore sees the same mask.
"""

import torch
from torch import Tensor

WORD = 0xFFFFFFFF
QUERY, KEY, REPEAT, HEAD = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F  # odd 32-bit constants of xxHash32


def scramble(word: Tensor) -> Tensor:
    """A bijection of 32-bit words (held in int64) whose output bits look independent.

    The multipliers are those of C. Wellons' `lowbias32` (hash-prospector, 2018).
    """
    word = ((word ^ (word >> 16)) * 0x7FEB352D) & WORD
    word = ((word ^ (word >> 15)) * 0x846CA68B) & WORD
    return word ^ (word >> 16)


def keep_factors(
    seed: Tensor,
    query: Tensor,
    key: Tensor,
    repeat: Tensor,
    heads: int,
    dropout: float,
    dtype: torch.dtype,
    first_head: int = 0,
) -> Tensor:
    """1 / (1 - dropout) where an edge is kept and 0 where it is dropped: [*edges, heads].

    Args:
        seed: int64 scalar below 2^32.
        query, key, repeat: int64 [*edges], the nodes an edge joins and its number among equal edges.
        first_head: Number of the first of so many heads.
    """
    edge = scramble(seed ^ ((query * QUERY) & WORD))
    edge = scramble(edge ^ ((key * KEY) & WORD))
    edge = scramble(edge ^ ((repeat * REPEAT) & WORD))
    head = (torch.arange(first_head, first_head + heads, device=edge.device) * HEAD) & WORD
    kept = scramble(edge[..., None] ^ head) >= round(dropout * 2**32)
    return kept.to(dtype) * (1 / (1 - dropout) if dropout < 1 else 0.0)
