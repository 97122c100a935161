"""Training, validation and test parts of examples and of the nodes of a network."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

SHARES = (0.8, 0.1, 0.1)
Shares = tuple[float, float, float]


class Parts(NamedTuple):
    """What is learned from, what chooses the epoch, and what is looked at once, at the end. Any of them lists of places."""

    train: list[int]
    validation: list[int]
    test: list[int]


def check_shares(shares: Any) -> Shares:
    """Three shares above 0 that sum up to 1, or to 100 (per cent)."""
    if not isinstance(shares, Sequence) or not all(isinstance(share, (int, float)) for share in shares):
        raise ValueError(
            f"'split' must be three shares, such as (0.8, 0.1, 0.1), or three lists of places (got {shares!r})"
        )
    values = tuple(float(share) for share in shares)
    total = sum(values)
    values = tuple(value / 100 for value in values) if abs(total - 100) < 1e-6 else values
    if len(values) != 3 or min(values) <= 0 or abs(sum(values) - 1) > 1e-6:
        raise ValueError(
            f"'split' must be three shares above 0 of training, validation and test that sum up to 1 (got {shares}); give"
            " for example (0.8, 0.1, 0.1)"
        )
    return values[0], values[1], values[2]


def split_examples(num_examples: int, shares: Sequence[float] = SHARES, seed: int = 0) -> Parts:
    """Parts at random.

    Raises ValueError if a part has no example: eight molecules have no tenth.

    >>> [len(part) for part in split_examples(1128)]
    [904, 112, 112]
    """
    _, validation, test = (int(share * num_examples + 1e-9) for share in check_shares(shares))
    if not validation or not test or num_examples - validation - test < 1:
        raise ValueError(
            f"{num_examples} examples are too few for parts of {tuple(shares)}: each needs one at least; give more examples,"
            " other shares, or the parts themselves as three lists"
        )
    order = torch.randperm(num_examples, generator=torch.Generator().manual_seed(seed)).tolist()
    return Parts(order[validation + test :], order[:validation], order[validation : validation + test])


def split_classes(y: Tensor, shares: Sequence[float] = SHARES, seed: int = 0) -> Parts:
    """Parts at random in which every class has its share, and one example at least.

    Args:
        y: The label of each example; those below 0 are unknown, and in no part.

    Raises ValueError if a class has fewer than three examples.

    >>> [len(part) for part in split_classes(torch.tensor([0] * 10 + [1] * 5))]
    [11, 2, 2]
    """
    shares = check_shares(shares)
    generator = torch.Generator().manual_seed(seed)
    parts = Parts([], [], [])
    classes, counts = y[y >= 0].unique(return_counts=True)
    rare = [(label, count) for label, count in zip(classes.tolist(), counts.tolist(), strict=True) if count < 3]
    if rare:
        found = ", ".join(f"{label} has {count}" for label, count in rare[:8])
        raise ValueError(
            f"every class needs three examples or more, one for each part (got {len(rare)} rare classes: {found}); leave them"
            " out, join them with others, or give the parts yourself"
        )
    for label in classes.tolist():
        members = (y == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=generator)].tolist()
        few = [max(1, round(share * len(members))) for share in shares[1:]]
        few = few if sum(few) < len(members) else [1, 1]
        parts.validation.extend(members[: few[0]])
        parts.test.extend(members[few[0] : sum(few)])
        parts.train.extend(members[sum(few) :])
    return parts


def given_parts(split: Any, num_examples: int) -> Parts | None:
    """Three lists of places that a user gives, checked; None if it gives something else."""
    if split is None or not isinstance(split, (list, tuple)) or all(isinstance(share, (int, float)) for share in split):
        return None
    lists = [[int(place) for place in part] for part in split]
    if len(lists) != 3 or not all(lists):
        raise ValueError(
            f"'split' must be three lists of places, none of them empty (got {[len(part) for part in lists]} places)"
        )
    together = [place for part in lists for place in part]
    if min(together) < 0 or max(together) >= num_examples:
        raise ValueError(f"places must be 0 .. {num_examples - 1} (got {min(together)} .. {max(together)})")
    if len(set(together)) < len(together):
        raise ValueError(
            f"{len(together) - len(set(together))} places are in 'split' twice; a test example that is learned from tests nothing"
        )
    return Parts(*lists)


def masks_of(data: Any, column: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Training, validation and test nodes of a network, bool [num_nodes] each.

    Masks of several splits are [num_nodes, num_splits], of which `column` is taken.

    Raises:
        ValueError: where a mask is missing, is not bool, is of another size, has no node, or shares nodes with another.
    """
    names, masks = ("train_mask", "val_mask", "test_mask"), []
    missing = [name for name in names if not isinstance(data.get(name), Tensor)]
    if missing:
        raise ValueError(
            f"the network does not say which nodes are for training, validation and test (got no {', '.join(missing)}); set them,"
            " or give shares of the nodes to be drawn: split=(0.6, 0.2, 0.2), on the command line --split 60 20 20"
        )
    for name in names:
        mask = data[name]
        if mask.dtype == torch.uint8:
            mask = mask.bool()
        if mask.dtype != torch.bool or mask.dim() not in (1, 2) or mask.size(0) != data.num_nodes:
            raise ValueError(
                f"'{name}' must be bool [{data.num_nodes}], or [{data.num_nodes}, num_splits] (got {mask.dtype}"
                f" {list(mask.shape)})"
            )
        if mask.dim() == 2:
            if not 0 <= column < mask.size(1):
                raise ValueError(f"'{name}' has {mask.size(1)} splits (got split {column}); count from 0")
            mask = mask[:, column]
        if not mask.any():
            raise ValueError(f"'{name}' has no node; every part needs one at least")
        masks.append(mask)
    shared = [
        f"{int((masks[i] & masks[j]).sum())} of {names[i]} and {names[j]}" for i, j in ((0, 1), (0, 2), (1, 2))
        if (masks[i] & masks[j]).any()
    ]  # fmt: skip
    if shared:
        raise ValueError(
            f"nodes are in two parts (got {'; '.join(shared)}); a test node that is learned from tests nothing"
        )
    return masks[0], masks[1], masks[2]


def masks_by(y: Tensor, split: Any, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Masks of the nodes by shares, of which every class has its own, or by three lists of places."""
    return masks_of_parts(given_parts(split, len(y)) or split_classes(y, split, seed), len(y))


def masks_of_parts(parts: Parts, num_nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Bool [num_nodes] for each part.

    >>> masks_of_parts(Parts([0], [2], [1]), 3)[1]
    tensor([False, False,  True])
    """
    masks = torch.zeros(3, num_nodes, dtype=torch.bool)
    for mask, part in zip(masks, parts, strict=True):
        mask[part] = True
    return masks[0], masks[1], masks[2]
