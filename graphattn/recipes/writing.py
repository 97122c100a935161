"""Data of recipes that write: tokens, and batches of like lengths."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

UNITS: dict[str, Callable[[str], list[str]]] = {"words": str.split, "characters": list}
JOINTS = {"words": " ", "characters": ""}
END = 0  # the token before the first that is written and after the last


def check_unit(unit: str) -> None:
    if unit not in UNITS:
        raise ValueError(f"a text is cut into one of {list(UNITS)} (got {unit!r}); give lists of str for other tokens")


def tokens_in(text: Any, unit: str, where: str) -> list[str]:
    """The tokens of a str, or those of a list that is cut already. Raises ValueError where there is none."""
    if isinstance(text, str):
        tokens = UNITS[unit](text)
    elif isinstance(text, Sequence) and all(isinstance(token, str) for token in text):
        tokens = list(text)
    else:
        raise ValueError(f"{where} must be a str or a list of str (got {text!r})")
    if not tokens:
        raise ValueError(f"{where} has no tokens (got {text!r}); leave it out")
    return tokens


def by_length(count: int, length: Callable[[int], Any], size: int, seed: int) -> list[list[int]]:
    """Batches of places of like lengths, in an order that `seed` decides."""
    chance = random.Random(seed)
    order = sorted(range(count), key=lambda place: (length(place), chance.random()))
    batches = [order[start : start + size] for start in range(0, count, size)]
    chance.shuffle(batches)
    return batches


class Moved:
    """A batch of several tensors: attributes that are tensors move to a device, others stay."""

    def to(self, device: torch.device) -> "Moved":
        moved = object.__new__(type(self))
        for name, value in vars(self).items():
            setattr(moved, name, value.to(device) if isinstance(value, torch.Tensor) else value)
        return moved


@dataclass
class Drawn:
    """Batches of like lengths, in an order of their own in every epoch.

    Args:
        count: Examples.
        length: Of an example, by its place.
        make: A batch, of places.
        size: Examples of a batch.
        is_shuffled: False: in one order, always the same.
    """

    count: int
    length: Callable[[int], Any]
    make: Callable[[list[int]], Any]
    size: int
    is_shuffled: bool = False

    def __len__(self) -> int:
        return -(-self.count // self.size)

    def __iter__(self) -> Iterator[Any]:
        # From torch, so that a checkpoint, which keeps the state of its random numbers, draws the same again.
        seed = int(torch.randint(2**31, ())) if self.is_shuffled else 0
        return (self.make(places) for places in by_length(self.count, self.length, self.size, seed))
