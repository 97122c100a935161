"""What cannot be learned from is told before anything is trained: what was got, and what to do."""

import pytest
import torch
from torch_geometric.data import Data

from graphattn.graphs import CompleteGraph, EdgeListGraph
from graphattn.recipes import (
    GraphClassification,
    GraphRegression,
    LanguageModeling,
    NodeClassification,
    SequenceClassification,
    SequenceToSequence,
    Tagging,
)
from graphattn.recipes.examples import edges_or_graph
from tests.recipes import toys


@pytest.fixture(autouse=True)
def untrained(monkeypatch):
    """Nothing may be trained."""

    def fail(*_, **__):
        raise AssertionError("training began")

    monkeypatch.setattr("graphattn.recipes.recipe.fit", fail)


def refuse(recipe, data, match, **options):
    with pytest.raises(ValueError, match=match):
        recipe.train(data, progress=False, **options)


def changed(**attributes):
    data = toys.network()
    for name, value in attributes.items():
        data[name] = value
    return data


Y, N = toys.network().y, toys.network().num_nodes
NETWORKS = {
    "no labels": (changed(y=None), r"no labels to learn from \(got y=None\); set data.y"),
    "float labels": (changed(y=Y.float()), r"whole numbers.* \(got torch.float32 \[120\]\); give data.y.long\(\)"),
    "numbers": (changed(y=Y + 0.5), "for the recipe NodeRegression"),
    "one-hot": (changed(y=torch.nn.functional.one_hot(Y)), r"one label each \(got \[120, 3\]\); give y.argmax\(1\)"),
    "several labels": (changed(y=torch.ones(N, 3).long()), "several labels of one example are not supported"),
    "too few labels": (changed(y=Y[:50]), r"got 120 nodes and labels \[50\]"),
    "no masks": (changed(val_mask=None), r"got no val_mask.*split=\(0.6, 0.2, 0.2\).*--split 60 20 20"),
    "indices for masks": (changed(val_mask=torch.arange(N)), r"'val_mask' must be bool \[120\].* \(got torch.int64"),
    "an empty mask": (changed(test_mask=torch.zeros(N).bool()), "'test_mask' has no node"),
    "masks that share nodes": (
        changed(test_mask=torch.ones(N).bool()),
        r"nodes are in two parts \(got \d+ of train_mask",
    ),
    "no features": (changed(x=None), r"need features x .* \(got x=None\)"),
    "nan features": (changed(x=torch.full((N, 2), torch.nan)), "have 240 numbers that are nan or infinite"),
    "unknown labels in the masks": (
        changed(y=torch.where(Y == 1, -1, Y)),
        r"\d+ nodes inside the masks have a label below 0",
    ),
    "one class": (changed(y=torch.ones_like(Y)), r"all of one class \(got \[1\]\)"),
    "a class that is not in training": (
        changed(y=torch.where(toys.network().test_mask & (Y == 0), 7, Y)),
        r"labels of validation or test nodes that no training example has \(got 7 \(\d+x\); trained on \[0, 1, 2\]\)",
    ),
    "edges to nowhere": (changed(edge_index=torch.tensor([[0], [500]])), r"must name nodes 0 .. 119 \(got 0 .. 500\)"),
    "no edges": (changed(edge_index=None), r"no edges \(got edge_index=None\)"),
    "a list": ([toys.network()], "needs one network.* \\(got list\\)"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name):
    refuse(NodeClassification(), *NETWORKS[name])


def test_splits_of_networks():
    data = toys.network()
    refuse(NodeClassification(), data, "must be three shares", split=(0.5, 0.5))
    refuse(NodeClassification(), data, "must be three shares", split=(0.5, 0.4, 0.4))
    columns = changed(**{name: torch.stack([data[name]] * 2, 1) for name in ("train_mask", "val_mask", "test_mask")})
    refuse(NodeClassification(), columns, r"has 2 splits \(got split 2\); count from 0", split=2)
    rare = changed(y=torch.where(torch.arange(N) < 2, 9, Y), train_mask=None)
    refuse(NodeClassification(), rare, r"1 rare classes: 9 has 2", split=(0.6, 0.2, 0.2))
    refuse(NodeClassification(measure="roc_auc"), data, r"'roc_auc' is of two classes \(got 3")


def with_y(make, y):
    examples = make()
    for place, data in enumerate(examples):
        data.y = y(place, data)
    return examples


EXAMPLES = {
    "no label": (GraphClassification(), with_y(toys.graphs, lambda place, data: None), "example 0: .*no labels to learn from"),
    "float labels": (GraphClassification(), with_y(toys.graphs, lambda place, data: data.y.float()), "give data.y.long"),
    "a rare class": (
        GraphClassification(),
        with_y(toys.graphs, lambda place, data: data.y + 2 * (place == 5)),
        "1 rare classes: 3 has 1",
    ),
    "eight molecules": (GraphRegression(), toys.numbers(8), r"8 examples are too few for parts of \(0.8, 0.1, 0.1\)"),
    "a nan target": (
        GraphRegression(),
        with_y(toys.numbers, lambda place, data: torch.tensor([torch.nan if place == 3 else 1.0 + place])),
        "example 3: .*the target nan; leave out",
    ),
    "two targets": (GraphRegression(), with_y(toys.numbers, lambda *_: torch.ones(1, 2)), r"got y of \[1, 2\]\); choose a column"),
    "no target": (GraphRegression(), with_y(toys.numbers, lambda *_: None), r"no target to learn from \(got y=None\)"),
    "equal targets": (GraphRegression(), with_y(toys.numbers, lambda *_: torch.ones(1)), "targets to train on are all the same"),
    "no examples": (GraphClassification(), [], "there are no examples"),
    "a path": (GraphClassification(), "graphs.csv", r"\(got graphs.csv\); graphattn.datasets.from_csv"),
    "no graphs": (GraphClassification(), [torch.ones(3)], r"example 0 must be a torch_geometric Data \(got Tensor\)"),
    "words for graphs": (GraphClassification(), toys.reviews(), "texts are for the recipes SequenceClassification"),
    "no tags": (Tagging(), with_y(toys.sentences, lambda *_: None), "nodes have no labels"),
    "one tag a sentence": (Tagging(), with_y(toys.sentences, lambda *_: torch.tensor([1])), "one label each"),
    "two kinds": (SequenceClassification(), [*toys.reviews(40), *toys.sounds(40)], "are of two kinds"),
    "no pairs": (SequenceToSequence(), ["abc"] * 50, r"example 0 must be a pair \(source, target\) \(got 'abc'\)"),
    "an empty text": (SequenceToSequence(), [("abc", "A"), ("", "B")] * 20, r"the source of example 1 has no tokens"),
    "one text": (LanguageModeling(), "a long text", r"must be a list of texts \(got str\); give \[text\]"),
    "no texts": (LanguageModeling(), ["a", 3], r"text 1 must be a str or a list of str \(got 3\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(name):
    refuse(*EXAMPLES[name])


def with_attribute(make, name, value, place=4):
    examples = make()
    examples[place][name] = value
    return examples


def test_examples_that_differ():
    nodes, edges = toys.graphs()[4].num_nodes, toys.graphs()[4].num_edges
    for x, match in ((torch.ones(nodes, 5), "need 3 features as those of other"), (None, "need features x")):
        refuse(GraphClassification(), with_attribute(toys.graphs, "x", x), match)
    refuse(GraphClassification(), with_attribute(toys.graphs, "edge_attr", None), "the edges need 2 features")
    refuse(
        GraphClassification(), with_attribute(toys.graphs, "edge_attr", torch.ones(edges, 3)), r"need 2 .* \(got 3\)"
    )
    broken = torch.full((edges, 2), torch.inf)
    refuse(GraphClassification(), with_attribute(toys.graphs, "edge_attr", broken), "features of edges have")
    refuse(GraphClassification(), with_attribute(toys.graphs, "edge_index", None), "says nothing about who attends")
    refuse(SequenceClassification(), with_attribute(toys.sounds, "graph", CompleteGraph(3)), "'graph' must be over the")
    refuse(GraphClassification(), [*toys.graphs(50), Data(x=torch.ones(0, 3))], "example 50 has no nodes")


def test_parts_that_are_given():
    data = toys.graphs()
    refuse(GraphClassification(), data, "three lists of places, none of them empty", split=[[0, 1], [2], []])
    refuse(GraphClassification(), data, r"places must be 0 .. 99 \(got 0 .. 100\)", split=[[0, 1], [2], [100]])
    refuse(GraphClassification(), data, "1 places are in 'split' twice", split=[[0, 1], [2], [1]])
    refuse(GraphClassification(), data, r"must be three shares, such as .* \(got 3\)", split=3)


def test_directed_edges_are_not_promised_as_undirected():
    data = toys.network()
    recipe = NodeClassification.gat()
    assert recipe.graph_of(data).is_undirected
    data.edge_index = data.edge_index[:, data.edge_index[0] < data.edge_index[1]]
    assert not recipe.graph_of(data).is_undirected
    graphs = toys.graphs()
    task = GraphClassification().read(graphs, None, 0)
    assert all(bool(batch.undirected.all()) for batch in task.train)
    for graph in graphs:
        keep = graph.edge_index[0] <= graph.edge_index[1]
        graph.edge_index, graph.edge_attr = graph.edge_index[:, keep], graph.edge_attr[keep]
    task = GraphClassification().read(graphs, None, 0)
    assert not any(bool(batch.undirected.any()) for batch in task.train)


def test_a_graph_that_is_given_counts_more_than_the_edges():
    data = toys.graphs()[0]
    data.graph = EdgeListGraph(data.edge_index[:, :3], data.num_nodes)
    assert edges_or_graph(data)["edge_index"].equal(data.edge_index[:, :3])
    data.graph = CompleteGraph(data.num_nodes)
    assert edges_or_graph(data) == {"graph": CompleteGraph(data.num_nodes)}


@pytest.mark.parametrize(
    "make",
    [
        lambda: NodeClassification(model="gcn"),
        lambda: NodeClassification(measure="auc"),
        lambda: GraphRegression(measure="accuracy"),
        lambda: Tagging(band=-1),
        lambda: SequenceToSequence(source_unit="syllables"),
        lambda: SequenceToSequence(beams=0),
        lambda: LanguageModeling(context=0),
        lambda: GraphClassification(smoothing=1.0),
        lambda: GraphClassification().scheduled(epochs=0),
        lambda: GraphClassification().scheduled(lr=0.0),
        lambda: GraphClassification().scheduled(averaging=1.0),
        lambda: GraphClassification().scheduled(shape="cosine"),
        lambda: GraphClassification().scheduled(optimizer="sgd"),
    ],
)
def test_options(make):
    with pytest.raises(ValueError, match=r"\(got "):
        make()
