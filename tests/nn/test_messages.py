"""Explainers and hooks see PyG's messages on every drop-in, with the numbers that PyG's layers give them."""

import pytest
import torch
import torch_geometric.nn as pyg
from torch.nn import Linear, Module
from torch_geometric.explain import AttentionExplainer, Explainer, GNNExplainer

from graphattn.nn import GATConv, GATv2Conv, TransformerConv
from graphattn.nn.messages import needs_messages
from tests.nn.peer import assert_same_layers, molecule, random_graph, twins

PAIRS = {
    "transformer": (pyg.TransformerConv, TransformerConv),
    "gat": (pyg.GATConv, GATConv),
    "gatv2": (pyg.GATv2Conv, GATv2Conv),
}


class Net(Module):
    def __init__(self, layer):
        super().__init__()
        self.first, self.second = layer(6, 4, heads=2), layer(8, 3, heads=1)

    def forward(self, x, edge_index):
        return self.second(self.first(x, edge_index).relu(), edge_index)


def explanation(model, algorithm, data):
    config = {"mode": "multiclass_classification", "task_level": "node", "return_type": "raw"}
    options = {} if isinstance(algorithm, AttentionExplainer) else {"node_mask_type": "attributes"}
    explainer = Explainer(
        model, algorithm, explanation_type="model", edge_mask_type="object", model_config=config, **options
    )
    torch.manual_seed(1)
    return explainer(data.x, data.edge_index)


@pytest.mark.parametrize("make", [AttentionExplainer, lambda: GNNExplainer(epochs=5)], ids=["attention", "gnn"])
@pytest.mark.parametrize("kind", PAIRS)
def test_explainers_find_what_they_find_in_pyg(kind, make):
    torch.manual_seed(0)
    peer, own = (Net(layer).eval() for layer in PAIRS[kind])
    own.load_state_dict(peer.state_dict())
    data = molecule()
    before = own(data.x, data.edge_index)
    found, wanted = explanation(own, make(), data), explanation(peer, make(), data)
    assert wanted.edge_mask.any()
    torch.testing.assert_close(found.edge_mask, wanted.edge_mask, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(own(data.x, data.edge_index), before)
    assert not needs_messages(own.first)


@pytest.mark.parametrize("kind", PAIRS)
def test_hooks_run_and_change_nothing(kind):
    torch.manual_seed(0)
    peer, own = twins(*PAIRS[kind], 6, 4, heads=2, edge_dim=3)
    inputs = torch.randn(9, 6).double(), random_graph(9, 9, 20), torch.randn(25, 3).double()
    seen = []
    handles = [own.register_message_forward_hook(lambda module, inputs, out: seen.append(out))]
    handles += [own.register_propagate_forward_pre_hook(lambda module, inputs: seen.append(inputs))]
    assert_same_layers(peer, own, *inputs)
    assert len(seen) == 2
    assert getattr(own, "_alpha", None) is None  # PyG leaves the weights there on its way
    for handle in handles:
        handle.remove()
    own(*inputs)
    assert len(seen) == 2


def test_a_wrapped_edge_map_is_called():
    """Adapters put a module in its place, whose weight is not all there is."""

    class Wrapped(Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    torch.manual_seed(0)
    _, own = twins(pyg.GATConv, GATConv, 6, 4, edge_dim=3)
    inputs = torch.randn(9, 6).double(), random_graph(9, 9, 20), torch.randn(25, 3).double()
    weight = own.lin_edge.weight.detach()
    own.lin_edge = Wrapped(3, 4, bias=False).double()
    own.lin_edge.load_state_dict({"weight": weight})
    assert needs_messages(own)
    twice = own(*inputs)
    own.lin_edge = pyg.Linear(3, 4, bias=False).double()
    own.lin_edge.load_state_dict({"weight": 2 * weight})
    assert not needs_messages(own)
    torch.testing.assert_close(own(*inputs), twice)
