"""The example through its own functions, on villages whose people rarely say where they live."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Data

NAME = "node_classification"


def load_example():
    spec = importlib.util.spec_from_file_location(NAME, Path(__file__).parents[2] / "examples" / f"{NAME}.py")
    sys.modules[NAME] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


example = load_example()
GAT = replace(example.RECIPES["Cora"], heads=2, hidden_channels=8, attention_dropout=0.2).scheduled(lr=0.02, epochs=40)
DEEP = replace(example.RECIPES["Minesweeper"], layers=2, hidden_channels=16).scheduled(epochs=60)


def villages(num_classes: int, size: int = 20, num_words: int = 60) -> Data:
    """Rings of `size` nodes with chords; a word of the village at every third node, nobody's words at the others."""
    edges, words = [], []
    for node in range(num_classes * size):
        first = node - node % size
        edges += [(node, first + (node - first + step) % size) for step in (1, 4, size - 1, size - 4)]
        words.append(node // size if node % 3 == 0 else num_classes + node % 7)
    x = torch.nn.functional.one_hot(torch.tensor(words), num_words).float()
    place = torch.arange(len(words)) % 4
    masks = {"train_mask": place < 2, "val_mask": place == 2, "test_mask": place == 3}
    return Data(x, torch.tensor(edges).t().contiguous(), y=torch.arange(len(words)) // size, **masks)


def many_splits(data: Data) -> Data:
    names = ("train_mask", "val_mask", "test_mask")
    masks = {name: torch.stack([data[name], data[name].roll(1)], dim=1) for name in names}
    return Data(data.x, data.edge_index, y=data.y, **masks)


@pytest.mark.parametrize("recipe", [GAT, DEEP], ids=["gat", "transformer"])
@pytest.mark.parametrize("num_classes", [2, 3])
def test_learns_from_neighbours(recipe, num_classes):
    figures = example.train(villages(num_classes), recipe, run=0).figures
    assert figures["test"]["accuracy"] > 0.9  # two thirds of the nodes say nothing themselves


@pytest.mark.parametrize("recipe", [GAT, DEEP], ids=["gat", "transformer"])
def test_test_nodes_have_no_say(recipe):
    data = villages(3)
    other = data.clone()
    other.y[data.test_mask] = other.y[data.test_mask].roll(7)
    first, second = (example.train(each, recipe.scheduled(epochs=20), run=1) for each in (data, other))
    assert first.epoch == second.epoch and first.figures["validation"] == second.figures["validation"]
    assert first.figures["test"] != second.figures["test"]
    columns = [name for name in first.history[0] if not name.startswith("test ")]
    assert [[epoch[name] for name in columns] for epoch in first.history] == [
        [epoch[name] for name in columns] for epoch in second.history
    ]


def test_patience_counts_from_the_epoch_of_the_lowest_validation_loss():
    trained = example.train(villages(2), GAT.scheduled(lr=1.0, epochs=200, patience=5), run=0)
    losses = [epoch["loss"] for epoch in trained.history]
    assert len(losses) == trained.epoch + 6 < 200 and losses[trained.epoch] == min(losses)


@pytest.mark.parametrize("recipe", [replace(GAT, score="gatv2"), DEEP], ids=["gat", "transformer"])
def test_pygs_layer_makes_the_same_model(recipe):
    data = villages(3)
    facts = recipe.read(data, 0, 0).facts
    x, graph = data.x, recipe.graph_of(data)
    ours, pygs = (replace(recipe, layer=layer).build(facts).eval() for layer in example.LAYERS)
    names = {"conv.lin_l": "lin_query", "conv.lin_r": "lin_query", "conv.att": "att"}
    names |= {f"conv.lin_{part}": f"lin_{part}" for part in ("query", "key", "value")}
    with torch.no_grad():
        for name, weight in pygs.named_parameters():
            for pyg, own in names.items():
                name = name.replace(pyg, own)
            if "conv." not in name:  # left: GATv2Conv's second bias, zero at first, and TransformerConv's unused skip
                weight.copy_(ours.get_parameter(name))
    torch.testing.assert_close(pygs(x, graph), ours(x, graph))


def test_pyg_has_no_such_layer():
    recipe = replace(GAT, layer="pyg")
    with pytest.raises(ValueError, match="no layer of score 'additive' with shared weights"):
        recipe.build({"num_features": 5, "classes": [0, 1]})


def test_finished_runs_are_not_repeated(tmp_path, monkeypatch):
    data, file, recipe = many_splits(villages(2)), tmp_path / "new" / "results.json", DEEP.scheduled(epochs=3)
    first = example.run_all("Minesweeper", data, recipe, 1, file)
    trained, train = [], example.train
    monkeypatch.setattr(example, "train", lambda *args: trained.append(args[2]) or train(*args))
    both = example.run_all("Minesweeper", data, recipe, 2, file)
    assert trained == [1]
    assert both == json.loads(file.read_text())
    assert both[0] == first[0]
    example.run_all("Minesweeper", data, recipe.scheduled(lr=0.1), 1, file)
    example.run_all("Tolokers", data, recipe, 1, file)
    assert trained == [1, 0, 0]


def test_an_interrupted_run_leaves_the_finished_ones(tmp_path, monkeypatch):
    data, file, recipe = villages(2), tmp_path / "results.json", DEEP.scheduled(epochs=2)
    train = example.train

    def interrupted(data, recipe, run):
        if run == 1:
            raise KeyboardInterrupt
        return train(data, recipe, run)

    monkeypatch.setattr(example, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        example.run_all("Minesweeper", data, recipe, 3, file)
    assert [record["run"] for record in json.loads(file.read_text())] == [0]


def test_attention_drawn_is_that_of_the_first_layer():
    data = villages(2)
    model, graph = DEEP.build({"num_features": data.num_features, "classes": [0, 1]}).eval(), DEEP.graph_of(data)
    edge_index, weights = example.attention_of(model, data.x, graph)
    hidden = model.norms[0](torch.nn.functional.gelu(model.embed(data.x)))
    _, (_, expected) = model.attentions[0](hidden, graph, return_attention_weights=True)
    torch.testing.assert_close(weights, expected.mean(dim=1))
    assert edge_index.equal(data.edge_index)


def test_a_name_outside_of_the_table_is_printed(capsys):
    record = {"test": 0.5, "cpu_seconds": 1.0, "seconds": 1.0, "history": [[1.0, 0.5, 0.5]]}
    example.print_table({"another": [record]})
    assert "another" in capsys.readouterr().out


def test_whole_program(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(example, "load", lambda name, root: villages(3))
    file = tmp_path / "results.json"
    arguments = f"--dataset Cora --seeds 2 --epochs 3 --heads 2 --score gatv2 --threads 1 --results {file}"
    monkeypatch.setattr(sys, "argv", ["node_classification", *arguments.split()])
    example.main()
    table = capsys.readouterr().out
    assert "83.0 ± 0.7 (Veličković et al. 2018)" in table
    tests = torch.tensor([record["test"] for record in json.loads(file.read_text())], dtype=torch.float64)
    assert f"{100 * tests.mean():.2f} ± {100 * tests.std(correction=0):.2f}" in table
    pictures = {picture.name: picture.stat().st_size for picture in tmp_path.glob("*.png")}
    assert set(pictures) == {"results_Cora_curves.png", "results_Cora_attention.png"}
    assert min(pictures.values()) > 10_000
    monkeypatch.setattr(sys, "argv", ["node_classification", *arguments.split(), "--layer", "pyg"])
    example.main()
    assert {record["recipe"]["layer"] for record in json.loads(file.read_text())} == {"graphattn", "pyg"}
