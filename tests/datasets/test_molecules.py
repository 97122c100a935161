"""ToyMolecules: formulas known by heart, labels against a search by loops, no molecule twice."""

import pytest
import torch
from torch_geometric.loader import DataLoader

Chem = pytest.importorskip("rdkit.Chem")

from graphattn.datasets.molecules import ToyMolecules, has_carboxyl, molecule_table  # noqa: E402

FORMULAS = {
    "aspirin": "C9H8O4",
    "caffeine": "C8H10N4O2",
    "glucose": "C6H12O6",
    "citric acid": "C6H8O7",
    "paracetamol": "C8H9NO2",
    "ibuprofen": "C13H18O2",
    "ascorbic acid": "C6H8O6",
    "tryptophan": "C11H12N2O2",
    "adrenaline": "C9H13NO3",
    "urea": "CH4N2O",
    "vanillin": "C8H8O3",
    "dopamine": "C8H11NO2",
    "resveratrol": "C14H12O3",
    "linalool": "C10H18O",
    "menadione": "C11H8O2",
    "taurine": "C2H7NO3S",
    "picric acid": "C6H3N3O7",
    "2,4-D": "C8H6Cl2O3",
    "procaine": "C13H20N2O2",
    "coumarin": "C9H6O2",
}


@pytest.fixture(scope="module")
def splits():
    return {split: ToyMolecules(split) for split in ("train", "test")}


def has_carboxyl_by_loops(data):
    """A carbon with a double bond to an oxygen and a single bond to another, or (in a ring) an aromatic one."""
    elements, carbon, oxygen = data.x.argmax(1).tolist(), 2, 4
    double, other = set(), set()
    for (source, target), bond in zip(data.edge_index.T.tolist(), data.edge_attr.tolist()):
        if elements[source] == oxygen and elements[target] == carbon:
            (double if bond[1] else other).add(target)
    return int(bool(double & other))


def test_formulas():
    from rdkit.Chem.rdMolDescriptors import CalcMolFormula

    table = dict(molecule_table())
    assert {name: CalcMolFormula(Chem.MolFromSmiles(table[name])) for name in FORMULAS} == FORMULAS


def test_no_molecule_twice():
    names, smiles = zip(*molecule_table())
    assert len(set(names)) == len({Chem.CanonSmiles(text) for text in smiles}) == len(names) == 188


def test_labels_equal_the_loop(splits):
    for dataset in splits.values():
        assert [data.y.item() for data in dataset] == [has_carboxyl_by_loops(data) for data in dataset]


@pytest.mark.parametrize(
    "smiles, label",
    [
        ("OC=O", True),
        ("O=c1ccc2ccccc2o1", True),
        ("COC(=O)OC", True),
        ("CC(N)=O", False),
        ("CC(=O)CO", False),
        ("C[N+](=O)[O-]", False),
        ("O=C=O", False),
    ],
)
def test_has_carboxyl(smiles, label):
    assert has_carboxyl(smiles) == label


def test_sizes_and_balance(splits):
    assert {split: len(dataset) for split, dataset in splits.items()} == {"train": 126, "test": 62}
    for dataset in splits.values():
        assert torch.bincount(dataset.y).tolist() == [len(dataset) // 2] * 2
    assert not {data.name for data in splits["train"]} & {data.name for data in splits["test"]}


def test_nodes_are_atoms(splits):
    data = next(data for data in splits["train"] if data.name == "acetic acid")
    assert data.smiles == "CC(=O)O" and data.x.shape == (4, 13) and data.graph.num_edges == 6
    assert torch.equal(data.graph.edge_index(), data.edge_index)
    assert ToyMolecules("test", features=("element", "aromatic"))[0].x.shape[1] == 15


def test_batches(splits):
    batch = next(iter(DataLoader(splits["test"], batch_size=8)))
    assert len(batch.graph) == 8 and batch.edge_attr.size(0) == batch.edge_index.size(1) == sum(
        g.num_edges for g in batch.graph
    )
    assert batch.name == [data.name for data in splits["test"][:8]]


def test_bad_split():
    with pytest.raises(ValueError, match=r"'split' needs to be 'train' or 'test' \(got 'valid'\)"):
        ToyMolecules("valid")
