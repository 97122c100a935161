"""Molecules: atoms are the nodes and bonds the edges, both ways, read from SMILES by RDKit (extra 'molecules')."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import add_self_loops

from graphattn.graphs import EdgeListGraph
from graphattn.inputs.assemble import assemble

ELEMENTS = ("H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Br", "I")
ATOM_FEATURES = {  # name: the values that get a column each; the last column is for all other values
    "element": ELEMENTS,
    "degree": (0, 1, 2, 3, 4),
    "charge": (-1, 0, 1),
    "hydrogens": (0, 1, 2, 3),
    "hybridization": ("S", "SP", "SP2", "SP3"),
    "aromatic": (False,),
}
BOND_TYPES = ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC")


def from_smiles(
    smiles: str,
    features: Sequence[str] = tuple(ATOM_FEATURES),
    hydrogens: bool = False,
    coordinates: bool = False,
    edge_index: bool = True,
    self_loops: bool = False,
) -> Data:
    """A molecule as the graph of its bonds.

    | attribute  | shape   | meaning
    |------------|---------|--------
    | x          | [N, F]  | one-hot blocks, in the order of `features`, float32
    | edge_index | [2, E]  | every bond in both directions, one after the other
    | edge_attr  | [E, 7]  | bond type one-hot (5), conjugated, in a ring; in the order of edge_index
    | pos        | [N, 2]  | drawing coordinates, in Å, with coordinates=True; else absent
    | smiles     | str     | as given
    | graph      | N nodes | EdgeListGraph of edge_index

    | feature       | columns | one for each of
    |---------------|---------|----------------
    | element       | 13      | H, B, C, N, O, F, Si, P, S, Cl, Br, I, other
    | degree        | 6       | 0 .. 4 bonded atoms among the nodes, more
    | charge        | 4       | formal charge -1, 0, +1, other, in elementary charges
    | hydrogens     | 5       | 0 .. 3 hydrogens on the atom, more (whether or not they are nodes)
    | hybridization | 5       | s, sp, sp2, sp3, other
    | aromatic      | 2       | no, yes

    The bond types are single, double, triple, aromatic, other.

    Args:
        features: which blocks, any of the names above.
        hydrogens: make every hydrogen a node; otherwise only those that RDKit cannot leave out.
        coordinates: compute 2-D coordinates.
        edge_index: False leaves edge_index out; edge_attr is always in the order of graph.edge_index().
        self_loops: Add an edge from each atom to itself, behind the bonds and with attributes 0. Without them an atom sees its
            neighbours and not itself, as molecules have no such bonds.

    Raises ImportError without RDKit, ValueError with the parser's reason on a SMILES that does not parse, is empty, or has
    other text behind it.

    >>> data = from_smiles('CCO', features=['element'])  # ethanol
    >>> data.x.shape, data.edge_index.tolist()
    (torch.Size([3, 13]), [[0, 1, 1, 2], [1, 0, 2, 1]])
    """
    unknown = [name for name in features if name not in ATOM_FEATURES]
    if unknown or not features or isinstance(features, str):
        raise ValueError(f"'features' needs to be a list with names among {list(ATOM_FEATURES)} (got {features!r})")
    molecule = parse_smiles(smiles, hydrogens)
    x = torch.cat([atom_feature(molecule, name) for name in features], dim=1)
    edges, edge_attr = bonds(molecule)
    if self_loops:
        edges, edge_attr = add_self_loops(edges, edge_attr, 0.0, molecule.GetNumAtoms())
    graph = EdgeListGraph(edges, molecule.GetNumAtoms(), is_undirected=True)
    pos = drawing_coordinates(molecule) if coordinates else None
    return assemble(x, pos, graph, edge_index, edge_attr=edge_attr, smiles=smiles)


def import_rdkit() -> Any:
    try:
        import rdkit.Chem.AllChem
    except ImportError as error:
        raise ImportError("molecules are read by RDKit, which is not installed; run: pip install rdkit") from error
    return rdkit


def parse_smiles(smiles: str, hydrogens: bool = False) -> Any:
    """The rdkit.Chem.Mol of a SMILES, at least one atom.

    RDKit would drop what stands behind a space, such as a name; here only spaces at the ends are dropped.
    """
    if not isinstance(smiles, str):
        raise TypeError(f"'smiles' needs to be a str (got {type(smiles).__name__})")
    strange = [letter for letter in smiles if not (letter.isascii() and (letter.isprintable() or letter.isspace()))]
    if strange:
        raise ValueError(f"'smiles' {smiles!r} does not parse: {strange[0]!r} is no letter of SMILES")
    first, *rest = smiles.split(maxsplit=1) or [""]
    if rest:
        raise ValueError(
            f"'smiles' {smiles!r} has text behind the molecule (got {rest[0].rstrip()!r}); pass {first!r} alone"
        )
    rdkit = import_rdkit()
    molecule, messages = read_molecule(rdkit, first)
    if molecule is None:
        raise ValueError(f"'smiles' {smiles!r} does not parse: {parser_reason(messages)}")
    if molecule.GetNumAtoms() == 0:
        raise ValueError(f"'smiles' {smiles!r} has no atoms")
    return rdkit.Chem.AddHs(molecule) if hydrogens else molecule


def read_molecule(rdkit: Any, smiles: str) -> tuple[Any, str]:
    """The molecule or None, and what RDKit says of it, which is not printed."""
    if hasattr(rdkit.rdBase, "CaptureErrorLog"):
        with rdkit.rdBase.CaptureErrorLog() as log:
            return rdkit.Chem.MolFromSmiles(smiles), log.messages
    with logged_by_python(rdkit) as messages:  # versions before 2026.3
        return rdkit.Chem.MolFromSmiles(smiles), "\n".join(messages)


@contextmanager
def logged_by_python(rdkit: Any) -> Iterator[list[str]]:
    """Messages of RDKit, which it prints otherwise."""
    messages: list[str] = []
    logger, handler = logging.getLogger("rdkit"), logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    rdkit.rdBase.LogToPythonLogger()
    others, logger.handlers = logger.handlers, [handler]
    try:
        yield messages
    finally:
        logger.handlers = others
        rdkit.rdBase.LogToCppStreams()


def parser_reason(messages: str) -> str:
    """RDKit's messages on one line, without the time.

    >>> parser_reason("[08:09:42] SMILES Parse Error: unclosed ring for input: 'C1CC'")
    "unclosed ring for input: 'C1CC'"
    """
    lines = [line.partition("] ")[2].removeprefix("SMILES Parse Error: ") for line in messages.splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line.strip(" ~^"))) or "see RDKit's message"


def atom_feature(molecule: Any, name: str) -> Tensor:
    """One-hot [num_atoms, columns] of a feature."""
    read = {
        "element": lambda atom: atom.GetSymbol(),
        "degree": lambda atom: atom.GetDegree(),
        "charge": lambda atom: atom.GetFormalCharge(),
        "hydrogens": lambda atom: atom.GetTotalNumHs(includeNeighbors=True),
        "hybridization": lambda atom: str(atom.GetHybridization()),
        "aromatic": lambda atom: atom.GetIsAromatic(),
    }[name]
    return torch.stack([one_hot(read(atom), ATOM_FEATURES[name]) for atom in molecule.GetAtoms()])


def one_hot(value: object, choices: Sequence[Any]) -> Tensor:
    """Zeros with a one at the place of the value, the last place for a value that is not among the choices.

    >>> one_hot('N', ('C', 'N')), one_hot('U', ('C', 'N'))
    (tensor([0., 1., 0.]), tensor([0., 0., 1.]))
    """
    row = torch.zeros(len(choices) + 1)
    row[choices.index(value) if value in choices else -1] = 1
    return row


def bonds(molecule: Any) -> tuple[Tensor, Tensor]:
    """edge_index [2, 2 * bonds] with both directions of a bond side by side, and edge_attr [2 * bonds, 7]."""
    pairs, rows = [], []
    for bond in molecule.GetBonds():
        start, end = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        pairs += [(start, end), (end, start)]
        row = torch.cat(
            [
                one_hot(str(bond.GetBondType()), BOND_TYPES),
                torch.tensor([float(bond.GetIsConjugated()), float(bond.IsInRing())]),
            ]
        )
        rows += [row, row]
    edge_attr = torch.stack(rows) if rows else torch.zeros(0, len(BOND_TYPES) + 3)
    return torch.tensor(pairs, dtype=torch.long).view(-1, 2).T.contiguous(), edge_attr


def drawing_coordinates(molecule: Any) -> Tensor:
    """The places of the atoms in a flat drawing, [num_atoms, 2], in Å."""
    import_rdkit().Chem.AllChem.Compute2DCoords(molecule)
    return torch.from_numpy(molecule.GetConformer().GetPositions()[:, :2]).float()
