import pytest
import torch

from graphattn.graphs import pairs
from graphattn.graphs.pairs import check_rows, keys_by_query


def is_allowed(query, key):
    return (query + 2 * key) % 3 == 0


@pytest.mark.parametrize("chunk", [1, 4, 1000])
def test_equals_a_loop_over_all_pairs(chunk, monkeypatch):
    monkeypatch.setattr(pairs, "CHUNK", chunk)
    first_key, num_keys = [0, 0, 3, 3, 3], [3, 3, 0, 5, 2]
    wanted = [
        [key for key in range(first, first + count) if (query + 2 * key) % 3 == 0]
        for query, (first, count) in enumerate(zip(first_key, num_keys))
    ]
    degrees, keys = keys_by_query(is_allowed, torch.tensor(first_key), torch.tensor(num_keys))
    assert degrees.tolist() == [len(row) for row in wanted]
    assert keys.tolist() == [key for row in wanted for key in row]


def test_no_query_at_all():
    nothing = torch.zeros(0, dtype=torch.long)
    degrees, keys = keys_by_query(is_allowed, nothing, nothing)
    assert degrees.tolist() == keys.tolist() == []


def test_rows_that_can_be_edges():
    check_rows("Mine", torch.tensor([2, 0, 1]), torch.tensor([0, 4, 0]), 3, 5)
    check_rows("Mine", torch.tensor([0]), torch.zeros(0, dtype=torch.long), 1, 0)
    with pytest.raises(ValueError, match="'keys_by_query' of Mine must give keys 0 to 4"):
        check_rows("Mine", torch.tensor([1]), torch.tensor([5]), 1, 5)
