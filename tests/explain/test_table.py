import networkx
import pytest
import torch
from torch_geometric.data import Batch, Data

from graphattn import CompleteGraph, EdgeListGraph, PerHead, batch_graphs, causal
from graphattn.explain import attention_edges, attention_of, attention_table
from graphattn.nn import GATConv, GraphAttention, GraphTransformer

GRAPH = batch_graphs([EdgeListGraph(torch.tensor([[0, 1, 2], [1, 2, 0]]), 3), CompleteGraph(2)])
X, LABELS = torch.randn(5, 8), list("abcde")


def rows_by_loops(found, sizes, labels):
    """(layer, head, example, source, target, weight, source_label, target_label) of every edge and head, by plain loops."""
    example_of = [(b, i) for b, size in enumerate(sizes) for i in range(size)]
    rows = []
    for name, (edge_index, weights) in found.items():
        for head in range(weights.size(1)):
            for edge in range(edge_index.size(1)):
                source, target = edge_index[:, edge].tolist()
                (b, i), (_, j) = example_of[source], example_of[target]
                rows.append((name, head, b, i, j, weights[edge, head].item(), labels[source], labels[target]))
    return rows


def test_every_edge_and_head():
    found = attention_of(GraphTransformer(8, 2, 2).eval(), X, GRAPH)
    wanted = rows_by_loops(found, (3, 2), LABELS)
    edges = attention_edges(found, GRAPH, LABELS)
    names = ("layer", "head", "example", "weight", "source_label", "target_label")
    assert [
        (*(row[name] for name in names[:3]), s, t, *(row[name] for name in names[3:])) for s, t, row in edges
    ] == wanted
    pandas = pytest.importorskip("pandas", reason="pip install pandas")
    table = attention_table(found, GRAPH, LABELS)
    assert isinstance(table, pandas.DataFrame) and len(wanted) == len(table) == 2 * 2 * 7
    columns = ["layer", "head", "example", "source", "target", "weight", "source_label", "target_label"]
    assert list(table.columns) == columns and list(table.itertuples(index=False, name=None)) == wanted
    sums = table.groupby(["layer", "head", "example", "target"]).weight.sum()
    assert sums.tolist() == pytest.approx([1.0] * len(sums))


@pytest.mark.parametrize(
    "graph",
    [
        torch.tensor([0, 0, 0, 1, 1]),
        [causal(3), causal(2)],
        Batch.from_data_list([Data(x=torch.zeros(n, 1), edge_index=torch.zeros(2, 0).long()) for n in (3, 2)]),
    ],
    ids=["batch vector", "list", "Batch"],
)
def test_examples_by_other_things_than_a_graph(graph):
    found = attention_of(GATConv(8, 4), X, GRAPH.edge_index())
    assert attention_edges(found, graph) == attention_edges(found, GRAPH)


def test_networkx_takes_them():
    layer = GraphAttention(8, 4)
    _, pair = layer(X, GRAPH, return_attention_weights=True)
    of_first = [edge for edge in attention_edges(pair, GRAPH) if edge[2]["example"] == 0]
    network = networkx.DiGraph()
    network.add_edges_from(of_first)
    assert sorted(network.edges) == [(0, 1), (1, 2), (2, 0)] and network.edges[0, 1]["weight"] == pytest.approx(1.0)
    pytest.importorskip("pandas", reason="pip install pandas")
    table = attention_table(pair, GRAPH)
    again = networkx.from_pandas_edgelist(
        table[table.example == 0], "source", "target", "weight", create_using=networkx.DiGraph
    )
    assert sorted(again.edges) == sorted(network.edges)


def test_one_example_and_small_weights():
    found = attention_of(GraphAttention(8, 4), X, causal(5))
    rows = attention_edges(found)
    assert len(rows) == 15 and {row["example"] for *_, row in rows} == {0}
    kept = attention_edges(found, min_weight=0.4)
    assert 0 < len(kept) < 15 and kept == [edge for edge in rows if edge[2]["weight"] >= 0.4]


def test_graphs_by_head_and_between_two_sets():
    found = attention_of(GraphAttention(8, 4, 2), X, PerHead([causal(5), CompleteGraph(5)]))
    assert [sum(row["head"] == head for *_, row in attention_edges(found)) for head in (0, 1)] == [15, 25]
    graph = CompleteGraph([1, 2], [3, 2])
    found = attention_of(GraphAttention((8, 8), 4), (X, torch.randn(3, 8)), graph)
    ends = [(source, target, row["example"]) for source, target, row in attention_edges(found, graph)]
    assert ends == [(0, 0, 0), (1, 0, 0), (2, 0, 0), (0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1)]


def test_no_edges():
    pair = torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0, 2)
    assert attention_edges(pair, causal(3)) == []
    pytest.importorskip("pandas", reason="pip install pandas")
    assert list(attention_table(pair).columns) == ["layer", "head", "example", "source", "target", "weight"]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda pair: attention_edges(pair, causal(3)), r"'graph' has 3 sources \(got an edge of source 4\)"),
        (
            lambda pair: attention_edges(pair, labels=["a"]),
            r"one for each node of the batch \(got 1, an edge of node 4\)",
        ),
        (lambda pair: attention_edges((pair[0], pair[1][1:])), r"\(got \[2, 7\] for 6 weights\)"),
        (lambda pair: attention_edges(pair, torch.tensor([1, 0, 0, 0, 0])), "must ascend, example after example"),
    ],
)
def test_errors(call, message):
    pair = GRAPH.edge_index(), torch.rand(7, 2)
    with pytest.raises(ValueError, match=message):
        call(pair)


def test_without_pandas(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="attention_edges gives the same rows without"):
        attention_table((GRAPH.edge_index(), torch.rand(7)))


@pytest.mark.parametrize("other", [[2, 3], [4, 2], [3, 1, 1]])
def test_a_graph_of_other_examples_is_refused(other):
    """An edge lies in one example; a graph by which it would not is not the one that the layers ran on."""
    edge_index = causal([3, 2]).edge_index()
    weights = torch.ones(edge_index.size(1), 1)
    assert {row["example"] for _, _, row in attention_edges((edge_index, weights), causal([3, 2]))} == {0, 1}
    with pytest.raises(ValueError, match="in two examples .* give the graph that the layers ran on"):
        attention_edges((edge_index, weights), causal(other))
