"""The networks and the features of node classification."""

import pytest
import torch

from graphattn.recipes import NodeClassification
from graphattn.recipes.models.node import drop_features
from graphattn.recipes.of_network import sparse_if_few
from tests.recipes import toys


def test_sparse_features_give_what_dense_ones_give():
    data, recipe = toys.network(), NodeClassification.gat()
    data.x = torch.nn.functional.one_hot(torch.arange(data.num_nodes) % 60).float()
    model = recipe.build({"num_features": 60, "classes": [0, 1, 2]}).eval()
    sparse, graph = sparse_if_few(data.x), recipe.graph_of(data)
    assert sparse.layout == torch.sparse_csr
    torch.testing.assert_close(model(sparse, graph), model(data.x, graph))


def test_dropout_of_sparse_features_keeps_their_mean():
    x = torch.ones(200, 50).to_sparse_csr()
    assert drop_features(x, 0.6, training=False).to_dense().eq(1).all()
    dropped = drop_features(x, 0.6, training=True).to_dense()
    assert set(dropped.unique().tolist()) == {0.0, 2.5}
    assert dropped.mean().item() == pytest.approx(1, abs=0.05)


def test_self_loops_are_the_recipes_choice():
    data = toys.network()
    assert NodeClassification.gat().graph_of(data).num_edges == data.num_edges + data.num_nodes
    assert NodeClassification().graph_of(data).num_edges == data.num_edges


def test_labels_may_be_any_numbers():
    data = toys.network()
    recipe = NodeClassification(layers=2).scheduled(epochs=3)
    expected = recipe.train(data, progress=False)
    data.y = torch.tensor([100, 7, 55])[data.y]
    outside = ~(data.train_mask | data.val_mask | data.test_mask)
    data.y[outside] = -1
    trained = recipe.train(data, progress=False)
    assert trained.facts["classes"] == [7, 55, 100]
    assert set(trained.predict(data).labels) <= {7, 55, 100}
    assert trained.figures["test"].keys() == expected.figures["test"].keys()


def test_large_features_are_learned_from_when_standardized():
    data = toys.network()
    data.x = 1000 * data.x + 5000
    recipe = NodeClassification(layers=2, standardize=True).scheduled(epochs=30)
    trained = recipe.train(data, progress=False)
    assert trained.figures["test"]["accuracy"] > 0.75
    alone = data.subgraph(torch.arange(60))
    assert len(trained.predict(alone).labels) == 60  # scaled by the nodes that it was trained on
