"""How far two sequences are apart."""

from collections.abc import Sequence


def edit_distance(first: Sequence, second: Sequence) -> int:
    """Fewest insertions, deletions and substitutions (Levenshtein 1966).

    >>> edit_distance("K AE T".split(), "K AA R T".split())
    2
    """
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        above, row[0] = row[0], i
        for j, b in enumerate(second, start=1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (a != b))
    return row[-1]
