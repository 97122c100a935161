"""Parts of examples and nodes."""

import pytest
import torch

from graphattn.recipes.parts import check_shares, masks_by, masks_of, split_classes, split_examples
from tests.recipes import toys


def test_parts_share_nothing_and_follow_the_seed():
    parts = split_examples(642, seed=3)
    assert [len(part) for part in parts] == [514, 64, 64]
    assert sorted(place for part in parts for place in part) == list(range(642))
    assert parts == split_examples(642, seed=3) != split_examples(642, seed=4)


@pytest.mark.parametrize("seed", range(3))
def test_every_class_has_its_share(seed):
    y = torch.tensor([0] * 50 + [1] * 30 + [2] * 3 + [-1] * 20)
    parts = split_classes(y, (0.6, 0.2, 0.2), seed)
    assert sorted(place for part in parts for place in part) == list(range(83))  # those below 0 are in none
    counts = [[int((y[part] == label).sum()) for label in range(3)] for part in parts]
    assert counts == [[30, 18, 1], [10, 6, 1], [10, 6, 1]]


def test_a_small_class_is_in_every_part():
    parts = split_classes(torch.tensor([0] * 50 + [1] * 3))
    assert [sum(place >= 50 for place in part) for part in parts] == [1, 1, 1]


def test_shares_may_be_per_cent():
    assert check_shares([60, 20, 20]) == pytest.approx((0.6, 0.2, 0.2))


def test_masks_are_drawn_by_class():
    y = torch.arange(90) % 3
    masks = masks_by(y, (0.5, 0.25, 0.25), 0)
    assert torch.stack(masks).sum(0).eq(1).all()
    assert [int(mask.sum()) for mask in masks] == [42, 24, 24]


def test_masks_of_lists():
    masks = masks_by(torch.zeros(6).long(), [[0, 5], [1], [2, 3]], 0)
    assert [mask.nonzero().flatten().tolist() for mask in masks] == [[0, 5], [1], [2, 3]]


def test_splits_are_columns_of_masks():
    data = toys.network()
    names = ("train_mask", "val_mask", "test_mask")
    for name in names:
        data[name] = torch.stack([data[name], data[name].roll(1)], 1)
    for column in range(2):
        for found, name in zip(masks_of(data, column), names, strict=True):
            assert found.equal(data[name][:, column])
