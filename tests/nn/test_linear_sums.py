"""Sums weighted by products of features beside a plain loop; linear_attention has the three forms on every kind of graph."""

import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, causal
from graphattn.nn.linear_sums import FORMS, sums_of_features


def tensors(num_queries, num_keys):
    torch.manual_seed(0)
    return [
        torch.rand(count, 2, size, dtype=torch.float64)
        for count, size in ((num_queries, 3), (num_keys, 3), (num_keys, 4))
    ]


def by_loops(query, key, columns, graph):
    sums = torch.zeros(query.size(0), 2, 4, dtype=torch.float64)
    for j, i in graph.edge_index().t().tolist():
        sums[i] += (query[i] * key[j]).sum(-1, keepdim=True) * columns[j]
    return sums


GRAPHS = {
    causal([3, 0, 4]): (None, *FORMS),
    CompleteGraph([2, 1, 2, 0, 2], [3, 0, 3, 2, 1]): (None, "matrix", "chunks"),
    BandedGraph(5, 1, 2): (None, "matrix"),
}


@pytest.mark.parametrize("form", [None, *FORMS])
@pytest.mark.parametrize("graph", GRAPHS)
def test_equals_loops_in_every_form_that_goes_with_the_graph(graph, form):
    given = tensors(*graph.shape)
    if form in GRAPHS[graph]:
        torch.testing.assert_close(sums_of_features(*given, graph, form, 2), by_loops(*given, graph))
    else:
        with pytest.raises(ValueError, match=f"form '{form}' needs a graph"):
            sums_of_features(*given, graph, form, 2)
