import numpy as np
import pytest
import torch
from torch_geometric.loader import DataLoader

import graphattn.datasets.failures
import graphattn.inputs.conversion
from graphattn import BandedGraph, as_graph
from graphattn.inputs import from_image, from_smiles, from_text, to_graphs
from graphattn.nn import GraphAttention


class Pictures(torch.utils.data.Dataset):
    """(image, label), as torchvision's data sets give them."""

    def __init__(self, size, broken=()):
        self.size, self.broken = size, broken

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if index >= self.size:
            raise IndexError(index)
        if index in self.broken:
            raise OSError(f"cannot identify image file {index}")
        return torch.full((3, 6, 8), float(index)), index % 3


def numbers(graphs):
    return [int(data.place) for data in graphs]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_pairs(num_workers):
    graphs = to_graphs(Pictures(150), from_image, patch=2, num_workers=num_workers)
    assert numbers(graphs) == list(range(150)) and graphs.failed == []
    assert [data.y.tolist() for data in graphs[:4]] == [[0], [1], [2], [0]]
    assert all(bool((data.x == data.place).all()) and data.sides == (3, 4) for data in graphs)
    batch = next(iter(DataLoader(graphs, batch_size=10)))
    assert batch.place.tolist() == list(range(10))
    assert batch.y.shape == (10,) and as_graph(batch).num_examples == 10
    assert GraphAttention(12, 4)(batch.x, batch.graph).shape == (120, 4)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_what_failed_is_listed_with_the_reason(num_workers):
    with pytest.warns(
        UserWarning, match=r"2 of 80 examples could not be converted, the first of them at place 3: OSError"
    ):
        graphs = to_graphs(Pictures(80, broken=(3, 70)), from_image, num_workers=num_workers)
    assert [failure.place for failure in graphs.failed] == [3, 70] and graphs.failed[0].where == "place 3"
    assert graphs.failed[1].reason == "OSError: cannot identify image file 70"
    assert numbers(graphs) == [i for i in range(80) if i not in (3, 70)]
    assert [int(data.y) for data in graphs] == [i % 3 for i in numbers(graphs)]  # labels stay with their images


def test_rows():
    rows = [{"text": "a cat", "label": 1, "id": "x"}, {"text": "", "label": 0, "id": "y"}]
    with pytest.warns(UserWarning, match="1 of 2 examples"):
        (data,) = to_graphs(rows, from_text, x="text", y="label")
    assert data.tokens == ["a", "cat"] and data.y.tolist() == [1]
    (data,) = to_graphs(rows[:1], from_text, x="text")
    assert data.y is None
    with pytest.raises(
        ValueError, match=r"'x' must name the column of the input.*\(got columns \['text', 'label', 'id'\]\)"
    ):
        to_graphs(rows, from_text)


def test_a_data_set_of_hugging_face():
    hugging_face = pytest.importorskip("datasets", reason="pip install datasets")
    if not hasattr(hugging_face, "Dataset"):  # the folder of this repository, which has the same name
        pytest.skip("pip install datasets")
    pillow = pytest.importorskip("PIL.Image")
    images = [pillow.fromarray(np.full((4, 6, 3), shade, np.uint8)) for shade in (0, 9)]
    features = hugging_face.Features(
        {"image": hugging_face.Image(), "label": hugging_face.ClassLabel(names=["a", "b"])}
    )
    dataset = hugging_face.Dataset.from_dict({"image": images, "label": [1, 0]}, features=features)
    graphs = to_graphs(dataset, from_image, x="image", y="label")
    assert [data.sides for data in graphs] == [(4, 6)] * 2 and [data.y.tolist() for data in graphs] == [[1], [0]]
    assert graphs[1].x.shape == (24, 3) and bool((graphs[1].x == 9).all())
    assert len(to_graphs(dataset.to_iterable_dataset(), from_image, x="image", y="label")) == 2


def test_inputs_alone_and_generators():
    assert [data.num_nodes for data in to_graphs(["a b", "c"], from_text)] == [2, 1]
    assert [data.num_nodes for data in to_graphs((text for text in ["a b", "c"]), from_text)] == [2, 1]
    assert numbers(to_graphs([], from_text)) == []


def test_labels():
    examples = [("a", 0.5), ("b", np.array([1, 2])), ("c", "a word"), ("d", torch.ones(3)), ("e", None)]
    labels = [data.y for data in to_graphs(examples, from_text)]
    assert labels[0].tolist() == [0.5] and labels[1].shape == (1, 2) and labels[2] == "a word"
    assert labels[3].shape == (1, 3) and labels[4] is None
    swapped = to_graphs([(7, "a b")], from_text, x=1, y=0)
    assert swapped[0].tokens == ["a", "b"] and swapped[0].y.tolist() == [7]


def test_a_label_that_is_nan_is_no_label():
    nan = float("nan")
    examples = [("a", 1.0), ("b", nan), ("c", torch.tensor([nan, 1.0])), ("d", np.float64("nan")), ("e", [nan, nan])]
    with pytest.warns(UserWarning, match="3 of 5 examples .* at place 1: ValueError: its label is nan"):
        graphs = to_graphs(examples, from_text)
    assert numbers(graphs) == [0, 2] and [failure.place for failure in graphs.failed] == [1, 3, 4]


def test_failures_are_of_one_kind():
    assert graphattn.datasets.failures.Failure is graphattn.inputs.conversion.Failure


def test_options_go_to_the_conversion():
    (data,) = to_graphs([(torch.zeros(4, 4, 4, 3), 1)], from_image, axes=3, reach=2, channels="last")
    assert data.sides == (4, 4, 4) and data.x.shape == (64, 3)
    (data,) = to_graphs(["a b c"], from_text, graph=lambda n: BandedGraph(n, 1, 0))
    assert data.graph == BandedGraph(3, 1, 0)


def test_errors():
    with pytest.raises(ValueError, match=r"1 of 1 examples could not be converted.*place 0: ValueError: "):
        to_graphs(["C(("], from_smiles)
    with pytest.raises(ValueError, match="place 0: TypeError: 'convert' must give a Data"):
        to_graphs(["a"], str.upper)
    with pytest.raises(
        ValueError, match=r"'num_workers' needs a data set with a length.*got generator.*list\(dataset\)"
    ):
        to_graphs((text for text in "ab"), from_text, num_workers=2)
    with pytest.raises(ValueError, match="'x' and 'y' are of rows and tuples"):
        to_graphs(["a"], from_text, y=1)


def test_a_bar_if_asked_for(capsys):
    pytest.importorskip("tqdm")
    to_graphs(["a", "b"], from_text, progress=True)
    assert "2/2" in capsys.readouterr().err
    to_graphs(["a", "b"], from_text)
    assert capsys.readouterr().err == ""
