"""Atoms and bonds against molecules written out by hand, and against PyG's own reader of SMILES."""

import builtins
import sys

import pytest
import torch
import torch_geometric.utils
from torch_geometric.loader import DataLoader

pytest.importorskip("rdkit")

from graphattn.inputs import from_smiles
from graphattn.inputs.molecule import ATOM_FEATURES, ELEMENTS

SMILES = [
    "CCO",
    "c1ccccc1",
    "OC(=O)c1ccccc1O",
    "C",
    "[Na+].[Cl-]",
    "C#N",
    "C[N+](=O)[O-]",
    "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
]


def columns(name, values):
    """One-hot rows of a feature by a loop; the last column is for other values."""
    choices = list(ATOM_FEATURES[name])
    return [[float(choice == value) for choice in choices] + [float(value not in choices)] for value in values]


@pytest.mark.parametrize(
    "name, smiles, values",
    [
        ("element", "OCCBr", ["O", "C", "C", "Br"]),
        ("element", "[Na+].[Cl-]", ["Na", "Cl"]),  # sodium has no column of its own
        ("degree", "CC(C)(C)O", [1, 4, 1, 1, 1]),
        ("degree", "FS(F)(F)(F)(F)F", [1, 6, 1, 1, 1, 1, 1]),
        ("charge", "C[N+](=O)[O-]", [0, 1, 0, -1]),
        ("charge", "[Ca+2]", [2]),
        ("hydrogens", "CCN", [3, 2, 2]),
        ("hydrogens", "C", [4]),
        ("hybridization", "CC=CC#N", ["SP3", "SP2", "SP2", "SP", "SP"]),
        ("aromatic", "Cc1ccccc1", [False] + [True] * 6),
    ],
)
def test_atom_features(name, smiles, values):
    assert from_smiles(smiles, features=[name]).x.tolist() == columns(name, values)


def test_features_are_side_by_side_in_the_order_given():
    both = from_smiles("CCO", features=["aromatic", "element"]).x
    assert both.tolist() == [a + e for a, e in zip(columns("aromatic", [False] * 3), columns("element", "CCO"))]
    everything = from_smiles("CCO").x
    assert everything.shape == (3, sum(len(choices) + 1 for choices in ATOM_FEATURES.values()))
    assert (everything.sum(1) == len(ATOM_FEATURES)).all()


def test_bonds_of_acetonitrile_and_benzene():
    data = from_smiles("CC#N")
    assert data.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    single, triple = [1.0, 0, 0, 0, 0, 0, 0], [0.0, 0, 1, 0, 0, 0, 0]
    assert data.edge_attr.tolist() == [single, single, triple, triple]
    # Aromatic, conjugated, in a ring.
    assert from_smiles("c1ccccc1").edge_attr.tolist() == [[0.0, 0, 0, 1, 0, 1, 1]] * 12


@pytest.mark.parametrize("smiles", SMILES)
@pytest.mark.parametrize("hydrogens", [False, True])
def test_bonds_equal_those_of_pyg(smiles, hydrogens):
    ours, theirs = (
        from_smiles(smiles, hydrogens=hydrogens),
        torch_geometric.utils.from_smiles(smiles, with_hydrogen=hydrogens),
    )
    order = (ours.edge_index[0] * ours.num_nodes + ours.edge_index[1]).argsort()
    assert torch.equal(ours.edge_index[:, order], theirs.edge_index.view(2, -1))
    assert torch.equal(ours.edge_attr[order, 5], theirs.edge_attr[:, 2].float())  # conjugated
    code = {1: 0, 2: 1, 3: 2, 12: 3}  # PyG's number of a bond type: our column
    assert ours.edge_attr[order, :5].argmax(1).tolist() == [code[number] for number in theirs.edge_attr[:, 0].tolist()]


@pytest.mark.parametrize("smiles", SMILES)
def test_graph_holds_the_bonds(smiles):
    data = from_smiles(smiles)
    assert torch.equal(data.graph.edge_index(), data.edge_index)
    assert data.graph.shape == (data.num_nodes, data.num_nodes) and data.graph.is_symmetric
    assert torch.equal(data.graph.mask(), data.graph.mask().T)


def test_single_atoms_have_no_bonds():
    data = from_smiles("[He]")
    assert data.x.shape[0] == 1 and data.edge_index.shape == (2, 0) and data.edge_attr.shape == (0, 7)
    assert data.graph.num_edges == 0 and data.graph.num_queries == 1


def test_hydrogens_as_nodes():
    data = from_smiles("C", hydrogens=True, features=["element"])
    assert data.x.tolist() == columns("element", "CHHHH") and data.graph.num_edges == 8
    assert from_smiles("C", hydrogens=True, features=["hydrogens"]).x.tolist() == columns("hydrogens", [4, 0, 0, 0, 0])


def test_coordinates():
    assert "pos" not in from_smiles("CCO")
    pos = from_smiles("CCO", coordinates=True).pos
    assert pos.shape == (3, 2) and pos.dtype == torch.float
    assert 1 < (pos[0] - pos[1]).norm() < 2 < (pos[0] - pos[2]).norm()  # bonds are drawn 1.5 Å long


def test_edge_index_can_stay_away():
    data = from_smiles("CCO", edge_index=False)
    assert "edge_index" not in data and data.edge_attr.shape == (data.graph.num_edges, 7)


@pytest.mark.parametrize(
    "smiles, reason",
    [
        ("C1CC", r"unclosed ring"),
        ("foo", "syntax error"),
        ("C(", "syntax error"),
        ("C(C)(C)(C)(C)C", r"Explicit valence for atom # 0 C, 5, is greater than permitted"),
        ("c1ccc1c", "non-ring atom 4 marked aromatic"),
    ],
)
def test_smiles_that_do_not_parse(smiles, reason, capfd):
    with pytest.raises(ValueError, match=reason) as error:
        from_smiles(smiles)
    assert repr(smiles) in str(error.value) and "\n" not in str(error.value)
    assert capfd.readouterr().err == ""  # the reason is in the error, not printed beside it


@pytest.mark.parametrize("text", ["ethanol", "CCO", "|$R1$|", "0.5 1", "{}"])
@pytest.mark.parametrize("space", [" ", "\t", "  ", "\n", "\x0b"])
def test_text_behind_a_smiles_is_refused(text, space):
    with pytest.raises(ValueError, match=r"has text behind the molecule \(got '.*'\); pass 'CCO' alone") as error:
        from_smiles(f"CCO{space}{text} ")
    assert repr(text) in str(error.value)


def test_spaces_around_a_smiles_say_nothing():
    for smiles in ("CCO", " CCO", "CCO\n", "\tCCO  "):
        assert torch.equal(from_smiles(smiles).x, from_smiles("CCO").x) and from_smiles(smiles).smiles == smiles


@pytest.mark.parametrize("smiles", ["[O−]", "CÇO", "C\u200bC", "C\ud800", "СС", "C\u00a0C", "CCO\0"])
def test_letters_beyond_ascii_are_refused(smiles):
    with pytest.raises(ValueError, match="does not parse: .* is no letter of SMILES"):
        from_smiles(smiles)


@pytest.mark.parametrize("smiles", [".", "C.", ".C", "C..C", "CCO>>CC", "CCO,5"])
def test_what_is_not_one_smiles_is_refused(smiles):
    with pytest.raises(ValueError, match="does not parse: .*syntax error"):
        from_smiles(smiles)


def test_bad_arguments():
    for empty in ("", "  ", "\n"):
        with pytest.raises(ValueError, match=r"'smiles' .* has no atoms"):
            from_smiles(empty)
    with pytest.raises(TypeError, match=r"'smiles' needs to be a str \(got list\)"):
        from_smiles(["C"])
    for features in (["colour"], [], "element"):
        with pytest.raises(ValueError, match=r"'features' needs to be a list with names among \['element'"):
            from_smiles("C", features=features)


def test_without_rdkit(monkeypatch):
    real_import = builtins.__import__

    def no_rdkit(name, *arguments, **options):
        if name.startswith("rdkit"):
            raise ImportError(name)
        return real_import(name, *arguments, **options)

    for name in [name for name in sys.modules if name.startswith("rdkit")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", no_rdkit)
    with pytest.raises(ImportError, match="pip install rdkit"):
        from_smiles("C")


def test_a_batch():
    batch = next(iter(DataLoader([from_smiles(smiles) for smiles in ("CC", "O", "C=O")], batch_size=3)))
    assert batch.edge_index.tolist() == [[0, 1, 3, 4], [1, 0, 4, 3]] and batch.edge_attr.shape == (4, 7)
    assert [graph.num_queries for graph in batch.graph] == [2, 1, 2] and batch.smiles == ["CC", "O", "C=O"]
    assert ELEMENTS[batch.x[2, : len(ELEMENTS)].argmax()] == "O"
