"""What an input looks like: for each kind, its nodes by name and what the page draws under the attention."""

import base64
from collections.abc import Sequence
from typing import Any, NamedTuple

import networkx
import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphattn.graphs import Graph, GridGraph
from graphattn.inputs.arrays import to_tensor
from graphattn.inputs.molecule import import_rdkit
from graphattn.viz.canvas import words_of
from graphattn.viz.explorer.layers import Distance
from graphattn.viz.image import to_pixels
from graphattn.viz.molecule import atoms_of
from graphattn.viz.sound import marks_in_hertz

KINDS = ("words", "writing", "image", "sound", "molecule", "network")
MOST_PIXELS = 512  # along one side; larger images are thinned
MOST_SECONDS = 30  # of a sound that can be played
PLAYED_RATE = 16_000  # Hz; recordings of more are thinned


class Drawing(NamedTuple):
    """How one input is drawn.

    Args:
        one, many: What a node is called: "word", "words".
        labels: Name of each node.
        shown: What the page draws, by kind.
        distance: How far apart nodes are; None where they lie in no order.
        unit: Of that distance.
    """

    one: str
    many: str
    labels: list[str]
    shown: dict[str, Any]
    distance: Distance | None = None
    unit: str = ""


def kind_of(data: Data) -> str:
    """The kind of input that a Data holds, by its attributes.

    >>> from graphattn.inputs import from_image, from_text
    >>> kind_of(from_text("a b")), kind_of(from_image(torch.rand(4, 4)))
    ('words', 'image')
    """
    if "smiles" in data:
        return "molecule"
    if sides_of(data) is not None:
        return "image"
    if "sample_rate" in data or "waveform" in data:
        return "sound"
    return "words" if "tokens" in data and not isinstance(data.tokens, Tensor) else "network"


def sides_of(data: Data) -> tuple[int, int] | None:
    """Rows and columns of the patches of an image."""
    graph = getattr(data, "graph", None)
    sides = getattr(data, "sides", None)
    if sides is None and isinstance(graph, GridGraph) and graph.num_examples == 1:
        sides = graph.key_sides[0]
    return (int(sides[0]), int(sides[1])) if sides is not None and len(sides) == 2 else None


def draw_input(kind: str, data: Data, labels: Sequence[str] | None, chosen: Tensor | None = None) -> Drawing:
    """The drawing of an input of this kind; names of the nodes go before those that it would have. Of a network it is that of
    the chosen nodes."""
    if kind == "network":
        drawing = network(data, chosen)
    else:
        drawing = {"image": image, "sound": sound, "molecule": molecule}.get(kind, words)(data)
    if labels is not None and len(labels) != len(drawing.labels):
        raise ValueError(f"'labels' must have one entry for each of {len(drawing.labels)} nodes (got {len(labels)})")
    return drawing if labels is None else drawing._replace(labels=[words_of(label) for label in labels])


def along_a_line(queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    return np.abs(queries - keys).astype(np.float64)


def words(data: Data) -> Drawing:
    names = data["tokens"] if "tokens" in data and not isinstance(data.tokens, Tensor) else range(data.num_nodes)
    shown = {"tags": [words_of(tag) for tag in data["tags"]]} if "tags" in data else {}
    return Drawing("word", "words", [words_of(name) for name in names], shown, along_a_line, "words")


def image(data: Data) -> Drawing:
    """Patches in C order, over the image itself (`data.image`) or, where that is missing, put together from its patches."""
    sides = sides_of(data)
    if sides is None:
        raise ValueError(f"an image needs data.sides, (rows, columns) of its patches (got {data})")
    rows, columns = sides
    pixels = to_pixels(data["image"]) if "image" in data else pixels_of_patches(data.x, rows, columns)
    if pixels.ndim == 2:  # as draw_image has it: the more, the darker
        pixels = np.repeat(1 - scaled(pixels)[:, :, None], 3, 2)
    thin = -(-max(pixels.shape[:2]) // MOST_PIXELS)
    colours = np.rint(pixels[::thin, ::thin] * 255).astype(np.uint8)
    labels = [f"row {row}, column {column}" for row in range(rows) for column in range(columns)]
    shown = {"rows": rows, "columns": columns, "height": colours.shape[0], "width": colours.shape[1],
             "pixels": base64.b64encode(colours.tobytes()).decode()}  # fmt: skip

    def distance(queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
        return np.hypot(queries // columns - keys // columns, queries % columns - keys % columns)

    return Drawing("patch", "patches", labels, shown, distance, "patches")


def scaled(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low if high > low else 1.0)


def pixels_of_patches(x: Tensor, rows: int, columns: int) -> np.ndarray:
    """The image [height, width] or [height, width, 3] of patches [rows * columns, channels * side * side], if they are
    square; of other features the mean of each patch."""
    values = x.detach().cpu().float()
    for channels in (1, 3):
        side = round((values.size(1) / channels) ** 0.5)
        if side * side * channels == values.size(1):
            patches = values.view(rows, columns, channels, side, side).permute(0, 3, 1, 4, 2)
            pixels = patches.reshape(rows * side, columns * side, channels).numpy()
            return pixels[:, :, 0] if channels == 1 else scaled(pixels)
    return values.mean(1).view(rows, columns).numpy()


def sound(data: Data) -> Drawing:
    """Frames in time, over their spectrogram; with `data.waveform` it can be heard."""
    x, seconds = data.x.detach().cpu().float(), data.pos.detach().cpu().flatten()
    rate = float(data["sample_rate"]) if "sample_rate" in data else None
    shown: dict[str, Any] = {
        "bands": x.size(1),
        "pixels": base64.b64encode(np.rint(scaled(x.numpy()) * 255).astype(np.uint8).tobytes()).decode(),
        "seconds": [round(float(second), 5) for second in seconds],
        "hertz": marks_in_hertz(x.size(1), rate) if rate else [],
    }
    if "waveform" in data and rate:
        shown["samples"] = samples_of(to_tensor("waveform", data["waveform"]), rate)
    labels = [f"{float(second):.3f} s" for second in seconds]
    step = float(seconds[1] - seconds[0]) if len(seconds) > 1 else 1.0
    return Drawing("frame", "frames", labels, shown, lambda queries, keys: step * np.abs(queries - keys), "s")


def samples_of(waveform: Tensor, rate: float) -> dict[str, Any]:
    """16-bit samples of one channel for the loudspeaker, thinned by a mean to at most 16 kHz."""
    mono = torch.atleast_2d(waveform.detach().cpu()).float().mean(0)
    thin = max(1, round(rate / PLAYED_RATE))
    mono = mono[: int(MOST_SECONDS * rate)]
    mono = mono[: len(mono) // thin * thin].view(-1, thin).mean(1)
    peak = max(1.0, float(mono.abs().max()) if len(mono) else 0.0)
    values = np.rint((mono / peak).numpy() * 32767).astype("<i2")
    return {"rate": rate / thin, "text": base64.b64encode(values.tobytes()).decode()}


def molecule(data: Data) -> Drawing:
    """Atoms and bonds as RDKit draws them, for light and for dark pages."""
    drawn = atoms_of(data)
    import_rdkit()  # says what to install where it is missing
    from rdkit.Chem.Draw import rdMolDraw2D as draw2d

    pictures, places = [], []
    for is_dark in (False, True):
        canvas = draw2d.MolDraw2DSVG(640, 440)
        options: Any = canvas.drawOptions()
        options.padding = 0.12
        if is_dark:
            draw2d.SetDarkMode(canvas)
        options.clearBackground = False
        draw2d.PrepareAndDrawMolecule(canvas, drawn)
        canvas.FinishDrawing()
        pictures.append(base64.b64encode(canvas.GetDrawingText().encode()).decode())
        places = [canvas.GetDrawCoords(atom) for atom in range(drawn.GetNumAtoms())]
    labels = [f"{atom.GetSymbol()}{atom.GetIdx()}" for atom in drawn.GetAtoms()]
    bonds = [sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())) for bond in drawn.GetBonds()]
    shown = {"width": 640, "height": 440, "pictures": pictures, "bonds": bonds,
             "places": [[round(place.x, 1), round(place.y, 1)] for place in places]}  # fmt: skip
    return Drawing("atom", "atoms", labels, shown)


def network(data: Data, chosen: Tensor | None) -> Drawing:
    """Nodes at `data.pos` if that is flat, else where a spring layout with a fixed seed puts them."""
    nodes = torch.arange(int(data.num_nodes)) if chosen is None else chosen
    pos = getattr(data, "pos", None)
    if isinstance(pos, Tensor) and pos.dim() == 2 and pos.size(1) == 2:
        places = pos.detach().cpu().double().numpy()[nodes.numpy()] * [1, -1]  # upwards, as in draw_network
    else:
        places = spring(edges_of(data), nodes)
    low, high = (places.min(0), places.max(0)) if len(places) else (np.zeros(2), np.ones(2))
    places = (places - low) / np.where(high > low, high - low, 1)
    names = data["labels"] if "labels" in data else range(int(data.num_nodes))
    shown: dict[str, Any] = {"places": np.round(places, 4).tolist()}
    classes = getattr(data, "y", None)
    if isinstance(classes, Tensor) and classes.shape == (data.num_nodes,) and not classes.is_floating_point():
        shown["classes"] = classes.cpu()[nodes].tolist()
    return Drawing("node", "nodes", [words_of(name) for name in names], shown)


def edges_of(data: Data) -> Tensor:
    graph = getattr(data, "graph", None)
    return graph.edge_index("cpu") if isinstance(graph, Graph) else data.edge_index.cpu()


def spring(edge_index: Tensor, nodes: Tensor) -> np.ndarray:
    """Places of some nodes, [len(nodes), 2], by the edges among them."""
    drawn = networkx.Graph()
    drawn.add_nodes_from(nodes.tolist())
    both = torch.isin(edge_index, nodes).all(0)
    drawn.add_edges_from((one, other) for one, other in edge_index[:, both].t().tolist() if one != other)
    iterations = 50 if len(nodes) <= 1000 else 15
    places = networkx.spring_layout(drawn, seed=0, k=2.5 / max(1, len(nodes)) ** 0.5, iterations=iterations)
    return np.array([places[node] for node in nodes.tolist()]).reshape(len(nodes), 2)
