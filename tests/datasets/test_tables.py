"""A network in two CSV files."""

import warnings

import pytest
import torch

from graphattn.datasets import from_tables

pytestmark = pytest.mark.filterwarnings("ignore:the columns .* are not read")
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
        (EDGES, NODES, {"label": "likes"}, "row 2: 'level' is empty; features are numbers"),
        (EDGES, NODES.replace("41", "old"), {}, r"row 2: 'age' is no number \(got 'old'\) as 2 of its other cells are"),
        (EDGES, NODES.replace("cid,25", "cid,25,9"), {}, "row 3: it has more cells than the 4 columns"),
        (EDGES, NODES, {"features": ["age", "likes"], "label": "likes"}, r"among the features \(got \['likes'\]\)"),
        ("ann,bob\nbob,cid\n", NODES, {"features": ["age"]}, r"is an edge \(got \['ann', 'bob'\]\), not the names"),
        (EDGES, NODES + "ann,1,tea,1\n", {"features": ["age"]}, r"\['ann'\] twice or more in 'name'"),
        (EDGES, NODES + ",1,tea,1\n", {"features": ["age"]}, "row 4: 'name' is empty"),
        ("from,to\nx,y\n", NODES, {"features": ["age"]}, "no edge of .* is between nodes that have a row"),
        ("from\nann\n", NODES, {"features": ["age"]}, "needs two columns"),
    ],
)
def test_errors(edges, nodes, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        from_tables(*written(tmp_path, edges, nodes), **options)


def people(count, **columns):
    """A table of nodes, each column a function of the row."""
    rows = [",".join(str(cell(row)) for cell in columns.values()) for row in range(count)]
    return "\n".join([f"name,{','.join(columns)}", *(f"{row},{cells}" for row, cells in enumerate(rows))]) + "\n"


def test_categories_become_columns_of_ones_and_zeros(tmp_path):
    towns = ["Rome", "Oslo", "", "Rome"]
    nodes = people(4, town=towns.__getitem__, age=lambda row: 20 + row, floor=lambda row: row % 2)
    edges, nodes = written(tmp_path, "a,b\n0,1\n2,3\n", nodes)
    found = from_tables(edges, nodes, categories=["floor"])
    assert found.categories == {"town": ["Oslo", "Rome"], "floor": ["0", "1"]}
    assert found.data.x.tolist() == [[0, 1, 20, 1, 0], [1, 0, 21, 0, 1], [0, 0, 22, 1, 0], [0, 1, 23, 0, 1]]


def test_the_categories_of_a_trained_model(tmp_path):
    edges, nodes = written(tmp_path, "a,b\n0,1\n", people(2, town=["Kyiv", "Rome"].__getitem__))
    with pytest.warns(UserWarning, match=r"1 categories of 'town' that the training data had not \(got \['Kyiv'\]"):
        found = from_tables(edges, nodes, categories={"town": ["Oslo", "Rome"]})
    assert found.data.x.tolist() == [[0, 0], [0, 1]] and found.categories == {"town": ["Oslo", "Rome"]}


@pytest.mark.parametrize(
    "date", ["2024-03-{:02}", "{:02}.03.2024", "3/{}/24", "2024-03-{:02}T12:30:00", "2024/3/{} 9:00"]
)
def test_dates_are_no_categories(date, tmp_path):
    edges, nodes = written(tmp_path, "a,b\n0,1\n", people(6, born=lambda row: date.format(1 + row % 2)))
    with pytest.raises(ValueError, match="row 1: 'born' is a date .* days since"):
        from_tables(edges, nodes)


def test_words_that_do_not_come_again_are_no_categories(tmp_path):
    edges, nodes = written(tmp_path, "a,b\n0,1\n", people(90, mail=lambda row: f"{row % 31}@home"))
    with pytest.raises(ValueError, match="31 different words in 90 rows are no categories"):
        from_tables(edges, nodes)
    assert from_tables(edges, nodes, categories=["mail"]).data.x.sum(1).eq(1).all()


def test_networks_without_features_know_their_nodes(tmp_path):
    edges, nodes = written(tmp_path, "a,b\n0,1\n", people(5, kind="abaaa".__getitem__))
    found = from_tables(edges, nodes, label="kind")
    assert found.features == [] and from_tables(edges, nodes, features=found.features).data.x is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert found.data.num_nodes == 5 and found.data.x is None


def test_labels_that_are_missing_or_spelled_in_two_ways(tmp_path):
    edges, nodes = written(tmp_path, "a,b\n0,1\n", people(6, label=["1", "0", "1.0", "NaN", "0", ""].__getitem__))
    found = from_tables(edges, nodes, label="label")
    assert found.classes == ["0", "1"] and found.data.y.tolist() == [1, 0, 1, -1, 0, -1]


def test_columns_that_are_not_read_are_told(tmp_path):
    with pytest.warns(UserWarning, match=r"the columns \['years'\] of .* are not read"):
        from_tables(*written(tmp_path), features=["age"])
