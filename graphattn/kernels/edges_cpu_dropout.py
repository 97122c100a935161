"""Dropout in compiled code: the same mask as kernels.dropout, which says how it is drawn."""

import numpy as np

from graphattn.kernels.dropout import HEAD, KEY, QUERY, REPEAT
from graphattn.kernels.vectors import inner

WORD = np.uint64(0xFFFFFFFF)
QUERY, KEY, REPEAT, HEAD = (np.uint64(x) for x in (QUERY, KEY, REPEAT, HEAD))


@inner
def scramble(word):
    """The same bijection of 32-bit words as `dropout.scramble`."""
    word = ((word ^ (word >> np.uint64(16))) * np.uint64(0x7FEB352D)) & WORD
    word = ((word ^ (word >> np.uint64(15))) * np.uint64(0x846CA68B)) & WORD
    return word ^ (word >> np.uint64(16))


@inner
def edge_word(seed, query, key, repeat):
    word = scramble(np.uint64(seed) ^ ((np.uint64(query) * QUERY) & WORD))
    word = scramble(word ^ ((np.uint64(key) * KEY) & WORD))
    return scramble(word ^ ((np.uint64(repeat) * REPEAT) & WORD))


@inner
def is_kept(edge, head, threshold):
    return scramble(edge ^ ((np.uint64(head) * HEAD) & WORD)) >= np.uint64(threshold)


@inner
def keep_factors(factors, start, count, query, col, repeat, heads, seed, threshold, keep_scale):
    """factors [heads * 8] of the edges start ... start + count - 1: keep_scale where an edge is kept, 0 where not."""
    for e in range(count):
        edge = edge_word(seed, query, col[start + e], repeat[start + e] if repeat.size else 0)
        for h in range(heads):
            factors[h * 8 + e] = keep_scale if is_kept(edge, h, threshold) else 0
