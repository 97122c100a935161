"""A network in two CSV files."""

import pytest
import torch

from graphattn.datasets import from_tables

EDGES = "from,to,years\nann,bob,3\n bob ,cid,1\ncid,ann,2\n"
NODES = "name,age,likes,level\nann,30,tea,1.5\nbob,41,,\ncid,25,coffee,2\n"


def written(folder, edges=EDGES, nodes=NODES):
    (folder / "edges.csv").write_text(edges)
    (folder / "nodes.csv").write_text(nodes)
    return folder / "edges.csv", folder / "nodes.csv"


def test_numbers(tmp_path):
    found = from_tables(*written(tmp_path), features=["age"], target="level")
    assert found.data.y.dtype == torch.float64 and found.data.y.isnan().tolist() == [False, True, False]
    assert found.data.x.tolist() == [[30], [41], [25]] and found.features == ["age"] and found.classes is None
    assert found.data.edge_index.tolist() == [[0, 1, 2], [1, 2, 0]] and found.failures == []


def test_names_in_another_column_and_order(tmp_path):
    nodes = "age;key;level\n1;cid;5\n2;ann;6\n3;bob;7\n"
    found = from_tables(*written(tmp_path, nodes=nodes), id="key")
    assert found.nodes == ["cid", "ann", "bob"] and found.features == ["age", "level"]
    assert found.data.edge_index.tolist() == [[1, 2, 0], [2, 0, 1]] and found.data.y is None


@pytest.mark.parametrize(
    "edges, nodes, options, message",
    [
        (EDGES, NODES, {"label": "likes", "target": "level"}, "'label' for classes or 'target' for numbers"),
        (EDGES, NODES, {"label": "dislikes"}, "has no column 'dislikes'"),
        (EDGES, NODES, {"label": "likes"}, r"row 2: 'level' is no number \(got ''\); features are numbers"),
        (EDGES, NODES, {}, "row 1: 'likes' is no number"),
        (EDGES, NODES + "ann,1,tea,1\n", {"features": ["age"]}, r"\['ann'\] twice or more in 'name'"),
        (EDGES, NODES + ",1,tea,1\n", {"features": ["age"]}, "row 4: 'name' is empty"),
        ("from,to\nx,y\n", NODES, {"features": ["age"]}, "no edge of .* is between nodes that have a row"),
        ("from\nann\n", NODES, {"features": ["age"]}, "needs two columns"),
    ],
)
def test_errors(edges, nodes, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        from_tables(*written(tmp_path, edges, nodes), **options)
