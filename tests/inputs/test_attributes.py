"""Attributes as rows and as columns of one network are the same numbers."""

import networkx
import pytest
import torch
from torch_geometric.data import Data

from graphattn.inputs.attributes import Columns, Rows, attributes_of


def both():
    network = networkx.DiGraph()
    network.add_nodes_from((node, {"age": float(node), "place": [node, 1.0]}) for node in range(3))
    network.add_edges_from([(0, 1, {"length": 2.0}), (1, 2, {"length": 4.0})])
    place = torch.tensor([[0.0, 1], [1, 1], [2, 1]])
    data = Data(
        age=torch.arange(3.0), place=place, edge_index=torch.tensor([[0, 1], [1, 2]]), length=torch.tensor([2.0, 4])
    )
    data.num_nodes = 3
    return attributes_of(network), attributes_of(data)


def test_rows_and_columns():
    of_networkx, of_data = both()
    for rows, columns, names in zip(of_networkx, of_data, (["age", "place"], ["length"])):
        assert rows.names == columns.names == rows.telling == columns.telling == names
        assert torch.equal(rows.matrix(names), columns.matrix(names)) and rows.matrix(names).dtype == torch.float
        for attributes in (rows, columns):
            with pytest.raises(ValueError, match=r"no attribute \['colour'\]"):
                attributes.matrix([*names, "colour"])


@pytest.mark.parametrize(
    "attributes",
    [
        Rows("edge", [(0, 1), (1, 0)], [{"length": 1.0, "admittance": 2.0}, {"length": 1.0, "admittance": 1 + 2j}]),
        Columns("edge", {"length": torch.ones(2), "admittance": torch.tensor([2.0, 1 + 2j])}),
    ],
)
def test_complex_numbers_are_refused(attributes):
    """Their imaginary part would be lost."""
    with pytest.raises(TypeError, match=r"'admittance' of the edges needs real numbers \(got torch\.complex"):
        attributes.matrix(["length", "admittance"])


def test_ones_tell_nothing():
    assert Columns("edge", {"weight": torch.ones(3), "length": torch.tensor([1.0, 2, 1])}).telling == ["length"]
    with pytest.raises(ValueError, match="need to be finite"):
        Columns("edge", {"weight": torch.tensor([1.0, torch.nan])}).matrix(["weight"])


def test_what_has_none():
    for network in ([(0, 1)], torch.tensor([[0], [1]]), torch.ones(2, 2, dtype=torch.bool), networkx.DiGraph()):
        assert [attributes.names for attributes in attributes_of(network)] == [[], []]
