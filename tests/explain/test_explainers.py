"""PyG's Explainer on every layer: what it says follows from weights and gradients that come from the fused kernels."""

import pytest
import torch
from torch_geometric.data import HeteroData
from torch_geometric.explain import AttentionExplainer, CaptumExplainer, Explainer, GNNExplainer
from torch_geometric.nn import to_hetero

from graphattn import nn
from tests.nn.peer import molecule

CONFIG = {"mode": "regression", "task_level": "node", "return_type": "raw"}
KINDS = [("user", "buys", "item"), ("item", "like", "item"), ("item", "rev_buys", "user")]


class One(torch.nn.Module):
    """One layer, and a map of each node to a number."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.out = layer, torch.nn.Linear(6, 1)

    def forward(self, x, edge_index):
        return self.out(self.layer(x, edge_index))


LAYERS = {
    "GraphAttention": lambda: nn.GraphAttention(6, 3, heads=2),
    "gatv2, sink, gate": lambda: nn.GraphAttention(6, 3, heads=2, score="gatv2", sink=True, gate=True),
    "entmax, groups": lambda: nn.GraphAttention(6, 3, heads=2, kv_heads=1, normalizer="entmax15"),
    "talking heads": lambda: nn.GraphAttention(6, 3, heads=2, talking_heads=True),
    "EncoderLayer": lambda: nn.EncoderLayer(6, heads=2),
    "GraphTransformer": lambda: nn.GraphTransformer(6, num_layers=2, heads=2),
    "TransformerConv": lambda: nn.TransformerConv(6, 3, heads=2),
    "GATConv": lambda: nn.GATConv(6, 3, heads=2),
    "GATv2Conv": lambda: nn.GATv2Conv(6, 3, heads=2),
    "GPSConv": lambda: nn.GPSConv(6, nn.GATv2Conv(6, 3, heads=2), heads=2, norm=None),
}


def case(name):
    torch.manual_seed(0)
    model, data = One(LAYERS[name]()).eval(), molecule()
    return model, data.x, data.edge_index


def explain(model, algorithm, *given, node_mask="attributes", edge_mask="object", **options):
    explainer = Explainer(
        model,
        algorithm,
        explanation_type="model",
        node_mask_type=node_mask,
        edge_mask_type=edge_mask,
        model_config=CONFIG,
    )
    before = model(*given)
    explanation = explainer(*given, **options)
    after = model(*given)
    torch.testing.assert_close(after, before)
    return explanation


@pytest.mark.parametrize("name", LAYERS)
def test_attention_explainer_reads_the_weights(name):
    model, x, edge_index = case(name)
    found = explain(model, AttentionExplainer(), x, edge_index, node_mask=None).edge_mask
    assert found.shape == edge_index.shape[1:] and found.max() > 0
    if name in ("EncoderLayer", "GraphTransformer", "GPSConv"):
        return
    _, (_, weights) = model.layer(x, edge_index, return_attention_weights=True)
    torch.testing.assert_close(found, weights.amax(1)[: edge_index.size(1)])


@pytest.mark.parametrize("name", LAYERS)
def test_gnn_explainer_keeps_to_the_edges_that_matter(name):
    model, x, edge_index = case(name)
    index = int(edge_index[1, 0])
    explanation = explain(model, GNNExplainer(epochs=3), x, edge_index, index=index)
    into = edge_index[1] == index
    counted = into & (edge_index[0] != edge_index[1])  # GAT puts loops of its own in the place of those given
    assert explanation.edge_mask[counted].min() > 0 and explanation.node_mask.isfinite().all()
    if name not in ("GraphTransformer", "GPSConv"):  # which look further than one step
        assert explanation.edge_mask[~into].max() == 0


@pytest.mark.parametrize("method", ["Saliency", "InputXGradient"])
@pytest.mark.parametrize("name", LAYERS)
def test_captum_explainer_gives_the_gradients_of_the_kernels(name, method):
    pytest.importorskip("captum")
    model, x, edge_index = case(name)
    index = int(edge_index[1, 0])
    explanation = explain(model, CaptumExplainer(method), x, edge_index, index=index)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf, edge_index)[index, 0], leaf)
    wanted = gradient.abs() if method == "Saliency" else gradient * x
    torch.testing.assert_close(explanation.node_mask, wanted, rtol=1e-4, atol=1e-6)
    assert explanation.edge_mask.abs().max() > 0


def test_captum_explainer_weighs_an_edge_by_its_message():
    """The mask multiplies messages: d out / d mask = weight * value."""
    pytest.importorskip("captum")
    model, x, edge_index = case("GraphAttention")
    index = int(edge_index[1, 0])
    explanation = explain(model, CaptumExplainer("Saliency"), x, edge_index, index=index)
    _, (_, weights) = model.layer(x, edge_index, return_attention_weights=True)
    value = model.layer.lin_value(x).view(-1, 2, 3)
    messages = (weights[..., None] * value[edge_index[0]]).flatten(1) @ model.out.weight[0]
    wanted = torch.where(edge_index[1] == index, messages.abs(), 0.0)
    torch.testing.assert_close(explanation.edge_mask, wanted, rtol=1e-4, atol=1e-6)


def of_items(out, results):
    """A number for each item, in which all users have a part: explainers want every type of edges used."""
    return out(results["item"]) + out(results["user"]).mean()


class Typed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        metadata = ["user", "item"], KINDS
        self.layer, self.out = nn.HeteroGraphAttention(6, 3, metadata, heads=2), torch.nn.Linear(6, 1)

    def forward(self, x, edge_index):
        return of_items(self.out, self.layer(x, edge_index))


class OfItems(torch.nn.Module):
    """What `to_hetero` makes of a layer, with the items alone as its result."""

    def __init__(self, layer):
        super().__init__()
        self.model, self.out = to_hetero(layer, (["user", "item"], KINDS)), torch.nn.Linear(6, 1)

    def forward(self, x, edge_index):
        return of_items(self.out, self.model(x, edge_index))


class Plain(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.GraphAttention((6, 6), 3, heads=2)

    def forward(self, x, edge_index):
        return self.layer(x, edge_index)


TYPED = {"HeteroGraphAttention": Typed, "to_hetero": lambda: OfItems(Plain())}


def hetero_case(name):
    torch.manual_seed(0)
    data = HeteroData()
    data["user"].x, data["item"].x = torch.randn(4, 6), torch.randn(5, 6)
    for kind in KINDS:
        sizes = [data[kind[side]].num_nodes for side in (0, 2)]
        data[kind].edge_index = torch.stack([torch.randint(size, (9,)) for size in sizes])
    return TYPED[name]().eval(), data.x_dict, data.edge_index_dict


@pytest.mark.parametrize("name", TYPED)
def test_attention_explainer_on_typed_graphs(name):
    model, x, edge_index = hetero_case(name)
    found = explain(model, AttentionExplainer(), x, edge_index, node_mask=None)
    for kind in KINDS:
        assert found[kind].edge_mask.shape == (9,)
    if name == "HeteroGraphAttention":
        _, weights = model.layer(x, edge_index, return_attention_weights=True)
        for kind in KINDS:
            torch.testing.assert_close(found[kind].edge_mask, weights[kind][1].amax(1))


@pytest.mark.parametrize("name", TYPED)
def test_captum_explainer_on_typed_graphs(name):
    pytest.importorskip("captum")
    model, x, edge_index = hetero_case(name)
    # PyG squashes edge masks of typed graphs to sigmoid(1) where they should be 1: node masks are compared without them.
    explanation = explain(model, CaptumExplainer("Saliency"), x, edge_index, index=0, edge_mask=None)
    leaves = {kind: tensor.clone().requires_grad_() for kind, tensor in x.items()}
    gradients = torch.autograd.grad(model(leaves, edge_index)[0, 0], list(leaves.values()))
    for kind, gradient in zip(leaves, gradients):
        torch.testing.assert_close(explanation[kind].node_mask, gradient.abs(), rtol=1e-4, atol=1e-6)
    explanation = explain(model, CaptumExplainer("Saliency"), x, edge_index, index=0)
    into = edge_index[KINDS[0]][1] == 0
    mask = explanation[KINDS[0]].edge_mask
    assert mask[~into].abs().max() == 0 and (not into.any() or mask[into].abs().max() > 0)


@pytest.mark.parametrize("name", TYPED)
def test_gnn_explainer_on_typed_graphs(name):
    model, x, edge_index = hetero_case(name)
    explanation = explain(model, GNNExplainer(epochs=3), x, edge_index, index=0)
    into = edge_index[KINDS[1]][1] == 0
    mask = explanation[KINDS[1]].edge_mask
    assert mask[into].min() > 0 and mask[~into].max() == 0
