"""The example through its own functions, on data of seconds: rings and stars, digits of two kinds."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Data

from graphattn.transforms import Edges
from tests.examples.digits import write_digits

NAME = "graph_classification"


def load_example():
    spec = importlib.util.spec_from_file_location(NAME, Path(__file__).parents[2] / "examples" / f"{NAME}.py")
    sys.modules[NAME] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


example = load_example()
QUICK = replace(example.RECIPES["PROTEINS"], channels=16, epochs=6, batch_size=8, learning_rate=1e-2, averaging=0.8)


def edges_of(kind, num_nodes):
    """Both directions of a ring (kind 0) or a star (kind 1)."""
    pairs = [(i, (i + 1) % num_nodes) if kind == 0 else (0, (i + 1) % num_nodes) for i in range(num_nodes)]
    return [edge for a, b in pairs if a != b for edge in ((a, b), (b, a))]


def rings_and_stars(num_graphs=60):
    graphs = []
    for number in range(num_graphs):
        kind, num_nodes = number % 2, 4 + number % 5
        edge_index = torch.tensor(edges_of(kind, num_nodes)).T
        x = torch.randn(num_nodes, 3, generator=torch.Generator().manual_seed(number))
        graphs.append(Edges()(Data(x, edge_index, y=torch.tensor([kind]))))
        graphs[-1].x = torch.cat([x, graphs[-1].graph.degrees()[:, None]], -1)
    return graphs


def write_tu_data(root, num_graphs=40):
    """Rings and stars in the text files of a TU data set, as MUTAG has them."""
    raw = root / "tudataset" / "MUTAG" / "raw"
    raw.mkdir(parents=True)
    lines = {part: [] for part in ("A", "graph_indicator", "graph_labels", "node_labels", "edge_labels")}
    first = 1  # nodes and graphs count from 1
    for number in range(num_graphs):
        kind, num_nodes = number % 2, 4 + number % 5
        edges = edges_of(kind, num_nodes)
        lines["A"] += [f"{a + first}, {b + first}" for a, b in edges]
        lines["edge_labels"] += [str((a + b) % 2) for a, b in edges]
        lines["graph_indicator"] += [str(number + 1)] * num_nodes
        lines["node_labels"] += [str(node % 3) for node in range(num_nodes)]
        lines["graph_labels"].append(str(2 * kind - 1))
        first += num_nodes
    for part, content in lines.items():
        (raw / f"MUTAG_{part}.txt").write_text("\n".join(content) + "\n")


def test_folds_share_no_graph_and_the_test_folds_cover_all():
    labels = torch.arange(100) % 2
    tests = []
    for fold in range(10):
        train, held_out, test = example.split(labels, fold, run=0)
        assert sorted(train + held_out + test) == list(range(100))
        assert (len(train), len(held_out), len(test)) == (81, 9, 10)
        assert labels[test].sum() == 5  # stratified
        tests += test
    assert sorted(tests) == list(range(100))


def test_a_run_changes_what_is_held_out_but_not_the_test_fold():
    labels = torch.arange(100) % 2
    (_, held_out, test), (_, other_held_out, other_test) = (example.split(labels, 3, run) for run in (0, 1))
    assert test == other_test and held_out != other_held_out


def test_features_are_standardised_by_the_training_graphs_alone():
    graphs = rings_and_stars(12)
    train = [0, 3, 4, 7, 8]
    graphs[1].x = graphs[1].x + 1000
    standardized = example.standardize(graphs, train)
    x = torch.cat([standardized[i].x for i in train])
    assert torch.allclose(x.mean(0), torch.zeros(4), atol=1e-5) and torch.allclose(x.std(0), torch.ones(4), atol=1e-5)
    assert (standardized[1].x == 5).all()
    assert (graphs[1].x > 900).any()  # the caller's graphs are as they were


def test_learns_rings_from_stars_without_looking_at_the_test_fold():
    torch.manual_seed(0)
    task = example.graph_task(rings_and_stars(), QUICK, fold=0, run=0)
    test, task.test = task.test, None
    best, curve = example.fit(task, QUICK, "rings and stars")
    assert len(curve) == QUICK.epochs
    assert example.accuracy(best, task.held_out) == max(curve)
    assert example.accuracy(best, test) >= 80


def test_the_best_epoch_is_kept_and_of_equals_the_last(monkeypatch):
    scores, seen = iter([50.0, 90.0, 90.0, 70.0]), []

    def scripted_accuracy(model, batches):
        seen.append(model.embed[0].weight.clone())
        return next(scores)

    monkeypatch.setattr(example, "accuracy", scripted_accuracy)
    task = example.graph_task(rings_and_stars(), QUICK, fold=0, run=0)
    best, curve = example.fit(task, replace(QUICK, epochs=4), "scripted")
    assert curve == [50.0, 90.0, 90.0, 70.0]
    assert [torch.equal(best.embed[0].weight, weight) for weight in seen] == [False, False, True, False]


def test_patches_are_windows_row_by_row():
    images = torch.randint(256, (2, 28, 28), dtype=torch.uint8)
    x = example.patches(images).view(2, 7, 7, 8, 8)
    for image, row, column in [(0, 0, 0), (1, 0, 6), (1, 3, 2), (0, 6, 6)]:
        for i, j in [(2, 2), (5, 3), (2, 5)]:
            pixel = images[image, 4 * row + i - 2, 4 * column + j - 2].item()
            assert x[image, row, column, i, j].item() == pytest.approx((pixel / 255 - 0.13) / 0.31, abs=1e-5)
    assert x[0, 0, 0, 0, 0].item() == pytest.approx(-0.13 / 0.31)  # the margin is paper


def test_shift_moves_every_image_whole():
    images = torch.zeros(64, 28, 28, dtype=torch.uint8)
    images[:, 10, 20] = 7
    shifted = example.shift(images)
    places = shifted.nonzero()
    assert shifted.shape == images.shape and len(places) == 64 and shifted.sum() == 64 * 7
    assert set(places[:, 1].tolist()) == set(range(8, 13)) and set(places[:, 2].tolist()) == set(range(18, 23))


@pytest.mark.parametrize("name", ["MUTAG", "MNIST"])
def test_runs_from_files_to_pictures_and_goes_on_where_it_stopped(name, tmp_path, monkeypatch):
    (write_tu_data if name == "MUTAG" else write_digits)(tmp_path)
    monkeypatch.setitem(example.RECIPES, name, replace(example.RECIPES[name], channels=16, batch_size=16))
    results = tmp_path / "results" / "found.json"
    paths = ["--root", str(tmp_path), "--results", str(results)]
    arguments = ["--dataset", name, *paths, "--epochs", "2", "--threads", "1"]
    found = example.main([*arguments, "--folds", "1", "--runs", "1"])
    assert 0 <= found[name][0][0]["test"] <= 100 and len(found[name][0][0]["held_out"]) == 2
    assert json.loads(results.read_text())[name]["0.0"] == found[name][0][0]
    pictures = {"found.png"} | ({"found_attention.png"} if name == "MNIST" else set())
    assert {path.name for path in results.parent.glob("*.png")} == pictures

    again = example.main([*arguments, "--folds", "1", "--runs", "2"])
    assert again[name][0][0] == found[name][0][0]  # kept, its seconds too
    assert len(again[name][0]) == 2

    arguments[arguments.index("--epochs") + 1] = "1"  # another recipe: nothing kept is used
    assert len(example.main([*arguments, "--folds", "1", "--runs", "1"])[name][0][0]["held_out"]) == 1
