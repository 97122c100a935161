import numpy as np
import pytest
import torch

from graphattn.graphs.sizes import abbreviate, is_sequence, parse_counts, parse_integer, parse_sizes, starts_and_total


@pytest.mark.parametrize("value", [3, np.int32(3), np.uint8(3), torch.tensor(3), torch.tensor(3, dtype=torch.uint8)])
def test_integers(value):
    assert parse_integer("count", value) == 3
    assert type(parse_integer("count", value)) is int


@pytest.mark.parametrize(
    "value", [True, np.bool_(True), torch.tensor(True), 3.0, float("nan"), np.float64(3), torch.tensor(3.0), "3", None]
)
def test_no_integers(value):
    with pytest.raises(TypeError, match="'count' must be an integer"):
        parse_integer("count", value)


def test_minimum():
    assert parse_integer("offset", -3, minimum=None) == -3
    with pytest.raises(ValueError, match=r"'count' must be at least 2 \(got 1\)"):
        parse_integer("count", 1, minimum=2)


def test_sequences():
    for value in ([1], (1,), range(1), np.array([1]), torch.tensor([1])):
        assert is_sequence(value)
        assert parse_counts("count", range(2)) == (0, 1)
    for value in (1, "12", b"12", np.array(1), torch.tensor(1), torch.ones(1, 1), None):
        assert not is_sequence(value)


def test_sizes():
    assert parse_sizes(3) == ((3, 3),)
    assert parse_sizes([3, 5], (2, 7)) == ((3, 2), (5, 7))
    assert starts_and_total([3, 0, 4]) == (0, 3, 3, 7)
    assert abbreviate([1, 2, 3]) == "[1, 2, 3]"
