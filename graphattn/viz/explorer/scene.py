"""explore: a model, an input, a page."""

import warnings
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module
from torch_geometric.data import Data

from graphattn.graphs import EdgeListGraph, as_graph
from graphattn.graphs.sizes import parse_integer
from graphattn.nn.next_token import NextTokenModel
from graphattn.viz.canvas import words_of
from graphattn.viz.explorer.calls import Arguments, Call, arguments_for, heads_of, run
from graphattn.viz.explorer.drawings import KINDS, Drawing, draw_input, kind_of
from graphattn.viz.explorer.layers import Distance, among, rollout_of, write_layer
from graphattn.viz.explorer.masks import rows_of
from graphattn.viz.explorer.page import Page
from graphattn.viz.explorer.predictions import predictions_of
from graphattn.viz.sample import sample_nearby


class Options(NamedTuple):
    """What `explore` was told, for one input."""

    arguments: Arguments
    kind: str | None
    labels: Sequence[str] | None
    classes: Sequence[str] | None
    max_nodes: int
    max_weights: int


def explore(
    model: Module | Mapping[str, Module],
    data: Data | Mapping[str, Data],
    path: str | PathLike[str] | None = None,
    *,
    args: Arguments = None,
    kind: str | None = None,
    labels: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    title: str | None = None,
    max_nodes: int = 4000,
    max_weights: int = 4_000_000,
) -> Page:
    """A page on which a person points at a word, frame, patch, atom or node and sees whom it attends to, in every head.

    One HTML file that runs in any browser from the disk and asks nothing of any server. What a node may not see is told from what
    it may see and does not; heads, models and inputs are compared by their difference.

    Args:
        model: The model, or several by name, to be compared.
        data: A Data as `graphattn.inputs` makes it, or several by name. Beside x, graph or edge_index, edge_attr, pos and y the
            page reads: tokens and tags (a note under each); source_tokens, where the model reads one sequence and writes another;
            prompt, the number of words given, where it writes the others; image, the pixels, else patches are put together;
            waveform with sample_rate, in Hz, to be heard; smiles; labels of the nodes of a network.
        path: File to save the page as.
        args: What the model is called with, a tuple or a function of the Data. By default a model whose forward takes one thing
            gets a batch of one Data; else each parameter gets the attribute of its name, `x` standing for tokens.
        kind: 'words', 'writing', 'image', 'sound', 'molecule' or 'network', where the attributes do not tell.
        labels: Names of the nodes, in place of those that they would have.
        classes: Names of the outputs of the model, such as labels or the words of its vocabulary.
        title: Of the page.
        max_nodes: Of more nodes a network shows the surroundings of those of most edges, any other input the first.
        max_weights: Of more weights in a scene, the largest of each row and head are kept. What is left out is said on the page.

    Returns:
        The page; in a notebook it shows itself. `Page.html()` is its text, `join_pages` makes one of several.

    Raises:
        ValueError: if the model gives no attention weights or cannot be called with the data, or options do not fit.
        TypeError: if a model is no module, or an input no Data.

    Example:
        >>> from graphattn.inputs import from_text
        >>> from graphattn.nn import GraphTransformer
        >>> data = from_text("a graph says who attends to whom")
        >>> data.x = torch.randn(7, 16)
        >>> page = explore(GraphTransformer(16, num_layers=2, heads=4), data, title="seven words")
        >>> page, [layer["title"] for layer in page.scenes[0]["layers"]]
        (Page('seven words', ['words']), ['layer 1', 'layer 2', 'rollout'])
    """
    limits = [("max_nodes", max_nodes), ("max_weights", max_weights)]
    options = Options(args, kind, labels, classes, *(parse_integer(name, limit, minimum=1) for name, limit in limits))
    models, inputs = by_name(model, data, kind)
    scenes = [make_scene(name, models, given, options) for name, given in inputs.items()]
    page = Page(scenes, title if title is not None else "attention")
    return page if path is None else page.save(path)


def by_name(model: Any, data: Any, kind: str | None) -> tuple[dict[str, Module], dict[str, Data]]:
    """Models and inputs by name, '' for one alone."""
    if kind is not None and kind not in KINDS:
        raise ValueError(f"'kind' must be one of {list(KINDS)} (got {kind!r})")
    models = dict(model) if isinstance(model, Mapping) else {"": model}
    for given in models.values():
        if not isinstance(given, Module):
            raise TypeError(
                f"'model' must be a torch.nn.Module, or several by name (got {type(given).__name__}); of what a recipe trained give"
                " explore(trained.model, data, args=trained.arguments)"
            )
    inputs = dict(data) if isinstance(data, Mapping) and not isinstance(data, Data) else {"": data}
    for name, given in inputs.items():
        if not isinstance(given, Data):
            which = f" as {name!r}" if name else ""
            raise TypeError(
                f"'data' must be a torch_geometric Data, or several by name (got {type(given).__name__}{which}); make one by"
                " graphattn.inputs, or Data(x=x, graph=graph)"
            )
    return models, inputs


def make_scene(name: str, models: Mapping[str, Module], data: Data, options: Options) -> dict[str, Any]:
    """One input and the attention of every model over it."""
    is_writing = all(isinstance(model, NextTokenModel) for model in models.values())
    kind = options.kind or ("writing" if is_writing else kind_of(data))
    runs = {}
    for model_name, model in models.items():
        arguments = arguments_for(model, data, options.arguments)
        runs[model_name] = run(model, arguments)
    calls = [call for of_model, _ in runs.values() for call in of_model]
    if not all(call.num_queries and call.num_keys for call in calls):
        raise ValueError(f"an input without nodes has nothing to show (got {data})")
    chosen = nodes_near(calls[0], options.max_nodes) if kind == "network" else None
    drawing = draw_input(kind, with_nodes(data, calls), options.labels, chosen)
    sides = Sides(drawing, data, calls, options.max_nodes, chosen)
    scene: dict[str, Any] = {"title": name or kind, "kind": kind, "shown": drawing.shown, "sides": sides.written(),
                             "main": sides.main, "unit": drawing.unit}  # fmt: skip
    count = sum(sum(weights.numel() for _, weights in heads_of(call)) for call in calls)
    scene["layers"], scene["predictions"] = [], []
    for model_name, (of_model, output) in runs.items():
        scene["layers"] += write_layers(
            model_name, of_model, sides, drawing.distance, options.max_weights / max(1, count)
        )
        target = sides.nodes[sides.main]
        found = predictions_of(output, data, target.total, options.classes, kind == "writing")
        if found is not None:
            scene["predictions"].append({"model": model_name, "side": sides.main} | thinned(found, target))
    scene["notes"] = sides.notes + kept_notes(scene["layers"])
    if kind == "writing":
        scene["steps"] = {"side": sides.main, "given": int(data["prompt"]) if "prompt" in data else 1}
    return scene


def with_nodes(data: Data, calls: list[Call]) -> Data:
    """The Data itself; its number of nodes from the layers where nothing else tells."""
    if data.num_nodes is None:
        data = data.clone()
        data.num_nodes = calls[-1].num_queries
    if "graph" not in data and "edge_index" not in data and not isinstance(calls[0].edge_index, list):
        data = data.clone()
        data.graph = as_graph(calls[0].edge_index, calls[0].num_queries, calls[0].num_keys)
    return data


def nodes_near(call: Call, max_nodes: int) -> Tensor | None:
    """The nodes of a network around those of most edges, if not all are shown."""
    if call.is_cross or call.num_queries <= max_nodes:
        return None
    graph = as_graph(heads_of(call)[0][0].cpu(), call.num_queries)
    assert isinstance(graph, EdgeListGraph)
    return sample_nearby(graph, max_nodes)


class Nodes(NamedTuple):
    """One set of nodes that attend or are attended to.

    Args:
        chosen: Those that are shown, ascending.
        place: [total], the place of each among the chosen, -1 if it is not shown.
    """

    one: str
    many: str
    labels: list[str]
    chosen: Tensor
    place: Tensor

    @property
    def total(self) -> int:
        return len(self.place)


class Sides:
    """The sets of nodes of a scene: those of the input; and, where a model has cross attention, those that it attends from.

    These are a sequence that it writes (`main` = 1, and the input is the source), or queries that it has learned.
    """

    def __init__(self, drawing: Drawing, data: Data, calls: list[Call], max_nodes: int, chosen: Tensor | None):
        self.nodes: list[Nodes] = []
        self.notes: list[str] = []
        self.main = 0
        cross = next((call for call in calls if call.is_cross), None)
        self.has_cross = cross is not None
        if cross is None:
            self.add(
                drawing.one, drawing.many, drawing.labels, max(call.num_queries for call in calls), max_nodes, chosen
            )
        elif drawing.one == "word" and cross.num_queries == len(drawing.labels) and "source_graph" in data:
            self.main = 1
            names = data["source_tokens"] if "source_tokens" in data else range(cross.num_keys)
            self.add("source word", "source words", [words_of(name) for name in names], cross.num_keys, max_nodes)
            self.add("target word", "target words", drawing.labels, cross.num_queries, max_nodes)
        else:
            self.add(drawing.one, drawing.many, drawing.labels, cross.num_keys, max_nodes, chosen)
            names = [f"query {number + 1}" for number in range(cross.num_queries)]
            self.add("query", "queries", names, cross.num_queries, max_nodes)

    def add(
        self, one: str, many: str, labels: list[str], total: int, max_nodes: int, chosen: Tensor | None = None
    ) -> None:
        if len(labels) > total:
            raise ValueError(
                f"the layers see {total} {many}, fewer than there are names of them (got {len(labels)} names)"
            )
        labels = labels + [f"added {number + 1}" for number in range(total - len(labels))]  # such as class nodes
        chosen_first = chosen is None
        chosen = torch.arange(min(total, max_nodes)) if chosen is None else chosen
        if len(chosen) < total:
            which = "the first" if chosen_first else "around those of most edges"
            self.notes.append(
                f"{len(chosen):,} of {total:,} {many} are shown, {which}; attention to the others is not, so rows may sum"
                " to less than they do in the model."
            )
        place = torch.full((total,), -1)
        place[chosen] = torch.arange(len(chosen))
        self.nodes.append(Nodes(one, many, labels, chosen, place))

    def of(self, call: Call, all_calls: list[Call]) -> tuple[int, int]:
        """(queries, keys) of a layer, as places in `nodes`."""
        if not self.has_cross:
            return 0, 0
        if call.is_cross:
            return 1, 0
        beside = {other.name.rpartition(".")[0] for other in all_calls if other.is_cross}
        side = int(call.name.rpartition(".")[0] in beside)
        return side, side

    def written(self) -> list[dict[str, Any]]:
        return [{"one": side.one, "many": side.many, "labels": [side.labels[node] for node in side.chosen.tolist()],
                 "numbers": None if len(side.chosen) == side.total else side.chosen.tolist()} for side in self.nodes]  # fmt: skip


def write_layers(
    model: str, calls: list[Call], sides: Sides, distance: Distance | None, share: float
) -> list[dict[str, Any]]:
    """Every layer of a model, and their rollout; of each at most so many weights as its share of them all."""
    layers: list[dict[str, Any]] = []
    numbers: dict[tuple[int, int], int] = {}
    rolled: list[tuple[Tensor, Tensor]] = []
    for call in calls:
        ends = sides.of(call, calls)
        numbers[ends] = numbers.get(ends, 0) + 1
        queries, keys = (sides.nodes[end] for end in ends)
        first = 0
        for edge_index, weights in heads_of(call):
            kept = among(edge_index, weights, keys.place, queries.place)
            rows = rows_of(*kept, len(queries.chosen), len(keys.chosen))
            most = max(1, int(share * weights.numel())) if share < 1 else weights.numel()
            layer = write_layer(rows, len(keys.chosen), most, distance if ends[0] == ends[1] else None)
            about = {"model": model, "name": call.name, "title": title_of(ends, numbers[ends], sides.main)}
            layers.append(about | {"queries": ends[0], "keys": ends[1], "first": first} | layer)
            first += weights.size(1)
        if not sides.has_cross:
            parts = heads_of(call)
            rolled.append((torch.cat([edges.cpu() for edges, _ in parts], 1), torch.cat([w.mean(1) for _, w in parts])))
    layers += write_rollout(model, rolled, sides, distance, share) if rolled else []
    return layers


def title_of(ends: tuple[int, int], number: int, main: int) -> str:
    """As on the page: layers of one set of nodes are layers, whatever reads them out."""
    if main == 0 and ends != (1, 0):
        return f"layer {number}"
    if main == 0:
        return f"readout {number}"
    return {(0, 0): "source layer", (1, 1): "target layer", (1, 0): "target to source, layer"}[ends] + f" {number}"


def write_rollout(
    model: str, rolled: list[tuple[Tensor, Tensor]], sides: Sides, distance: Distance | None, share: float
) -> list[dict[str, Any]]:
    nodes = sides.nodes[0]
    if len(nodes.chosen) < nodes.total:
        return []  # the rollout goes through all nodes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the page says itself what a rollout is not
        rows = rollout_of(rolled, nodes.total)
    if rows is None:
        sides.notes.append("The rollout is left out: weights are below zero, or it is too large.")
        return []
    most = rows.weights.size if share >= 1 else max(1, int(share * rows.weights.size))
    layer = write_layer(rows, nodes.total, most, distance)
    return [
        {"model": model, "name": "", "title": "rollout", "queries": 0, "keys": 0, "first": 0, "rollout": True} | layer
    ]


def thinned(found: dict[str, Any], nodes: Nodes) -> dict[str, Any]:
    """Predictions of the nodes that are shown."""
    if not found["of_nodes"]:
        return found
    chosen = nodes.chosen.tolist()
    return {
        name: [value[node] for node in chosen] if isinstance(value, list) else value for name, value in found.items()
    }


def kept_notes(layers: list[dict[str, Any]]) -> list[str]:
    """The sentence that says how many weights were left out, if any were."""
    cut = [layer for layer in layers if "kept" in layer]
    if not cut:
        return []
    left = float(np.max([layer["left"] for layer in cut]))
    kept = sorted({layer["kept"] for layer in cut})
    return [f"Of each row of a head the {' or '.join(map(str, kept))} largest weights are in this page; what is left out is at"
            f" most {100 * left:.2g} % of a row."]  # fmt: skip
