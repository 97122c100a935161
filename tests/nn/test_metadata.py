import pytest
import torch

from graphattn import CompleteGraph
from graphattn.nn.metadata import check_edge_attr, check_metadata, types_of

KIND = "a", "to", "b"


def test_types_count_once():
    assert types_of((["a", "b", "a"], [KIND, list(KIND)])) == (["a", "b"], [KIND])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((["a"], [KIND], 3, None), "need nodes of type 'b'"),
        ((["a", "b"], [], 3, None), "at least one type of edges"),
        ((["a", "b"], [KIND], {"a": 3, "b": 3, "c": 3}, None), r"'in_channels' has types .* .got .'c'."),
        ((["a", "b"], [KIND], 3, {("a", "by", "b"): 1}), "'edge_dim' has types"),
        ((["a", "b"], [KIND], {"a": 3}, None), r"a size for each type of nodes .got none for .'b'."),
    ],
)
def test_types_that_do_not_fit_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        check_metadata(*arguments)


def test_features_of_edges_fit_their_map():
    graph, linear = CompleteGraph(2), torch.nn.Module()
    linear.in_channels = 3
    check_edge_attr(KIND, None, None, graph)
    check_edge_attr(KIND, torch.zeros(4, 3), linear, graph)
    for edge_attr, lin_edge in ((None, linear), (torch.zeros(4, 3), None), (torch.zeros(5, 3), linear)):
        with pytest.raises(ValueError, match="edges .'a', 'to', 'b'."):
            check_edge_attr(KIND, edge_attr, lin_edge, graph)
