import copy
import pickle

import pytest
import torch

from graphattn import EdgeListGraph, causal
from graphattn.nn import GraphAttention


class Doubled(GraphAttention):
    def message(self, value_j, alpha):
        return 2 * alpha.unsqueeze(-1) * value_j


def test_messages_are_taken_where_somebody_takes_part_in_them():
    layer, x = GraphAttention(5, 3, heads=2), torch.randn(6, 5)
    assert not layer.wants_messages() and not copy.deepcopy(layer).wants_messages()
    assert not pickle.loads(pickle.dumps(layer)).wants_messages()
    handle = layer.register_message_forward_hook(lambda *_: None)
    assert layer.wants_messages()
    handle.remove()
    assert not layer.wants_messages()
    layer.explain = True
    assert layer.wants_messages()
    doubled = Doubled(5, 3, heads=2)
    doubled.load_state_dict(layer.state_dict())
    layer.explain = False
    assert doubled.wants_messages()
    torch.testing.assert_close(doubled(x, causal(6)), 2 * layer(x, causal(6)))


def test_a_method_put_on_the_layer_is_called():
    layer, x = GraphAttention(5, 3, heads=2), torch.randn(6, 5)
    wanted = layer(x, causal(6))
    layer.message = lambda value_j, alpha, edge_attr: 3 * alpha.unsqueeze(-1) * value_j
    torch.testing.assert_close(layer(x, causal(6)), 3 * wanted)


def test_pygs_propagate_is_compiled_for_the_layer():
    """Its arguments are read from the class that calls it, wherever that is."""
    assert GraphAttention(5, 3).propagate.__globals__["__name__"] == "graphattn.nn.attention_GraphAttention_propagate"


def test_messages_run_from_keys_to_queries():
    layer = GraphAttention(5, 3)
    layer.flow = "target_to_source"
    with pytest.raises(ValueError, match="got flow='target_to_source'"):
        layer(torch.randn(4, 5), EdgeListGraph(torch.tensor([[0], [1]]), 4))
