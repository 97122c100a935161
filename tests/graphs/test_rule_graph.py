import pickle

import pytest
import torch

from graphattn import RuleGraph, attend, batch_graphs, causal
from graphattn.graphs import BandedGraph, pairs
from graphattn.testing.cases import is_near_or_even


def is_before(query, key):
    return key <= query


def test_equals_the_graph_that_has_a_class():
    graph = RuleGraph([5, 3], rule=is_before)
    assert torch.equal(graph.edge_index(), causal([5, 3]).edge_index())
    assert torch.equal(graph.mask(), causal([5, 3]).mask())
    x = torch.randn(8, 2, 4)
    torch.testing.assert_close(attend(x, x, x, graph), attend(x, x, x, causal([5, 3])))


def test_the_rule_sees_indices_inside_the_example():
    seen = []

    def rule(query, key):
        seen.append((query, key))
        return query == key

    RuleGraph([3, 4], [3, 2], rule).edge_index()
    assert max(int(query.max()) for query, _ in seen if query.numel()) == 3
    assert max(int(key.max()) for _, key in seen if key.numel()) == 2


def test_few_pairs_are_in_memory_at_a_time(monkeypatch):
    monkeypatch.setattr(pairs, "CHUNK", 10)
    largest = []

    def rule(query, key):
        largest.append(query.numel())
        return is_near_or_even(query, key)

    graph = RuleGraph([6, 1, 0, 5], [4, 25, 3, 9], rule)
    expected = RuleGraph([6, 1, 0, 5], [4, 25, 3, 9], is_near_or_even)
    assert torch.equal(graph.edge_index(), expected.edge_index())
    assert max(largest) == 25  # one query with more keys than that is not cut


def test_batches_join_where_the_rule_is_one():
    joined = batch_graphs([RuleGraph(3, rule=is_before), RuleGraph(2, rule=is_before)])
    assert joined == RuleGraph([3, 2], rule=is_before)
    assert joined.examples() == [RuleGraph(3, rule=is_before), RuleGraph(2, rule=is_before)]
    other = batch_graphs([RuleGraph(3, rule=is_before), RuleGraph(2, rule=is_near_or_even)])
    assert type(other).__name__ == "BatchedGraph" and other.num_edges == 6 + 4


def test_files_keep_a_rule_that_has_a_name():
    graph = RuleGraph([5, 3], rule=is_before).T
    assert torch.equal(pickle.loads(pickle.dumps(graph)).edge_index(), graph.edge_index())


@pytest.mark.parametrize(
    "rule",
    [
        lambda query, key: (query - key).abs(),
        lambda query, key: True,
        lambda query, key: (query == key).any(),
        lambda query, key: query[:, None] == key,
    ],
)
def test_an_answer_is_a_bool_for_each_pair(rule):
    with pytest.raises(TypeError, match="a bool for each pair"):
        RuleGraph(4, rule=rule)


def test_the_rule_must_be_a_function():
    with pytest.raises(TypeError, match="third argument"):
        RuleGraph(4, is_before)
    with pytest.raises(TypeError, match="must be a function"):
        RuleGraph(4)
    with pytest.raises(TypeError, match="must be a function"):
        RuleGraph(4, rule=torch.ones(4, 4) > 0)


def test_a_rule_that_answers_wrongly_later_is_found():
    def rule(query, key):
        return query == key if len(query) == 1 else query

    with pytest.raises(TypeError, match="a bool for each pair"):
        RuleGraph(4, rule=rule).edge_index()


def test_unions_and_complements():
    graph = RuleGraph(9, rule=is_before)
    assert torch.equal((graph & BandedGraph(9, 2, 2)).edge_index(), BandedGraph(9, 2, 0).edge_index())
    assert torch.equal((graph | graph.T).mask(), torch.ones(9, 9, dtype=torch.bool))
    assert torch.equal((~graph).mask(), ~graph.mask())


def test_a_rule_may_look_up_what_it_knows_of_nodes():
    """It is never asked of a node that the example does not have."""
    kind = torch.tensor([0, 1, 0, 1])
    graph = RuleGraph([3, 4], rule=lambda query, key: kind[query] == kind[key])
    assert graph.mask().sum() == graph.num_edges == 5 + 8


@pytest.mark.parametrize(
    "rule",
    [
        lambda query, key: (query >= key) and (key > 1),
        lambda query, key: not query > key,
        lambda query, key: query >= key if query > 2 else key < 1,
        lambda query, key: 0 <= query - key < 2,
        lambda query, key: key in (1, 2),
        lambda query, key: query.item() > key.item(),
    ],
)
def test_rules_for_one_pair_are_refused_when_the_graph_is_made(rule):
    for size in (1, 3):
        with pytest.raises(TypeError, match=r"asked for many pairs at once \(got \[2\] of them\).* by &, \| and ~"):
            RuleGraph(size, rule=rule)


def test_arguments_in_other_places_and_numbers():
    with pytest.raises(TypeError, match=r"'num_queries' is the first argument .* write RuleGraph\(5, rule=...\)"):
        RuleGraph(lambda query, key: query > key, 5)
    with pytest.raises(
        TypeError, match=r"must take \(query, key\) \(got \(b, h, q, k\)\); a mask_mod of FlexAttention"
    ):
        RuleGraph(5, rule=lambda b, h, q, k: q > k)
    with pytest.raises(TypeError, match=r"must take \(query, key\) \(got \(query\)\)$"):
        RuleGraph(5, rule=lambda query: query > 1)
    assert RuleGraph(3, rule=torch.ge).num_edges == 6  # a function in C, which has no signature
