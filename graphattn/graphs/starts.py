"""Where the positions of queries and keys start, as graphs say that are joined to one."""

from collections.abc import Sequence

# Of each example the positions of its first query and of its first key; None where joined graphs differ about them.
Starts = tuple[tuple[int, int] | None, ...]

AT_ZERO = (0, 0)


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
