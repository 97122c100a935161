"""Attention weights as rows, one for each edge and head: for pandas, networkx and files."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from graphattn.graphs import Graph, as_graph

if TYPE_CHECKING:
    from pandas import DataFrame

EdgesAndWeights = tuple[Tensor | list[Tensor], Tensor | list[Tensor]]  # of a layer
Layers = Mapping[str, EdgesAndWeights] | EdgesAndWeights


def attention_table(
    layers: Layers, graph: Any = None, labels: Sequence[Any] | None = None, min_weight: float = 0.0
) -> "DataFrame":
    """The attention weights of a batch as a pandas DataFrame, one row for each edge and head.

    | column  | meaning
    |---------|--------
    | layer   | name of the layer, as `attention_of` gives it
    | head    | number of the head
    | example | number of the example in the batch
    | source  | node that is attended to, its index inside its example
    | target  | node that attends, its index inside its example
    | weight  | how much
    | source_label, target_label | what `labels` has for the nodes, if given

    `networkx.from_pandas_edgelist(table, "source", "target", "weight", create_using=networkx.DiGraph)` makes a graph of the rows
    of one layer, head and example.

    Args:
        layers: What `attention_of(model, ...)` gives; or of one layer (edge_index, weights [num_edges] or [num_edges, heads]), as
            `return_attention_weights` gives them.
        graph: What the layers ran on, by which the examples of a batch are told apart: a Graph, a list of graphs, or a vector
            [num_nodes] with the example of each node (PyG's `batch`). None: one example.
        labels: One for each node of the whole batch, such as its token.
        min_weight: Smaller weights are left out.

    Raises:
        ImportError: without pandas; `attention_edges` gives the same rows.
        ValueError: where the edges do not fit `graph` or `labels`.

    Example:
        >>> import torch
        >>> from graphattn import causal
        >>> from graphattn.explain import attention_edges, attention_of
        >>> from graphattn.nn import GraphAttention
        >>> found = attention_of(GraphAttention(4, 4), torch.randn(3, 4), causal([2, 1]))
        >>> for source, target, row in attention_edges(found, causal([2, 1])):
        ...     print(source, target, row["example"])
        0 0 0
        0 1 0
        1 1 0
        0 0 1
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            "attention_table needs pandas (pip install pandas); attention_edges gives the same rows without"
        ) from error
    columns = ["layer", "head", "example", "source", "target", "weight"]
    parts = [pandas.DataFrame(part) for part in columns_of(layers, graph, labels, min_weight)]
    return pandas.concat(parts, ignore_index=True) if parts else pandas.DataFrame(columns=columns)


def attention_edges(
    layers: Layers, graph: Any = None, labels: Sequence[Any] | None = None, min_weight: float = 0.0
) -> list[tuple[int, int, dict[str, Any]]]:
    """The rows of `attention_table` as (source, target, {column: value}), which networkx takes: `DiGraph.add_edges_from`.

    A graph of networkx holds one edge between two nodes: give it the rows of one layer, head and example, or make a
    MultiDiGraph.
    """
    rows = []
    for part in columns_of(layers, graph, labels, min_weight):
        for values in zip(*part.values(), strict=True):
            row = dict(zip(part, values))
            rows.append((row.pop("source"), row.pop("target"), row))
    return rows


def columns_of(
    layers: Layers, graph: Any, labels: Sequence[Any] | None, min_weight: float
) -> Iterator[dict[str, list[Any]]]:
    """The columns of each head of each layer."""
    named = layers if isinstance(layers, Mapping) else {"": layers}
    starts = None if graph is None else starts_of(graph)
    for name, (edges, weights) in named.items():
        for head, (edge_index, weight) in enumerate(by_head(edges, weights)):
            kept = weight >= min_weight
            (source, target), weight = edge_index[:, kept], weight[kept]
            yield {
                "layer": [name] * len(weight),
                "head": [head] * len(weight),
                **places(source, target, starts),
                "weight": weight.tolist(),
                **({} if labels is None else labels_of(labels, source, target)),
            }


def by_head(edges: Tensor | list[Tensor], weights: Tensor | list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """(edge_index, weights [num_edges]) of each head, on CPU."""
    if isinstance(weights, Tensor):
        weights = weights[:, None] if weights.dim() == 1 else weights
        weights = list(weights.unbind(1))
    edges = [edges] * len(weights) if isinstance(edges, Tensor) else edges
    for edge_index, weight in zip(edges, weights, strict=True):
        if edge_index.dim() != 2 or edge_index.shape != (2, len(weight)):
            raise ValueError(
                f"a layer is (edge_index [2, num_edges], weights [num_edges, heads]) (got {list(edge_index.shape)} for"
                f" {len(weight)} weights)"
            )
        yield edge_index.detach().cpu(), weight.detach().cpu()


def starts_of(graph: Any) -> tuple[Tensor, Tensor]:
    """The first source and the first target of each example."""
    if isinstance(graph, Tensor) and graph.dim() == 1:  # the example of each node
        if bool((graph.diff() < 0).any()):
            raise ValueError(f"'graph' as a vector must ascend, example after example (got {graph})")
        counts = graph.bincount().tolist()
        sizes = [(count, count) for count in counts]
    else:
        made = as_graph(graph)
        sizes = list(made.sizes) if isinstance(made, Graph) else []
    queries, keys = zip(*sizes) if sizes else ((), ())
    source, target = (torch.tensor([0, *accumulate(counts)]) for counts in (keys, queries))
    return source, target


def places(source: Tensor, target: Tensor, starts: tuple[Tensor, Tensor] | None) -> dict[str, list[int]]:
    """Example of each edge, and its ends inside the example."""
    if starts is None:
        return {"example": [0] * len(source), "source": source.tolist(), "target": target.tolist()}
    of_sources, of_targets = starts
    for ends, first, name in ((source, of_sources, "source"), (target, of_targets, "target")):
        if len(ends) and int(ends.max()) >= int(first[-1]):
            raise ValueError(f"'graph' has {int(first[-1])} {name}s (got an edge of {name} {int(ends.max())})")
    example = torch.searchsorted(of_targets, target, right=True) - 1
    of_source = torch.searchsorted(of_sources, source, right=True) - 1
    if not torch.equal(of_source, example):
        edge = int((of_source != example).nonzero()[0])
        raise ValueError(
            f"'graph' has source {int(source[edge])} and target {int(target[edge])} in two examples (got an edge between them);"
            " give the graph that the layers ran on"
        )
    inside = (ends - first[example] for ends, first in ((source, of_sources), (target, of_targets)))
    return dict(zip(("example", "source", "target"), (x.tolist() for x in (example, *inside))))


def labels_of(labels: Sequence[Any], source: Tensor, target: Tensor) -> dict[str, list[Any]]:
    ends = {"source_label": source, "target_label": target}
    largest = max((int(x.max()) for x in ends.values() if len(x)), default=-1)
    if largest >= len(labels):
        raise ValueError(
            f"'labels' must have one for each node of the batch (got {len(labels)}, an edge of node {largest})"
        )
    return {name: [labels[node] for node in nodes.tolist()] for name, nodes in ends.items()}
