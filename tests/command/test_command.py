"""The command line, in this process, and twice in one of its own."""

import csv
import re
import subprocess
import sys

import numpy as np
import pytest
import scipy.io.wavfile
import torch

from graphattn.command import explore, export, predict, train, why
from graphattn.command.data import open_dataset
from graphattn.command.main import COMMANDS, main, make_parser
from graphattn.command.network import read_network
from graphattn.inputs import from_text
from graphattn.recipes import GraphClassification, load
from graphattn.version import __version__
from tests.recipes import toys


def run(*words):
    return main([str(word) for word in words])


def fails(capsys, *words):
    """The message of a command that fails."""
    assert run(*words) == 1
    return capsys.readouterr().err


def predictions(capsys, *words):
    assert run("predict", *words) == 0
    return list(csv.reader(capsys.readouterr().out.splitlines()))


def write_csv(path, columns, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def network_file(path, **more):
    data = toys.network()
    arrays = {name: data[name].numpy() for name in ("x", "y", "edge_index", "train_mask", "val_mask", "test_mask")}
    np.savez(path, **arrays | more)
    return path


def test_texts(tmp_path, capsys):
    rows = [(" ".join(data.tokens), ["bad", "good"][data.y]) for data in toys.reviews(60)] + [("", "good")]
    path, model = write_csv(tmp_path / "reviews.csv", ("review", "stars"), rows), tmp_path / "model.pt"
    words = ("train", "--csv", path, "--text", "review", "--label", "stars", "--save", model, "--epochs", 2)
    assert run(*words, "--set", "channels=16", "--picture", tmp_path / "curve.png") == 0
    printed = capsys.readouterr()
    assert "sequence classification: 60 examples" in printed.out and f"saved: {model}" in printed.out
    assert "1 could not be read" in printed.err and "row 61: the text is empty" in printed.err
    assert load(model).recipe.channels == 16 and len(load(model).history) == 2
    assert (tmp_path / "curve.png").is_file()
    found = predictions(capsys, model, "the film was not good", "a bad song")
    assert found[0] == ["input", "predicted", "bad", "good"]
    assert [row[0] for row in found[1:]] == ["the film was not good", "a bad song"]
    assert {row[1] for row in found[1:]} <= {"bad", "good"} and float(found[1][2]) + float(
        found[1][3]
    ) == pytest.approx(1)
    assert run("predict", model, "--csv", path, "--out", tmp_path / "out.csv") == 1  # a row could not be read
    assert "row 61: the text is empty" in capsys.readouterr().err
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 61


def test_molecules(tmp_path, capsys):
    pytest.importorskip("rdkit")
    rows = [("C" * carbons + "O" * oxygens, carbons - 2 * oxygens) for carbons in range(1, 9) for oxygens in range(3)]
    path, model = write_csv(tmp_path / "molecules.csv", ("smiles", "y"), rows), tmp_path / "model.pt"
    words = ("train", "--csv", path, "--smiles", "smiles", "--target", "y", "--epochs", 2, "--save", model)
    assert run(*words, "--set", "channels=16", "--set", "blocks=1") == 0
    assert "graph regression: 24 examples" in capsys.readouterr().out
    found = predictions(capsys, model, "CCO", "CC")
    assert found[0] == ["input", "predicted"] and all(np.isfinite(float(row[1])) for row in found[1:])
    few = write_csv(tmp_path / "few.csv", ("smiles", "y"), rows[:8])
    assert "8 examples are too few" in fails(capsys, "train", "--csv", few, "--smiles", "smiles", "--target", "y")
    labelled = write_csv(tmp_path / "labelled.csv", ("smiles", "y"), [(smiles, "O" in smiles) for smiles, _ in rows])
    assert run("train", "--csv", labelled, "--smiles", "smiles", "--label", "y", "--epochs", 1) == 0
    assert "graph classification: 24 examples" in capsys.readouterr().out


def test_folders_of_sounds_and_images(tmp_path, capsys):
    image = pytest.importorskip("PIL.Image")
    for label in ("a", "b"):
        for kind in ("sounds", "images"):
            (tmp_path / kind / label).mkdir(parents=True)
        for number in range(12):
            samples = np.random.default_rng(number).integers(-9000, 9000, 1200).astype(np.int16) // (
                1 + (label == "b") * 8
            )
            scipy.io.wavfile.write(tmp_path / "sounds" / label / f"{number}.wav", 8000, samples)
            image.fromarray(np.full((9, 9), 200 * (label == "b"), np.uint8)).save(
                tmp_path / "images" / label / f"{number}.png"
            )
    quick = ("--epochs", 2, "--batch-size", 8, "--save", tmp_path / "model.pt")
    for kind, folder, file in (("wav", "sounds", "1.wav"), ("image", "images", "1.png")):
        assert run("train", f"--{kind}-folder", tmp_path / folder, "--side", 16, *quick) == 0
        assert "sequence classification: 24 examples" in capsys.readouterr().out
        found = predictions(capsys, tmp_path / "model.pt", tmp_path / folder / "a" / file)
        assert found[0] == ["input", "predicted", "a", "b"] and found[1][1] in "ab"
        assert "there is no file 'nowhere'" in fails(capsys, "predict", tmp_path / "model.pt", "nowhere")
    assert load(tmp_path / "model.pt").facts["source"] == {"kind": "image", "options": {"side": 16, "patch": 8}}


def test_networks(tmp_path, capsys):
    path, model = network_file(tmp_path / "network.npz"), tmp_path / "model.pt"
    assert run("train", "--npz", path, "--epochs", 5, "--save", model, "--seed", 3) == 0
    printed = capsys.readouterr().out
    assert "node classification: 120 nodes" in printed and "model transformer" in printed and "taken: " in printed
    assert load(model).seed == 3
    found = predictions(capsys, model, path)
    assert found[0] == ["input", "predicted", "0", "1", "2"] and [row[0] for row in found[1:]] == [
        str(i) for i in range(120)
    ]
    assert [int(row[1]) for row in found[1:]] == load(model).predict(toys.network()).labels
    only = ("train", "--npz", path, "--model", "gat", "--epochs", 2, "--split", 60, 20, 20, "--save", model)
    assert run(*only) == 0 and "model transformer" not in capsys.readouterr().out
    assert load(model).counts == {"train": 72, "validation": 24, "test": 24}


def test_networks_of_other_collections(tmp_path, capsys):
    data = toys.network()
    keep = data.edge_index[0] < data.edge_index[1]
    masks = {f"{name}_masks": torch.stack([data[f"{name}_mask"]] * 3).numpy() for name in ("train", "val", "test")}
    arrays = {
        "node_features": data.x.numpy(),
        "node_labels": data.y.numpy(),
        "edges": data.edge_index[:, keep].t().numpy(),
    }
    np.savez(tmp_path / "other.npz", names=np.array(["a", "b"]), **arrays, **masks)
    found = read_network(tmp_path / "other.npz")
    assert found.x.equal(data.x) and found.edge_index.equal(data.edge_index[:, keep])
    assert found.val_mask.equal(torch.stack([data.val_mask] * 3, 1))
    words = ("train", "--npz", tmp_path / "other.npz", "--model", "transformer", "--epochs", 1, "--split", 2)
    assert run(*words) == 0 and "edges are directed" in capsys.readouterr().err
    assert run(*words, "--undirected") == 0
    printed = capsys.readouterr()
    assert "edges are directed" not in printed.err and f"{data.num_edges:,} edges" in printed.out
    torch.save(data.to_dict(), tmp_path / "network.pt")
    assert read_network(tmp_path / "network.pt").edge_index.equal(data.edge_index)


def test_files_that_hold_no_network(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", x=np.ones((3, 2)))
    assert "it needs 'edge_index' or 'edges' (got ['x'])" in fails(capsys, "train", "--npz", tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", edges=np.ones((3, 3), dtype=int))
    assert "[2, num_edges] or [num_edges, 2] (got torch.int64 [3, 3])" in fails(
        capsys, "train", "--npz", tmp_path / "b.npz"
    )
    np.savez(tmp_path / "c.npz", edges=np.array([{}], dtype=object))
    assert "cannot be read as .npz" in fails(capsys, "train", "--npz", tmp_path / "c.npz")
    assert f"there is no file '{tmp_path / 'none.npz'}'" in fails(capsys, "train", "--npz", tmp_path / "none.npz")
    for name, match in (("y", "no labels"), ("test_mask", "--split 60 20 20")):
        path = network_file(tmp_path / "d.npz")
        arrays = {each: value for each, value in np.load(path).items() if each != name}
        np.savez(path, **arrays)
        assert match in fails(capsys, "train", "--npz", path)


def test_writing(tmp_path, capsys):
    path = write_csv(tmp_path / "words.csv", ("letters", "sounds"), toys.spellings(40))
    model, quick = tmp_path / "model.pt", ("--epochs", 1, "--set", "channels=16", "--set", "layers=1", "--save")
    assert run("train", "--csv", path, "--text", "letters", "--target", "sounds", *quick, model) == 0
    assert "sequence to sequence: 40 examples" in capsys.readouterr().out
    assert len(predictions(capsys, model, "shabe", "dash")) == 3
    assert len(predictions(capsys, model, "--csv", path)) == 41
    (tmp_path / "days.txt").write_text("\n".join(toys.countings(40)))
    assert run("train", "--text-file", tmp_path / "days.txt", *quick, model) == 0
    assert "language modeling: 40 examples" in capsys.readouterr().out
    assert predictions(capsys, model, "mon tue")[1][1].startswith("mon tue")


def test_an_interrupted_training_goes_on(tmp_path, capsys):
    path, model = network_file(tmp_path / "network.npz"), tmp_path / "model.pt"
    words = ("train", "--npz", path, "--epochs", 4, "--save", model)
    assert run(*words, "--minutes", 1e-9) == 0
    assert "the 1e-09 minutes are over after 1 epochs" in capsys.readouterr().out and not model.exists()
    assert run(*words, "--resume") == 0
    assert len(load(model).history) == 4 and load(model).facts["source"]["kind"] == "network"


def test_data_sets_of_pyg(tmp_path, capsys, monkeypatch):
    graphs, opened = toys.graphs(40), []
    monkeypatch.setattr("graphattn.command.data.open_dataset", lambda *words: opened.append(words) or graphs)
    assert run("train", "--tu", "MUTAG", "--epochs", 1, "--root", tmp_path) == 0
    assert "graph classification: 40 examples" in capsys.readouterr().out and opened == [
        ("TUDataset", "MUTAG", str(tmp_path))
    ]
    for data in graphs:
        data.y = data.y.float() + data.num_nodes
    assert run("train", "--pyg", "QM9", "--epochs", 1, "--set", "blocks=1", "--set", "channels=16") == 0
    assert "graph regression: 40 examples" in capsys.readouterr().out
    for data in graphs:
        data.y = torch.stack([data.y, data.y.cos()], 1)
    words = ("train", "--pyg", "QM9", "--epochs", 1, "--set", "blocks=1", "--set", "channels=16")
    assert "choose a column" in fails(capsys, *words)
    assert run(*words, "--y-column", 1) == 0
    assert "(got 2, and y of [1, 2])" in fails(capsys, *words, "--y-column", 2)


def test_classes_of_pyg(tmp_path, capsys):
    club = open_dataset("KarateClub", None, str(tmp_path))
    assert len(club) == 1 and club[0].num_nodes == 34
    with pytest.raises(ValueError, match=r"no class 'planet'; close to it: \['.*Planetoid"):
        open_dataset("planet", None, str(tmp_path))
    with pytest.raises(ValueError, match=r"Planetoid needs name \(got none\); --name"):
        open_dataset("Planetoid", None, str(tmp_path))
    assert "does not say which nodes are for training" in fails(capsys, "train", "--pyg", "KarateClub")


@pytest.mark.parametrize(
    "words, match",
    [
        ("--csv x.csv", "needs the column of the input.*x.csv has the columns \\['a', 'b'\\]"),
        ("--tu MUTAG --text a", "columns belong to --csv"),
        ("--csv x.csv --text a --wav b --label c", "needs the column of the input"),
        ("--csv x.csv --smiles a", "--label COL for classes, --target COL for numbers"),
        ("--csv x.csv --wav a --target b", "give --label for classes"),
        ("--csv none.csv --text a --label b", "there is no file 'none.csv'"),
        ("--csv x.csv --text c --label b", "has no column 'c'"),
        ("--csv x.csv --text a --label b --set chanels=3", "--set knows .* \\(got chanels\\)"),
        ("--csv x.csv --text a --label b --set channels", "--set needs OPTION=VALUE"),
        (
            "--csv x.csv --text a --label b --set dropout=much",
            "option 'dropout' needs a value of kind float \\| None \\(got 'much'\\)",
        ),
        ("--csv x.csv --text a --label b --epochs 0", "'epochs' must be 1 or more"),
        ("--csv x.csv --text a --label b --model gat", "--model is of networks"),
        ("--csv x.csv --text a --label b --measure rmse", "'measure' must be one of"),
        ("--csv x.csv --text a --label b --split half", "--split needs three shares"),
        ("--csv x.csv --text a --label b --split 50 50", "'split' must be three shares"),
        ("--csv x.csv --text a --label b --resume", "need a place"),
        ("--csv x.csv --text a --label b", "every class needs three examples"),
        ("--wav-folder none", "there is no folder 'none'"),
        (
            "--image-folder none --side 30",
            r"multiple of --patch, both 1 or more \(got 30 and 8\); give .* --side 24 --patch 8",
        ),
        ("--image-folder none --side 8 --patch 0", "both 1 or more"),
        ("--edges x.csv --label b", "--edges needs --nodes FILE"),
        ("--edges x.csv --nodes x.csv", "--label COL for classes, or --target COL"),
        ("--edges x.csv --nodes x.csv --text a --label b", "--label COL for classes, or --target COL"),
        ("--csv x.csv --nodes x.csv --text a --label b", "--edges FILE is missing \\(got --nodes"),
        ("--edges x.csv --nodes x.csv --label c", "has no column 'c'"),
    ],
)
def test_what_is_asked_for_wrongly(words, match, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "x.csv", ("a", "b"), [("a word", 1), ("two", 2)])
    assert re.search(match, fails(capsys, "train", *words.split()))


def test_options_reach_the_recipe():
    words = ["train", "--text-file", "x", "--epochs", "3"]
    more = ["--lr", "1", "--set", "clip=None", "--set", "channels=8", "--set", "least_steps=9"]
    (recipe,) = train.recipes_of(make_parser().parse_args(words + more), "language modeling")
    assert recipe.channels == 8 and recipe.schedule.clip is None and recipe.schedule.lr == 1
    assert recipe.schedule.epochs == 3 and recipe.schedule.least_steps == 9
    (recipe,) = train.recipes_of(make_parser().parse_args(words), "language modeling")
    assert recipe.schedule.least_steps == 0 and recipe.schedule.clip == 1.0
    assert len(train.recipes_of(make_parser().parse_args(words), "node classification")) == 2


def test_usage(capsys):
    assert main([]) == 2
    printed = capsys.readouterr()
    assert not printed.out and all(
        word in printed.err for word in ("usage: graphattn", "--help has examples", *COMMANDS)
    )
    for words in (
        ["fly"],
        ["train"],
        ["train", "--csv", "a", "--npz", "b"],
        ["train", "--npz", "a", "--epochs", "many"],
    ):
        with pytest.raises(SystemExit) as found:
            main(words)
        printed = capsys.readouterr().err
        assert found.value.code == 2 and "usage: graphattn" in printed
        assert f"graphattn{' train' if words[0] == 'train' else ''} --help" in printed
    with pytest.raises(SystemExit) as found:
        main(["--version"])
    assert found.value.code == 0 and capsys.readouterr().out == f"graphattn {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_and_exit_codes(name, capsys):
    with pytest.raises(SystemExit) as found:
        main([name, "--help"])
    printed = capsys.readouterr().out
    assert found.value.code == 0 and f"graphattn {name}" in printed.split("examples:")[1] and "exit codes" in printed


def test_interruption(monkeypatch, capsys):
    def stop(args):
        raise KeyboardInterrupt

    monkeypatch.setattr("graphattn.command.why.run", stop)
    assert run("why", "complete", 5) == 130 and "interrupted" in capsys.readouterr().err


def test_what_cannot_be_read_stops_nothing(tmp_path, capsys):
    rows = [(" ".join(data.tokens), ["bad", "good"][data.y]) for data in toys.reviews(60)]
    path, model = write_csv(tmp_path / "reviews.csv", ("review", "stars"), rows), tmp_path / "model.pt"
    assert run("train", "--csv", path, "--text", "review", "--label", "stars", "--save", model, "--epochs", 1) == 0
    capsys.readouterr()
    assert run("predict", model, "the film was good", "", "a bad song", " ") == 1
    printed = capsys.readouterr()
    assert [row.split(",")[0] for row in printed.out.splitlines()] == ["input", "the film was good", "a bad song"]
    assert "2 could not be read; each is not predicted:\n  '': 'text' has no tokens" in printed.err
    assert run("predict", model, "") == 1 and capsys.readouterr().out == ""


def test_examples_that_the_model_does_not_take_stop_nothing(tmp_path, capsys):
    model = tmp_path / "model.pt"
    trained = GraphClassification().scheduled(epochs=1).train(toys.graphs(), progress=False)
    trained.facts["source"] = {"kind": "graph"}
    trained.save(model)
    for name, width in (("a", 3), ("b", 2)):
        edges = toys.ring_or_star(True, 5)
        np.savez(tmp_path / f"{name}.npz", x=np.ones((5, width)), edge_index=edges, edge_attr=np.ones((10, 2)))
    assert run("predict", model, tmp_path / "b.npz", tmp_path / "a.npz") == 1
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 2 and printed.out.splitlines()[1].startswith(str(tmp_path / "a.npz"))
    assert "b.npz: the nodes need 3 features as those of other examples (got 2)" in printed.err


def tables(folder, **columns):
    """The toy network as two tables, with more columns."""
    data = toys.network()
    names = [f"n{node}" for node in range(data.num_nodes)]
    edges = [(names[key], names[query], 1) for key, query in data.edge_index.t().tolist()] + [("n0", "nobody", 1)]
    rows = [[*map(repr, x), names[node], *(column[node] for column in columns.values())]
            for node, x in enumerate(data.x.tolist())]  # fmt: skip
    header = [*(f"x{number}" for number in range(12)), "name", *columns]
    return (
        write_csv(folder / "edges.csv", ("from", "to", "length"), edges),
        write_csv(folder / "nodes.csv", header, rows),
    )


def test_networks_in_tables(tmp_path, capsys):
    pytest.importorskip("pandas")
    data, model = toys.network(), tmp_path / "model.pt"
    likes = [["tea", "coffee", "milk"][label] if node % 7 else "" for node, label in enumerate(data.y.tolist())]
    edges, nodes = tables(tmp_path, likes=likes)
    words = ("train", "--edges", edges, "--nodes", nodes, "--id", "name", "--split", 60, 20, 20, "--save", model)
    assert run(*words, "--label", "likes", "--epochs", 30, "--model", "transformer", "--set", "layers=2") == 0
    printed = capsys.readouterr()
    assert f"node classification: 120 nodes, {data.num_edges} edges" in printed.out
    assert "1 could not be read; each is left out:" in printed.err and "no node is called 'nobody'" in printed.err
    assert run("predict", model, edges, nodes) == 1  # the edge to nobody
    found = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert found[0] == ["input", "predicted", "coffee", "milk", "tea"] and found[8][0] == "n7"
    right = [row[1] == ["tea", "coffee", "milk"][label] for row, label in zip(found[1:], data.y.tolist(), strict=True)]
    assert np.mean(right) > 0.75
    alone = load(model).predict(data)
    assert alone.labels == [row[1] for row in found[1:]]
    for name in ("page.html", "weights.csv"):
        assert run("explore", model, tmp_path / name, edges, nodes) == 1  # the edge to nobody
    assert '"n7"' in (tmp_path / "page.html").read_text()
    weights = (tmp_path / "weights.csv").read_text().splitlines()
    assert weights[0].endswith("source_label,target_label") and re.search(r",n\d+,n\d+$", weights[1])
    assert f"there is no file '{tmp_path / 'none.npz'}'" in fails(capsys, "predict", model, tmp_path / "none.npz")
    given = edges, nodes, nodes
    wanted = f"the files of the edges and of the nodes (got {' '.join(map(str, given))})"
    assert wanted in fails(capsys, "predict", model, *given)


def test_numbers_of_nodes(tmp_path, capsys):
    levels, model = toys.levels(), tmp_path / "model.pt"
    cells = ["" if level != level else level for level in levels.y.tolist()]
    edges, nodes = tables(tmp_path, level=cells)
    words = ("train", "--edges", edges, "--nodes", nodes, "--id", "name", "--save", model, "--target", "level")
    quick = ("--epochs", 3, "--set", "layers=2", "--split", 60, 20, 20)
    assert run(*words, *quick) == 0
    printed = capsys.readouterr().out
    assert "node regression: 120 nodes" in printed and "best by validation rmse" in printed
    assert run("predict", model, edges, nodes) == 1
    assert float(capsys.readouterr().out.splitlines()[1].split(",")[1]) > 900
    path = network_file(tmp_path / "network.npz", y=levels.y.numpy() + 0.5)
    assert run("train", "--npz", path, "--model", "gat", *quick) == 0
    assert "node regression" in capsys.readouterr().out
    printed = fails(capsys, *words, *quick, "--features", "name")
    assert "row 1: 'name' is no number (got 'n0'), and 120 different words in 120 rows are no categories" in printed


def test_categories_of_nodes_are_the_same_in_predictions(tmp_path, capsys):
    (tmp_path / "later").mkdir()
    model, labels = tmp_path / "model.pt", ["ab"[node] for node in toys.network().y.clamp(max=1).tolist()]
    towns, floors = [["Rome", "Oslo"][label == "a"] for label in labels], [node % 3 for node in range(120)]
    edges, nodes = tables(tmp_path, town=towns, floor=floors, label=labels)
    words = ("train", "--edges", edges, "--nodes", nodes, "--id", "name", "--label", "label", "--split", 60, 20, 20)
    quick = ("--features", "town", "floor", "--model", "gat", "--epochs", 60, "--save", model)
    assert run(*words, *quick, "--categories", "floor") == 0
    printed = capsys.readouterr()
    assert "warning: the columns ['length'] of" in printed.err and "classes: 0 a (40), 1 b (80)" in printed.out
    assert load(model).facts["num_features"] == 5
    edges, others = tables(tmp_path / "later", town=["Rome", *towns[1:-1], "Bonn"], floor=["", *floors[1:]])
    assert run("predict", model, edges, nodes) == run("predict", model, edges, others) == 1  # the edge to nobody
    printed = capsys.readouterr()
    assert "1 categories of 'town' that the training data had not (got ['Bonn']" in printed.err
    first, second = (list(csv.reader(part.splitlines())) for part in printed.out.split("input,")[1:])
    same = [row[1] == other[1] == label for row, other, label in zip(first[1:], second[1:], labels, strict=True)]
    assert np.mean(same) > 0.9


def test_networks_without_features(tmp_path, capsys):
    model, path = tmp_path / "model.pt", tmp_path / "network.npz"
    data = toys.network()
    masks = {name: data[name].numpy() for name in ("train_mask", "val_mask", "test_mask")}
    np.savez(path, edge_index=data.edge_index.numpy(), Y=data.y.numpy(), **masks)
    assert run("train", "--npz", path, "--save", model, "--epochs", 1, "--model", "gat") == 0
    assert "the nodes have no features x; the logarithms" in capsys.readouterr().err
    degrees = torch.bincount(data.edge_index[1], minlength=120).float().log1p()
    data.x = torch.stack([degrees, degrees], 1)  # the edges go both ways
    found = [row[1] for row in predictions(capsys, model, path)[1:]]
    assert found == [str(label) for label in load(model).predict(data).labels]
    nodes = write_csv(tmp_path / "nodes.csv", ("id", "kind"), [(node, "ab"[node % 2]) for node in range(120)])
    edges = write_csv(tmp_path / "edges.csv", ("from", "to"), data.edge_index.t().tolist())
    words = ("--edges", edges, "--nodes", nodes, "--label", "kind", "--split", 60, 20, 20, "--epochs", 1)
    assert run("train", *words, "--model", "gat", "--save", model) == 0
    capsys.readouterr()
    assert len(predictions(capsys, model, edges, nodes)[1:]) == 120  # whose kinds are not read as features


@pytest.mark.parametrize("y, told", [([0.0, 1.0], True), ([0.0, 0.5], False)])
def test_labels_that_are_whole_numbers(y, told, tmp_path, capsys):
    labels = np.array(y)[toys.network().y.clamp(max=1).numpy()]
    labels[0] = np.nan
    quick = ("--epochs", 1, "--model", "gat", "--split", 60, 20, 20)
    path = network_file(tmp_path / "network.npz", y=labels)
    assert run("train", "--npz", path, *quick) == 0
    printed = capsys.readouterr()
    assert ("taken for classes; --task 'node regression'" in printed.err) == told
    assert ("node classification" if told else "node regression") in printed.out
    assert run("train", "--npz", path, *quick, "--task", "node regression") == 0
    printed = capsys.readouterr()
    assert "node regression" in printed.out and "taken for classes" not in printed.err


def test_files_of_other_kinds_than_networks(tmp_path, capsys):
    data, path = toys.network(), tmp_path / "network.pt"
    torch.save(data, path)
    assert "torch.save(data.to_dict(), path) writes one of a Data (" in fails(capsys, "train", "--npz", path)
    printed = fails(capsys, "train", "--npz", tables(tmp_path)[0])
    assert "it is no archive" in printed and "--edges and --nodes" in printed
    assert "torch.save did not write it" in fails(capsys, "predict", tables(tmp_path)[0], "a word")
    assert "objects of other kinds than tensors" in fails(capsys, "predict", path, "a word")
    arrays = {"x": data.x.numpy(), "edge_index": data.edge_index.numpy(), "names": np.array(["a", "b"])}
    np.savez(tmp_path / "words.npz", y=np.array(["a", "b", "c"])[data.y.numpy()], **arrays)
    assert "['y'] of" in fails(
        capsys, "train", "--npz", tmp_path / "words.npz"
    )  # names of something else are passed over


def test_texts_that_look_like_classes(tmp_path, capsys):
    rows = [(" ".join(data.tokens), ["bad", "good"][data.y]) for data in toys.reviews(20)]
    path = write_csv(tmp_path / "reviews.csv", ("review", "stars"), rows)
    words = ("train", "--csv", path, "--text", "review", "--target", "stars")
    printed = fails(capsys, *words)
    assert "2 different texts in 20 rows" in printed and "--label stars" in printed
    assert "--task 'sequence to sequence'" in printed
    quick = ("--epochs", 1, "--set", "channels=8", "--set", "layers=1", "--task", "sequence to sequence")
    assert run(*words, *quick) == 0
    assert "sequence to sequence: 20 examples" in capsys.readouterr().out


def test_what_is_told_of_texts(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [(" ".join(data.tokens), ["bad", "good"][data.y]) for data in toys.reviews(40)]
    write_csv(tmp_path / "reviews.csv", ("review", "stars"), [*rows, rows[0]])
    quick = ("--epochs", 1, "--set", "channels=8", "--save", "models and more/model.pt")
    assert run("train", "--csv", "reviews.csv", "--text", "review", "--label", "stars", *quick) == 0
    printed = capsys.readouterr()
    repeats = 41 - len({text for text, _ in rows})
    assert f"{repeats} of 41 rows repeat the 'review' of another one" in printed.err
    good = sum(label == "good" for _, label in [*rows, rows[0]])
    assert f"classes: 0 bad ({41 - good}), 1 good ({good})" in printed.out
    assert run("predict", "models and more/model.pt", "reviews.csv", "--out", "new folder/found.csv") == 0
    assert "'reviews.csv' is read as a text" in capsys.readouterr().err
    assert len((tmp_path / "new folder" / "found.csv").read_text().splitlines()) == 2


def test_texts_with_delimiters_are_left_out(tmp_path, capsys):
    (tmp_path / "lines.csv").write_text("text,\n" + "a b c a,\n" * 12 + "a, b, c,\n")
    assert run("train", "--csv", tmp_path / "lines.csv", "--text", "text", "--epochs", 1) == 0
    printed = capsys.readouterr()
    assert "language modeling: 12 examples" in printed.out and "row 13: it has more cells" in printed.err


def test_sounds_that_need_a_library_stop_no_others(tmp_path, capsys, monkeypatch):
    for label in ("a", "b"):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        for number in range(4):
            samples = np.random.default_rng(number).integers(-9000, 9000, 2400).astype(np.int16)
            scipy.io.wavfile.write(tmp_path / "sounds" / label / f"{number}.wav", 8000, samples)
    model, sound = tmp_path / "model.pt", tmp_path / "sounds" / "a" / "0.wav"
    assert run("train", "--wav-folder", tmp_path / "sounds", "--epochs", 1, "--save", model) == 0
    (tmp_path / "other.mp3").write_bytes(b"ID3 and so on")
    monkeypatch.setitem(sys.modules, "soundfile", None)  # as if it were not installed
    capsys.readouterr()
    assert run("predict", model, tmp_path / "other.mp3", sound) == 1
    printed = capsys.readouterr()
    assert "other.mp3" in printed.err and "graphattn[audio]" in printed.err
    assert len(printed.out.splitlines()) == 2


def test_sounds_of_several_rates(tmp_path, capsys):
    for label in ("a", "b"):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        for number in range(8):
            rate = 8000 if number else 16000
            samples = np.random.default_rng(number).integers(-9000, 9000, 2400).astype(np.int16)
            scipy.io.wavfile.write(tmp_path / "sounds" / label / f"{number}.wav", rate, samples)
    quick = ("train", "--wav-folder", tmp_path / "sounds", "--epochs", 1, "--save", tmp_path / "model.pt")
    assert run(*quick) == 1
    assert "--sample-rate" in capsys.readouterr().err
    assert run(*quick, "--sample-rate", 8000) == 0
    printed = capsys.readouterr()
    assert "16 examples" in printed.out and printed.err == ""
    assert load(tmp_path / "model.pt").facts["source"]["options"] == {"sample_rate": 8000}
    assert len(predictions(capsys, tmp_path / "model.pt", tmp_path / "sounds" / "a" / "0.wav")) == 2


@pytest.mark.parametrize("kind, hint", [("smiles", "give --target y"), ("text", "numbers are learned of --smiles")])
def test_labels_that_are_numbers(kind, hint, tmp_path, capsys):
    path = write_csv(tmp_path / "x.csv", ("a", "y"), [("C" * (1 + row % 9), row / 7) for row in range(60)])
    message = fails(capsys, "train", "--csv", path, f"--{kind}", "a", "--label", "y")
    assert "--label y has 60 different numbers in 60 rows" in message and hint in message


@pytest.fixture(scope="module")
def reviewer(tmp_path_factory):
    """A model of texts, saved by the command line."""
    folder = tmp_path_factory.mktemp("reviews")
    rows = [(" ".join(data.tokens), ["bad", "good"][data.y]) for data in toys.reviews(60)]
    path = write_csv(folder / "reviews.csv", ("review", "stars"), rows)
    assert (
        run("train", "--csv", path, "--text", "review", "--label", "stars", "--save", folder / "m.pt", "--epochs", 1)
        == 0
    )
    return folder / "m.pt"


def test_explore(reviewer, tmp_path, capsys):
    page = tmp_path / "new" / "page.html"
    assert run("explore", reviewer, page, "the film was good", "the song was bad", "--title", "my reviews") == 0
    assert f"written: {page}" in capsys.readouterr().out
    content = page.read_text()
    assert "my reviews" in content and '"film"' in content and '"song"' in content
    assert run("explore", reviewer, page, "the film was good", "") == 1
    assert "1 could not be read; each is left out" in capsys.readouterr().err and page.is_file()
    assert "there is nothing to be shown" in fails(capsys, "explore", reviewer, page, "")
    assert "must end with one of ['.html', '.csv'] (got 'page.pdf')" in fails(
        capsys, "explore", reviewer, "page.pdf", "a"
    )


def test_weights_as_a_table(reviewer, tmp_path, capsys):
    pandas = pytest.importorskip("pandas")
    assert run("explore", reviewer, tmp_path / "weights.csv", "the film was good", "a bad song") == 0
    table = pandas.read_csv(tmp_path / "weights.csv")
    columns = ["input", "layer", "head", "source", "target", "weight", "source_label", "target_label"]
    assert list(table.columns) == columns and set(table.input) == {"the film was good", "a bad song"}
    first = table[table.layer.str.contains("encoder")]
    assert first.groupby(["input", "layer", "head", "target"]).weight.sum().sub(1).abs().max() < 1e-5
    assert list(first[first.input == "a bad song"].source_label[:3]) == ["a", "bad", "song"]


def test_export(reviewer, tmp_path, capsys):
    arrays = tmp_path / "example.npz"
    assert run("export", reviewer, tmp_path / "model.pt2", "the film was good", "--inputs", arrays) == 0
    printed = capsys.readouterr().out
    assert "exported: " in printed and "takes edge_index: int64 [2, num_edges]" in printed and "bad, good" in printed
    program = torch.export.load(tmp_path / "model.pt2").module()
    found = program(*(torch.from_numpy(array) for array in np.load(arrays).values()))
    assert found.tolist() == pytest.approx(
        load(reviewer).predict(from_text("the film was good")).probabilities[0].tolist()
    )
    assert "'text' has no tokens" in fails(capsys, "export", reviewer, tmp_path / "model.pt2", "")
    assert "one example is needed (got 2)" in fails(capsys, "export", reviewer, tmp_path / "model.pt2", "a", "b")


def test_what_writes_is_not_explored(tmp_path, capsys):
    (tmp_path / "days.txt").write_text("\n".join(toys.countings(40)))
    model = tmp_path / "model.pt"
    assert (
        run("train", "--text-file", tmp_path / "days.txt", "--epochs", 1, "--set", "channels=16", "--save", model) == 0
    )
    assert "write step by step" in fails(capsys, "explore", model, tmp_path / "page.html", "mon tue")
    assert "writes step by step" in fails(capsys, "export", model, tmp_path / "model.pt2", "mon tue")


def test_why(tmp_path, capsys):
    for words, start in (
        ("complete 50", "CompleteGraph(50), 2,500 edges: "),
        ("complete 5,3 2,4", "CompleteGraph([5, 3], [2, 4]), 22 edges: "),
        ("causal 6,4", "BandedGraph([6, 4], before=5, after=0), 31 edges: "),
        ("banded 100 5", "BandedGraph(100, before=5, after=5), 1,070 edges: "),
        ("grid 4 5 1", "GridGraph((4, 5), before=1, after=1), 130 edges: "),
        ("edges 1000 5000 --edge-features 3", "EdgeListGraph(num_queries=1000, "),
    ):
        assert run("why", *words.split()) == 0
        assert capsys.readouterr().out.startswith(start)
    network_file(tmp_path / "a.npz")
    assert run("why", tmp_path / "a.npz", "--dtype", "float64", "--normalizer", "sparsemax") == 0
    printed = capsys.readouterr().out.splitlines()
    assert " runs" in printed[0] and all(line.startswith("  not ") for line in printed[1:]) and len(printed) > 3
    assert "write 'banded NODES BEFORE [AFTER]'" in fails(capsys, "why", "banded", 100)
    for kind in ("complete", "causal", "grid", "edges"):
        assert f"(got '{kind}': it has too few numbers, or too many)" in fails(capsys, "why", kind)
    assert "a graph is one of" in fails(capsys, "why", "square", 100)
    assert "'sdpa' runs complete and causal graphs" in fails(capsys, "why", "banded", 100, 5, "--kernel", "sdpa")


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there(device, tmp_path, capsys):
    write_csv(tmp_path / "x.csv", ("a", "b"), [("a word", 1), ("two", 2)] * 9)
    words = ("train", "--csv", tmp_path / "x.csv", "--text", "a", "--label", "b")
    for command in (("why", "complete", 50), words):
        assert f"torch has no device '{device}' here" in fails(capsys, *command, "--device", device)


def test_predict_says_what_it_needs(tmp_path, capsys):
    assert f"there is no file '{tmp_path / 'none.pt'}'" in fails(capsys, "predict", tmp_path / "none.pt", "a")
    assert "there is no file 'none.txt'" in fails(capsys, "train", "--text-file", "none.txt")
    model = tmp_path / "model.pt"
    GraphClassification().scheduled(epochs=1).train(toys.graphs(), save=model, progress=False)
    assert "does not say what raw input it reads" in fails(capsys, "predict", model, "a")
    trained = load(model)
    trained.facts["source"] = {"kind": "graph"}
    trained.save(model)
    assert "(got both or neither)" in fails(capsys, "predict", model)
    assert "a: there is no file 'a'" in fails(capsys, "predict", model, "a")
    graph = toys.graphs()[0]
    np.savez(tmp_path / "ring.npz", **{name: graph[name].numpy() for name in ("x", "edge_index", "edge_attr")})
    found = predictions(capsys, model, tmp_path / "ring.npz")
    assert found[0] == ["input", "predicted", "0", "1"] and int(found[1][1]) == trained.predict(graph).labels[0]


def test_in_a_process_of_its_own(tmp_path):
    """Away from the folder of the package: what `pip install` gives."""
    done = subprocess.run(
        [sys.executable, "-m", "graphattn", "why", "banded", "100", "5"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0 and "1,070 edges" in done.stdout, done.stderr
    done = subprocess.run(
        [sys.executable, "-m", "graphattn", "why", "moon"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr and "graphattn why: a graph is one of" in done.stderr


def test_every_example_of_the_help_is_read():
    """The words of the examples are those that the parser knows."""
    for module in (train, predict, explore, export, why):
        for line in module.EXAMPLES.partition("\n\n")[0].strip().splitlines():
            words = re.split(" {5,}", line.strip())[0].strip()
            words = re.sub('"[^"]*"', "x", words).split()[1:]
            assert make_parser().parse_args(words).command == words[0]
