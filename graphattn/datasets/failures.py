"""Files and rows that could not be read, beside those that could."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch_geometric.data import Data
from tqdm import tqdm

from graphattn.inputs.failures import Failure

T = TypeVar("T")


def read_each(items: Iterable[tuple[str, Any]], read: Callable[[Any], T], title: str) -> tuple[list[T], list[Failure]]:
    """What `read` makes of each item (its name, what is read), and those that raise; a bar shows long work on a terminal."""
    found, failures = [], []
    for place, (where, item) in enumerate(tqdm(list(items), desc=title, leave=False, disable=None, delay=1.0)):
        try:
            found.append(read(item))
        except (ValueError, TypeError, OSError) as error:
            failures.append(Failure(where, str(error), place))
    return found, failures


def check_any(found: list[Data], failures: list[Failure], path: Any) -> None:
    """Raises ValueError if nothing could be read, with the first reasons."""
    if not found:
        reasons = "; ".join(str(failure) for failure in failures[:3]) or "it is empty"
        raise ValueError(f"nothing in '{path}' could be read (got {len(failures)} failures: {reasons})")


def number_classes(found: list[Data], names: Iterable[str]) -> list[str]:
    """Sorted names of the classes; the place of its name among them becomes y of each example, in place of its `label`."""
    names = list(names)
    classes = sorted(set(names))
    places = {name: place for place, name in enumerate(classes)}
    for data, name in zip(found, names, strict=True):
        data.y = torch.tensor([places[name]])
        del data.label
    return classes
