import pytest
import torch

from graphattn.graphs import CompleteGraph


def test_num_keys_is_num_queries():
    assert CompleteGraph(5) == CompleteGraph(5, 5) == CompleteGraph([5])
    assert CompleteGraph(5) != CompleteGraph(5, 6)


def test_counts_of_all_kinds():
    import numpy as np

    for counts in ([3, 5], (3, 5), torch.tensor([3, 5]), np.array([3, 5])):
        assert CompleteGraph(counts).sizes == ((3, 3), (5, 5))
    assert CompleteGraph(np.int64(4)) == CompleteGraph(torch.tensor(4)) == CompleteGraph(4)


def test_is_symmetric():
    assert CompleteGraph([3, 4]).is_symmetric
    assert not CompleteGraph([3, 4], [4, 3]).is_symmetric


def test_repr():
    assert repr(CompleteGraph(5)) == "CompleteGraph(5)"
    assert repr(CompleteGraph(5, 3).T) == "CompleteGraph(5, 3).T"
    assert repr(CompleteGraph([3, 5], [2, 7])) == "CompleteGraph([3, 5], [2, 7])"
    assert repr(CompleteGraph([2] * 1000)) == "CompleteGraph([2, 2, 2, ..., 2] (1000 examples))"


@pytest.mark.parametrize("counts", [2.0, float("nan"), True, None, "5", [3, 2.5], [True], [[3]]])
def test_counts_of_other_kinds(counts):
    with pytest.raises(TypeError, match="'num_queries' must be an integer"):
        CompleteGraph(counts)


def test_bad_counts():
    with pytest.raises(ValueError, match=r"'num_queries' must be at least 0 \(got -1\)"):
        CompleteGraph(-1)
    with pytest.raises(ValueError, match=r"'num_keys' must be at least 0 \(got -2\)"):
        CompleteGraph([3, 4], [1, -2])
    with pytest.raises(ValueError, match="at least one example"):
        CompleteGraph([])
    with pytest.raises(ValueError, match=r"equally many examples \(got 2 and 1\)"):
        CompleteGraph([3, 4], 5)
