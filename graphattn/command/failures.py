"""What could not be read, told on the error stream."""

import sys

from graphattn.datasets.failures import Failure

FIRST = 20  # failures in words


def tell_failures(failures: list[Failure], fate: str) -> None:
    """How many and why; the first ones in words.

    Args:
        failures: None tells nothing.
        fate: What becomes of one of them, such as 'is left out'.
    """
    if not failures:
        return
    print(f"{len(failures)} could not be read; each {fate}:", file=sys.stderr)
    for failure in failures[:FIRST]:
        print(f"  {failure}", file=sys.stderr)
    if len(failures) > FIRST:
        print(f"  and {len(failures) - FIRST} more", file=sys.stderr)
