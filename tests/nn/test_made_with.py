import copy
import inspect
import pickle

from graphattn.nn import GATConv, GraphAttention, RotaryPositions, TransformerConv
from graphattn.nn.made_with import made_with


def test_arguments_by_name():
    positions = RotaryPositions()
    layer = GraphAttention(8, 4, 2, positions=positions)
    assert made_with(layer) == {"in_channels": 8, "out_channels": 4, "heads": 2, "positions": positions}
    assert made_with(positions) == {}


def test_those_of_a_drop_in():
    assert made_with(GATConv(8, 4, heads=2, aggr="add")) == {
        "in_channels": 8,
        "out_channels": 4,
        "heads": 2,
        "aggr": "add",
    }


def test_a_subclass_does_not_know():
    class Own(TransformerConv):
        def __init__(self, size):
            super().__init__(size, size)

    assert made_with(Own(3)) is None


def test_layers_look_as_before():
    layer = GraphAttention(8, 4, positions=RotaryPositions())
    assert list(inspect.signature(GraphAttention).parameters)[:3] == ["in_channels", "out_channels", "heads"]
    assert [name for name, _ in layer.named_modules()].count("positions") == 1
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert made_with(other)["positions"] is other.positions is not layer.positions
