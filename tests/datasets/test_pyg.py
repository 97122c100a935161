import io
import os
import pickle
import shutil
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric import datasets

from graphattn.datasets import HeterophilousGraphDataset, MoleculeNet, Planetoid, TUDataset, pyg

TRIANGLE_AND_PATH = {  # the text files of a TU data set; nodes and graphs count from 1
    "A": "1, 2\n2, 1\n2, 3\n3, 2\n1, 3\n3, 1\n4, 5\n5, 4\n",
    "graph_indicator": "1\n1\n1\n2\n2\n",
    "graph_labels": "1\n-1\n",
    "node_labels": "0\n1\n0\n1\n1\n",
    "edge_labels": "0\n0\n1\n1\n0\n0\n1\n1\n",
}


def digest(path):
    return sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def mutag(tmp_path, monkeypatch):
    """A MUTAG of two graphs; its raw folder."""
    raw = tmp_path / "MUTAG" / "raw"
    raw.mkdir(parents=True)
    for part, text in TRIANGLE_AND_PATH.items():
        (raw / f"MUTAG_{part}.txt").write_text(text)
    monkeypatch.setitem(pyg.TU, "MUTAG", {path.name: digest(path) for path in raw.iterdir()})
    return raw


def same(one, other):
    return all(
        one[key] is other[key] is None or torch.equal(one[key], other[key]) for key in {*one.keys(), *other.keys()}
    )


def test_the_numbers_are_those_of_pyg(mutag, tmp_path):
    shutil.copytree(tmp_path / "MUTAG", tmp_path / "pyg" / "MUTAG")
    ours, theirs = TUDataset(str(tmp_path), "MUTAG"), datasets.TUDataset(str(tmp_path / "pyg"), "MUTAG")
    assert len(ours) == len(theirs) == 2 and all(map(same, ours, theirs))
    assert isinstance(ours, datasets.TUDataset) and repr(ours) == repr(theirs) == "MUTAG(2)"
    assert all(map(same, datasets.TUDataset(str(tmp_path), "MUTAG"), theirs))  # PyG reads what is processed here


@pytest.mark.parametrize("part", TRIANGLE_AND_PATH)
def test_a_part_that_is_cut_short_is_refused(part, mutag, tmp_path):
    path = mutag / f"MUTAG_{part}.txt"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match=rf"'{path}' should have the sha256"):
        TUDataset(str(tmp_path), "MUTAG")


def test_a_part_that_is_missing_is_downloaded(mutag, tmp_path, serve):
    """PyG takes a set without it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("MUTAG/README.txt", "")
        for path in mutag.iterdir():
            archive.write(path, f"MUTAG/{path.name}")
    asked = serve({"MUTAG.zip": content.getvalue()})
    (mutag / "MUTAG_node_labels.txt").unlink()
    assert TUDataset(str(tmp_path), "MUTAG").num_features == 2
    assert asked == ["https://www.chrsmrrs.com/graphkerneldatasets/MUTAG.zip"]
    assert sorted(path.name for path in mutag.iterdir()) == sorted(pyg.TU["MUTAG"])


class Mark:
    """Leaves a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["Cora", "cora"])
def test_a_strange_file_is_never_unpickled(name, tmp_path):
    raw = tmp_path / name / "raw"
    raw.mkdir(parents=True)
    for part in pyg.PLANETOID["cora"]:
        (raw / part).write_bytes(pickle.dumps(Mark(tmp_path / "mark")))
    with pytest.raises(ValueError, match=r"ind\.cora\..*' should have the sha256"):
        Planetoid(str(tmp_path), name)
    assert not (tmp_path / "mark").exists()


def test_networks_of_unlike_neighbours(tmp_path, serve, monkeypatch):
    content, masks = io.BytesIO(), {f"{part}_masks": np.eye(3, dtype=bool) for part in ("train", "val", "test")}
    np.savez(content, node_features=np.eye(3), node_labels=np.arange(3), edges=np.array([[0, 1], [1, 2]]), **masks)
    monkeypatch.setitem(pyg.HETEROPHILOUS, "tolokers", {"tolokers.npz": sha256(content.getvalue()).hexdigest()})
    asked = serve({"tolokers.npz": content.getvalue()})
    data = HeterophilousGraphDataset(str(tmp_path), "Tolokers")[0]
    assert data.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]] and data.train_mask.shape == (3, 3)
    assert asked == ["https://github.com/yandex-research/heterophilous-graphs/raw/main/data/tolokers.npz"]
    path = tmp_path / "tolokers" / "raw" / "tolokers.npz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="should have the sha256"):
        HeterophilousGraphDataset(str(tmp_path), "Tolokers", force_reload=True)


def test_molecules(tmp_path, serve, monkeypatch):
    pytest.importorskip("rdkit")
    content = b"iupac,smiles,expt,calc\nethanol,CCO,-5.0,-4\nmethane,C,2.0,2\n"
    monkeypatch.setitem(pyg.MOLECULE_NET, "freesolv", {"SAMPL.csv": sha256(content).hexdigest()})
    asked = serve({"SAMPL.csv": content})
    dataset = MoleculeNet(str(tmp_path), "FreeSolv")
    assert dataset.y.flatten().tolist() == [-5.0, 2.0] and str(dataset) == "FreeSolv(2)"
    assert asked == ["https://deepchemdata.s3-us-west-1.amazonaws.com/datasets/SAMPL.csv"]
    (tmp_path / "freesolv" / "raw" / "SAMPL.csv").write_bytes(content.rpartition(b"methane")[0])
    with pytest.raises(ValueError, match="should have the sha256"):
        MoleculeNet(str(tmp_path), "FreeSolv", force_reload=True)


@pytest.mark.parametrize(
    ("dataset", "name", "options"),
    [
        (Planetoid, "PubMed", {}),
        (Planetoid, "Cora", {"split": "geom-gcn"}),
        (HeterophilousGraphDataset, "Roman-empire", {}),
        (TUDataset, "NCI1", {}),
        (TUDataset, "MUTAG", {"cleaned": True}),
        (MoleculeNet, "HIV", {}),
    ],
)
def test_sets_without_sums_are_refused(dataset, name, options, tmp_path):
    with pytest.raises(ValueError, match=r"sha256 of files are known of .* \(got .*torch_geometric.datasets"):
        dataset(str(tmp_path), name, **options)
    assert not list(tmp_path.iterdir())


def test_every_file_has_a_sum():
    tables = [sums for table in (pyg.PLANETOID, pyg.HETEROPHILOUS, pyg.TU, pyg.MOLECULE_NET) for sums in table.values()]
    assert len(tables) == 10
    assert all(
        len(each) == 64 and int(each, 16) for sums in tables for found in sums.values() for each in found.split()
    )


REAL = {"planetoid": (Planetoid, "Cora"), "tudataset": (TUDataset, "MUTAG"), "moleculenet": (MoleculeNet, "ESOL")}
REAL["heterophilous"] = HeterophilousGraphDataset, "Minesweeper"


@pytest.mark.parametrize("folder", REAL)
def test_the_sums_are_those_of_the_files(folder, tmp_path):
    dataset, name = REAL[folder]
    source = Path(os.environ.get("GRAPHATTN_DATA", "datasets"), folder)
    raw = source / (name if folder in ("planetoid", "tudataset") else name.lower()) / "raw"
    if not raw.exists():
        pytest.skip(f"{raw} is not there; GRAPHATTN_DATA names a folder of data sets")
    shutil.copytree(raw, tmp_path / raw.relative_to(source))
    assert len(dataset(str(tmp_path), name)) == len(getattr(datasets, dataset.__name__)(str(tmp_path), name))
