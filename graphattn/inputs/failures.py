"""What could not be read."""

from typing import NamedTuple


class Failure(NamedTuple):
    """An input that could not be read or converted.

    Attributes:
        where: A row, a file, a place in a data set.
        reason: In words.
        place: Its place among the inputs, from 0.
    """

    where: str
    reason: str
    place: int | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"
