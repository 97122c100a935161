import pytest
import torch

pytest.importorskip("rdkit", reason="molecules are read by RDKit")

from graphattn.inputs import from_smiles
from graphattn.viz import draw_molecule


def test_half_of_a_bond_shows_what_the_atom_beside_it_gives():
    data = from_smiles("CO", coordinates=True)
    _, query = data.edge_index
    ax = draw_molecule(data, torch.where(query == 0, 0.2, 0.8))  # the carbon attends little, the oxygen much
    halves = [line for line in ax.lines if line.get_linewidth() > 2]
    widths = {tuple(round(float(x), 3) for x in (line.get_xdata()[0], line.get_ydata()[0])): line.get_linewidth()
              for line in halves}  # fmt: skip
    carbon, oxygen = (tuple(round(float(x), 3) for x in place) for place in data.pos)
    assert widths == {carbon: pytest.approx(6.0), oxygen: pytest.approx(12.0)}


def test_names_atoms_and_draws_double_bonds():
    ax = draw_molecule(from_smiles("C[N+](C)(C)CC(=O)[O-]"))
    assert [text.get_text() for text in ax.texts] == ["C", "N⁺", "C", "C", "C", "C", "O", "O⁻"]
    assert len(ax.lines) == 6 + 2  # six single bonds, both lines of a double one
    assert len(draw_molecule(from_smiles("c1ccccc1")).lines) == 3 + 6


def test_labels_stand_for_the_elements():
    ax = draw_molecule(from_smiles("CO"), labels=["first", "second"])
    assert [text.get_text() for text in ax.texts] == ["first", "second"]
    assert ax.texts[0].get_color() != ax.texts[1].get_color()  # still those of carbon and oxygen
    with pytest.raises(ValueError, match="one entry for each of 2 nodes .got 1."):
        draw_molecule(from_smiles("CO"), labels=["first"])


def test_hydrogens_are_drawn_where_they_are_nodes():
    assert len(draw_molecule(from_smiles("CO", hydrogens=True)).texts) == 6


def test_bad_input():
    data = from_smiles("CCO")
    data.smiles = "CC"
    with pytest.raises(ValueError, match="got 3 nodes for 8 atoms"):
        draw_molecule(data)
