"""What recipes export says what they predict, of other examples than the one that it was traced with."""

import pytest
import torch

from graphattn import BandedGraph
from graphattn.inputs import from_image
from graphattn.recipes import SequenceClassification
from tests.recipes import toys
from tests.recipes.test_every_recipe import SMALL


def images(count=30):
    """Grids of different sides, a bright spot above or below."""
    found = []
    for number in range(count):
        pixels = torch.rand(6 + number % 3, 5 + number % 2, 1) / 4
        pixels[number % 2 * 4, number % 5] += 1
        data = from_image(pixels, channels="last", reach=2)
        data.y = torch.tensor([number % 2])
        found.append(data)
    return found


def numbers():
    """Nodes that differ: among equal ones nobody sees whom they attend to."""
    data = toys.numbers()
    for example in data:
        example.x = torch.randn(example.num_nodes, 2)
    return data


def sounds():
    """The fifth is shorter."""
    data = toys.sounds()
    data[4].x, data[4].graph = data[4].x[:11], BandedGraph(11, 20, 20)
    data[4].pos = data[4].pos[:11]
    return data


CASES = {name: SMALL[name] for name in ("nodes", "levels", "graphs", "texts", "tags", "tags, all words")}
CASES["numbers"] = (SMALL["numbers"][0], numbers)
CASES["sounds"] = (SMALL["sounds"][0], sounds)
CASES["images"] = (SequenceClassification(channels=16), images)


TOLD = {
    "images": (
        "takes x: float32 [num_nodes, 1]",
        "takes edge_index: int64 [2, num_edges]",
        "takes pos: int64 [num_nodes, 2]",
        "gives [2]",
    ),
    "graphs": (
        "takes x: float32 [num_nodes, 4]",
        "takes edge_index: int64 [2, num_edges]",
        "takes edge_attr: float32 [num_edges, 2]",
        "gives [2]",
    ),
    "levels": ("takes x: float32 [num_nodes, 12]", "takes edge_index: int64 [2, num_edges]", "gives [num_nodes]"),
}


def said(predicted):
    """Numbers of the one example that was predicted."""
    predicted = predicted[0] if isinstance(predicted, list) else predicted
    return predicted if isinstance(predicted, torch.Tensor) else predicted.probabilities


def trained(name):
    """Briefly; with weights of which none is the 0 that it starts from, which would tell nothing."""
    recipe, make = CASES[name]
    model = recipe.scheduled(epochs=1).train(make(), progress=False)
    with torch.no_grad():
        for weight in model.model.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return model


def smaller(name):
    """Two examples of different sizes, the first to be exported with."""
    data = CASES[name][1]()
    if not isinstance(data, list):
        return data, data.subgraph(torch.arange(50))
    return data[3], next(example for example in data[4:] if example.num_nodes != data[3].num_nodes)


def agrees(run, model, example):
    expected = said(model.predict(example))
    torch.testing.assert_close(run(*model.tensors(example).values()).view_as(expected), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_programs_of_torch(name, tmp_path):
    model, (example, other) = trained(name), smaller(name)
    exported = model.export(tmp_path / "model.pt2", example)
    assert exported.error < 1e-5 and list(exported.inputs) == list(model.tensors(other))
    program = torch.export.load(tmp_path / "model.pt2")
    assert not [node for node in program.graph.nodes if "graphattn" in str(node.target)]
    agrees(program.module(), model, example)
    agrees(program.module(), model, other)
    told = str(exported).splitlines()
    assert told[0].startswith(f"{tmp_path / 'model.pt2'}, compared with the model: ")
    assert told[1:] == [f"  {line}" for line in TOLD.get(name, [line.strip() for line in told[1:]])]


@pytest.mark.parametrize("name", ["numbers", "texts", "images"])
def test_onnx(name, tmp_path):
    pytest.importorskip("onnxscript", reason="needs graphattn[export]")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs graphattn[export]")
    model, (example, other) = trained(name), smaller(name)
    exported = model.export(tmp_path / "model.onnx", example)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    names = [given.name for given in session.get_inputs()]
    assert names == list(exported.inputs) and exported.error < 1e-5

    def run(*tensors):
        return torch.from_numpy(session.run(None, {name: x.numpy() for name, x in zip(names, tensors, strict=True)})[0])

    agrees(run, model, other)


def test_what_is_not_exported(tmp_path):
    model = trained("graphs")
    with pytest.raises(ValueError, match=r"ends with one of \['.onnx', '.pt2'\] \(got 'model.pt'\)"):
        model.export("model.pt", toys.graphs()[0])
    with pytest.raises(ValueError, match=r"one example is needed \(got 2\)"):
        model.export(tmp_path / "model.pt2", toys.graphs()[:2])
    for name in ("spellings", "days"):
        recipe, make = SMALL[name]
        writing = recipe.scheduled(epochs=1).train(make()[:30], progress=False)
        with pytest.raises(ValueError, match="writes step by step"):
            writing.export(tmp_path / "model.pt2", make()[0])


def test_a_program_that_says_something_else_is_refused(tmp_path, monkeypatch):
    model = trained("nodes")
    other = torch.export.export(Other(), tuple(model.tensors(toys.network()).values()))
    monkeypatch.setattr(torch.export, "load", lambda path: other)
    with pytest.raises(ValueError, match="says something else than the model"):
        model.export(tmp_path / "model.pt2", toys.network())


class Other(torch.nn.Module):
    def forward(self, x, edge_index):
        return x.new_full((x.size(0), 3), 7.0)
