"""Which epoch is reported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TIES = ("first", "last", "loss")


@dataclass(frozen=True)
class Choice:
    """The epoch whose validation part has the best `by`.

    Args:
        by: A column of the history, such as 'loss' or 'accuracy'.
        higher: Whether higher is better.
        ties: Of equals the 'first', the 'last', or the one of the lowest 'loss' (the first of these).

    >>> history = [{'loss': 3.0, 'accuracy': 0.5}, {'loss': 1.0, 'accuracy': 0.9}, {'loss': 2.0, 'accuracy': 0.9}]
    >>> [Choice('accuracy', ties=ties).best(history) for ties in TIES], Choice('loss', higher=False).best(history)
    ([1, 2, 1], 1)
    """

    by: str
    higher: bool = True
    ties: str = "first"

    def __post_init__(self) -> None:
        if self.ties not in TIES:
            raise ValueError(f"'ties' must be one of {list(TIES)} (got {self.ties!r})")

    def best(self, history: Sequence[Mapping[str, float]]) -> int:
        """The place of the best epoch. An epoch whose value is nan is never better than one whose value is a number."""

        def value(epoch: int) -> tuple[bool, float, float]:
            found = history[epoch][self.by]
            is_number = found == found
            tie = {"first": -epoch, "last": epoch}.get(self.ties)
            worth = (found if self.higher else -found) if is_number else 0.0
            return is_number, worth, -history[epoch]["loss"] if tie is None else tie

        return max(range(len(history)), key=value)
