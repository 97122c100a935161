import pytest
import torch
import torch_geometric.nn as pyg

from graphattn import CompleteGraph, PerHead, accelerate, causal, nn
from graphattn.explain import attention_of, attention_rollout
from tests.nn.peer import random_graph


class Mixed(torch.nn.Module):
    """Every kind of layer that gives weights, and one that does not."""

    def __init__(self):
        super().__init__()
        self.first = nn.GraphAttention(6, 3, heads=2)
        self.linear = torch.nn.Linear(6, 6)
        self.convs = torch.nn.ModuleList([nn.GATConv(6, 6), nn.GATv2Conv(6, 6), nn.TransformerConv(6, 3, heads=2)])
        self.block = nn.EncoderLayer(6, heads=2)
        self.peer = pyg.GATConv(6, 2)

    def forward(self, x, edge_index):
        x = self.linear(self.first(x, edge_index))
        for conv in self.convs:
            x = conv(x, edge_index)
        return self.peer(self.block(x, edge_index), edge_index)


def test_the_weights_of_every_layer_in_the_order_of_their_calls():
    torch.manual_seed(0)
    model, x, edge_index = Mixed().eval(), torch.randn(8, 6), random_graph(8, 8, 20)
    wanted_out = model(x, edge_index)
    found = attention_of(model, x, edge_index)
    assert list(found) == ["first", "convs.0", "convs.1", "convs.2", "block.attention", "peer"]
    _, (edges, weights) = model.first(x, edge_index, return_attention_weights=True)
    torch.testing.assert_close(found["first"], (edges, weights), check_stride=False)
    assert not found["first"].weights.requires_grad
    hidden = model.linear(model.first(x, edge_index))
    _, wanted = model.convs[0](hidden, edge_index, return_attention_weights=True)
    torch.testing.assert_close(tuple(found["convs.0"]), wanted)
    assert found["convs.0"].edge_index.size(1) > found["first"].edge_index.size(1)  # self loops
    assert torch.equal(model(x, edge_index), wanted_out) and not model.first._forward_hooks
    rollout = attention_rollout(found.values(), 8)
    torch.testing.assert_close(rollout.to_dense().sum(1), torch.ones(8))


def test_an_accelerated_model_gives_what_pygs_gives():
    torch.manual_seed(0)
    model, x, edge_index = pyg.GAT(6, 8, num_layers=2, heads=2).eval(), torch.randn(8, 6), random_graph(8, 8, 20)
    before = attention_of(model, x, edge_index)
    accelerate(model)
    after = attention_of(model, x, edge_index)
    assert list(before) == list(after) == ["convs.0", "convs.1"]
    for name in before:
        torch.testing.assert_close(tuple(after[name]), tuple(before[name]))


def test_new_edge_features_stand_between():
    torch.manual_seed(0)
    layer = nn.GraphAttention(6, 3, heads=2, edge_dim=4, update_edges=True)
    edge_index = random_graph(8, 8, 20)
    found = attention_of(layer, torch.randn(8, 6), edge_index, torch.randn(25, 4))
    assert found[""].weights.shape == (25, 2)


def test_a_model_without_attention_is_named():
    with pytest.raises(ValueError, match="no layer of Linear gives attention weights"):
        attention_of(torch.nn.Linear(3, 3), torch.zeros(2, 3))


def test_a_layer_that_runs_twice_has_its_last_call():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.GraphAttention(6, 3, heads=2)

        def forward(self, x, edge_index):
            return self.layer(self.layer(x, edge_index), edge_index)

    torch.manual_seed(0)
    model, x, edge_index = Twice(), torch.randn(8, 6), random_graph(8, 8, 20)
    _, (_, wanted) = model.layer(model.layer(x, edge_index), edge_index, return_attention_weights=True)
    torch.testing.assert_close(attention_of(model, x, edge_index)["layer"].weights, wanted)


def test_layers_whose_heads_have_graphs_of_their_own():
    torch.manual_seed(0)
    graphs, x = PerHead([causal(5), CompleteGraph(5)]), torch.randn(5, 4)
    layer = nn.GraphAttention(4, 3, heads=2).eval()
    found = attention_of(layer, x, graphs)[""]
    _, (edges, weights) = layer(x, graphs, return_attention_weights=True)
    assert [pair.shape for pair in found.edge_index] == [(2, 15), (2, 25)]
    torch.testing.assert_close(found.edge_index, edges)
    torch.testing.assert_close(found.weights, weights)


def test_layers_that_are_left_out_are_said():
    metadata = ["a"], [("a", "to", "a")]

    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.typed = nn.GraphAttention(4, 4), nn.HeteroGraphAttention(4, 4, metadata)

        def forward(self, x, graph):
            return self.typed({"a": self.first(x, graph)}, {metadata[1][0]: graph})

    with pytest.warns(
        UserWarning, match="attention_of leaves out 'typed' .HeteroGraphAttention., whose weights are a dict"
    ):
        found = attention_of(Two(), torch.randn(3, 4), causal(3))
    assert list(found) == ["first"]


@pytest.mark.parametrize("model", [causal(3), None, nn.GraphAttention])
def test_only_modules_have_attention(model):
    with pytest.raises(TypeError, match="'model' must be a torch.nn.Module.*got"):
        attention_of(model, torch.randn(3, 8), causal(3))
