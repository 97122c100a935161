"""Counts of nodes: an int, or one int per example of a ragged batch."""

import operator
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, SupportsIndex

import numpy as np
import torch

# What constructors of graphs take: an int, or one int per example of a ragged batch.
Counts = SupportsIndex | Sequence[SupportsIndex] | torch.Tensor | np.ndarray
Sizes = tuple[tuple[int, int], ...]  # (num_queries, num_keys) of each example


def parse_integer(name: str, value: Any, minimum: int | None = 0) -> int:
    """`value` as a Python int of at least `minimum`.

    >>> parse_integer("dilation", 0, minimum=1)
    Traceback (most recent call last):
    ValueError: 'dilation' must be at least 1 (got 0)
    """
    try:
        if isinstance(value, (bool, np.bool_)) or (isinstance(value, torch.Tensor) and value.dtype == torch.bool):
            raise TypeError
        integer = operator.index(value)
    except TypeError:
        raise TypeError(f"{name!r} must be an integer (got {value!r})") from None
    if minimum is not None and integer < minimum:
        raise ValueError(f"{name!r} must be at least {minimum} (got {integer})")
    return integer


def is_sequence(value: object) -> bool:
    """True for lists, tuples, ranges and arrays or tensors with one axis."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return value.ndim == 1
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def parse_counts(name: str, value: Any, minimum: int | None = 0) -> tuple[int, ...]:
    """One int per example: `(value,)` for an int.

    >>> parse_counts("num_queries", 5), parse_counts("num_queries", [3, 0])
    ((5,), (3, 0))
    """
    if type(value) is int and minimum is not None and value >= minimum:  # mostly
        return (value,)
    if not is_sequence(value):
        return (parse_integer(name, value, minimum),)
    values = value.tolist() if isinstance(value, (torch.Tensor, np.ndarray)) else value
    if len(values) == 0:
        raise ValueError(f"{name!r} is empty: a batch has at least one example (got {value!r})")
    return tuple(parse_integer(name, entry, minimum) for entry in values)


def parse_sizes(num_queries: Counts, num_keys: Counts | None = None) -> Sizes:
    """(num_queries, num_keys) of each example; as many keys as queries where `num_keys` is None.

    >>> parse_sizes([3, 5], [2, 7])
    ((3, 2), (5, 7))
    """
    queries = parse_counts("num_queries", num_queries)
    keys = queries if num_keys is None else parse_counts("num_keys", num_keys)
    if len(queries) != len(keys):
        raise ValueError(
            f"'num_queries' and 'num_keys' must name equally many examples (got {len(queries)} and {len(keys)}); "
            f"give one int per example in both"
        )
    return tuple(zip(queries, keys))


def parse_pairs(sizes: Any) -> Sizes:
    """(num_queries, num_keys) of each example, as the `sizes` of a graph that was read.

    >>> parse_pairs(((3, 2), (5, -7)))
    Traceback (most recent call last):
    ValueError: 'sizes' must be at least 0 (got -7)
    """
    if (
        not isinstance(sizes, tuple)
        or not sizes
        or any(not isinstance(pair, tuple) or len(pair) != 2 for pair in sizes)
    ):
        raise ValueError(f"'sizes' must be a tuple of pairs (num_queries, num_keys), one per example (got {sizes!r})")
    return tuple((parse_integer("sizes", queries), parse_integer("sizes", keys)) for queries, keys in sizes)


def totals(sizes: Sizes) -> tuple[int, int]:
    """Queries and keys of all examples.

    >>> totals(((3, 2), (5, 7)))
    (8, 9)
    """
    if len(sizes) == 1:
        return sizes[0]
    queries, keys = map(sum, zip(*sizes))
    return queries, keys


def parse_flag(name: str, value: object) -> bool:
    """True or False, and nothing that only counts as one of them.

    >>> parse_flag("edges_by_key", 2)
    Traceback (most recent call last):
    TypeError: 'edges_by_key' must be a bool (got 2)
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name!r} must be a bool (got {value!r})")
    return value


def starts_and_total(counts: Iterable[int]) -> tuple[int, ...]:
    """Where each example starts, and the total at the end: `(0, counts[0], counts[0] + counts[1], ...)`."""
    return (0, *accumulate(counts))


def abbreviate(counts: Sequence[object], shown: int = 6) -> str:
    """One count as an int, several as a list that stays short.

    >>> abbreviate((5,)), abbreviate((3, 4)), abbreviate(tuple(range(100)))
    ('5', '[3, 4]', '[0, 1, 2, ..., 99] (100 examples)')
    """
    if len(counts) == 1:
        return str(counts[0])
    if len(counts) <= shown:
        return str(list(counts))
    return f"[{', '.join(map(str, counts[:3]))}, ..., {counts[-1]}] ({len(counts)} examples)"
