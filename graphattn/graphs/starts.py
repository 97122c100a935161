"""Where the positions of queries and keys start, as graphs say that are joined to one."""

from collections.abc import Sequence
from typing import Any

# Of each example the positions of its first query and of its first key; None where joined graphs differ about them.
Starts = tuple[tuple[int, int] | None, ...]

AT_ZERO = (0, 0)
MOST = 2**60  # of an offset: node indices, and their sums with offsets and windows, are int64


def common_starts(starts: Sequence[Starts]) -> Starts:
    """Of each example what all graphs say that do not start at 0 on both sides, as a graph without an offset does.

    >>> common_starts([((3, 0), (0, 0)), ((0, 0), (0, 0)), ((3, 0), (0, 0))])
    ((3, 0), (0, 0))
    >>> common_starts([((3, 0),), ((4, 0),)])
    (None,)
    """
    return tuple(common_start(example) for example in zip(*starts))


def common_start(starts: Sequence[tuple[int, int] | None]) -> tuple[int, int] | None:
    found = {start for start in starts if start != AT_ZERO}
    return AT_ZERO if not found else found.pop() if len(found) == 1 else None


def parse_starts(starts: Any, num_examples: int) -> Starts:
    """The starts of `num_examples` examples as a file gives them; ValueError if they are none."""

    def parse(start: Any) -> tuple[int, int] | None:
        if start is None:
            return None
        is_pair = isinstance(start, (tuple, list)) and len(start) == 2
        if not is_pair or any(type(number) is not int or abs(number) >= MOST for number in start):
            raise ValueError(f"positions start at a pair of ints within 2^60, or None (got {start!r})")
        return tuple(start)

    if not isinstance(starts, (tuple, list)) or len(starts) != num_examples:
        raise ValueError(f"'first_positions' must hold one pair per example of {num_examples} (got {starts!r})")
    return tuple(parse(start) for start in starts)
