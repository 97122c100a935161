"""Attention on the bonds of a molecule."""

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch_geometric.data import Data

from graphattn.inputs.molecule import drawing_coordinates, import_rdkit, parse_smiles
from graphattn.viz.canvas import (
    add_colour_bar,
    check_nodes,
    finish,
    import_matplotlib,
    one_per_edge,
    open_axes,
    read_graph,
    scale_of,
    weight_colours,
    words_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GAP = 0.12  # Å between the lines of a double bond
COLOURS = {
    "O": "#c0392b",
    "N": "#2155b0",
    "S": "#9a7d0a",
    "F": "#1e8449",
    "Cl": "#1e8449",
    "Br": "#7b241c",
    "P": "#ca6f1e",
}


def draw_molecule(
    data: Data,
    weights: Tensor | None = None,
    *,
    labels: Sequence[str] | None = None,
    title: str | None = None,
    colour_bar: bool = True,
    vmax: float | None = None,
    ax: "Axes | None" = None,
    path: str | PathLike[str] | None = None,
) -> "Axes":
    """The structural formula; the half of a bond next to an atom shows how much that atom attends to the other one.

    Args:
        data: A Data of `graphattn.inputs.from_smiles`: smiles, graph. Hydrogens are drawn if they are nodes.
        weights: [num_edges] or [num_edges, heads], in the order of `data.graph.edge_index()`.
        labels: Names of the atoms in place of their element and charge.
        colour_bar, vmax, ax, path: As for `draw_mask`.

    Returns:
        The Axes.

    Raises:
        ImportError: without RDKit, which finds the places of the atoms.
    """
    molecule = atoms_of(data)
    check_nodes("labels", labels, data.num_nodes)
    places = drawing_coordinates(molecule).tolist()
    import_rdkit().Chem.Kekulize(molecule, clearAromaticFlags=True)  # single and double bonds, as chemists draw rings
    ax = open_axes(ax, (6.0, 4.8))
    graph = read_graph(data.graph)
    weights = one_per_edge(weights, graph)
    strength = {}
    if weights is not None:
        strength = {edge: float(w) for edge, w in zip(map(tuple, graph.edge_index("cpu").t().tolist()), weights)}
        scale = scale_of(weights, vmax)
        if colour_bar:
            add_colour_bar(ax, scale)
    halo = [import_matplotlib().patheffects.withStroke(linewidth=3, foreground="white")]  # to be seen on dark weights
    for bond in molecule.GetBonds():
        ends = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        for atom, other in (ends, ends[::-1]):
            if (other, atom) in strength:  # from the key, the other one, to the query
                share = min(1.0, float(scale(strength[other, atom])))
                style = {"color": weight_colours()(share), "linewidth": 4 + 8 * share}
                draw_half(ax, places[atom], places[other], solid_capstyle="butt", zorder=1, **style)
        for shift in shifts_of(bond):
            draw_bond(ax, places[ends[0]], places[ends[1]], shift, path_effects=halo)
    for index, (atom, place) in enumerate(zip(molecule.GetAtoms(), places)):
        name = name_of(atom) if labels is None else words_of(labels[index])
        circle = {"boxstyle": "circle,pad=0.18", "facecolor": "white", "edgecolor": "none"}
        ax.text(place[0], place[1], name, ha="center", va="center", fontsize=9, color=COLOURS.get(atom.GetSymbol(), "black"),
                bbox=circle, zorder=3, parse_math=False)  # fmt: skip
    ax.set_aspect("equal")
    ax.margins(0.12)
    ax.axis("off")
    return finish(ax, title, None, path)


def atoms_of(data: Data) -> Any:
    """The molecule of RDKit whose atoms are the nodes, with its hydrogens if these are nodes."""
    molecule = parse_smiles(data.smiles)
    if molecule.GetNumAtoms() != data.num_nodes:
        molecule = parse_smiles(data.smiles, hydrogens=True)
    if molecule.GetNumAtoms() != data.num_nodes:
        raise ValueError(f"'data' must have the atoms of its smiles {data.smiles!r} as nodes (got {data.num_nodes} nodes"
                         f" for {molecule.GetNumAtoms()} atoms)")  # fmt: skip
    return molecule


def shifts_of(bond: Any) -> tuple[float, ...]:
    """How far the lines of a bond lie beside the line between its atoms, in Å."""
    kind = str(bond.GetBondType())
    return {"DOUBLE": (-GAP, GAP), "TRIPLE": (-1.5 * GAP, 0.0, 1.5 * GAP)}.get(kind, (0.0,))


def name_of(atom: Any) -> str:
    """The element and charge of an atom as they are drawn: N, O⁻."""
    charge = atom.GetFormalCharge()
    sign = "⁺" if charge > 0 else "⁻"
    return atom.GetSymbol() + ("" if charge == 0 else sign * abs(charge))


def draw_half(ax: Any, start: Sequence[float], end: Sequence[float], **style: Any) -> None:
    """Draws a line from `start` to the middle between it and `end`."""
    ax.plot([start[0], (start[0] + end[0]) / 2], [start[1], (start[1] + end[1]) / 2], **style)


def draw_bond(ax: Any, start: Sequence[float], end: Sequence[float], shift: float, **style: Any) -> None:
    """Draws a line from `start` to `end`, moved `shift` to the left; beside another one it ends before the atoms' names."""
    across, up = end[0] - start[0], end[1] - start[1]
    length = max((across**2 + up**2) ** 0.5, 1e-9)
    right, over = -up / length * shift, across / length * shift
    near, far = (0.12, 0.88) if shift else (0.0, 1.0)
    points = [(start[0] + share * across + right, start[1] + share * up + over) for share in (near, far)]
    ax.plot(*zip(*points), color="0.25", linewidth=1.2, zorder=2, **style)
