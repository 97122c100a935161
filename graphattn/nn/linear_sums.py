"""Sums over the keys that each query sees, weighted by products of features: three forms of one result.

Features [num_nodes, heads, dim] of queries and keys and columns [num_keys, heads, columns] give [num_queries, heads, columns].
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from graphattn.compiling.replayed import replayed
from graphattn.functional import attend
from graphattn.graphs import CompleteGraph, Graph, causal
from graphattn.graphs.exported import is_exporting
from graphattn.graphs.traced import TracedGraph, opened
from graphattn.kernels.fused.sdpa import equal_sizes
from graphattn.running.arguments import check_graph

FORMS = ("matrix", "chunks", "steps")
CHOICES = (None, *FORMS)


def sums_of_features(query: Tensor, key: Tensor, columns: Tensor, graph: Graph, form: str | None, chunk: int) -> Tensor:
    """By the form asked for, or by the cheapest that goes with the graph."""
    if is_exporting() and form in CHOICES:
        return sum_by_matrix(query, key, columns, graph, chunk)  # an edge_index and a mask have no other form
    if isinstance(graph, TracedGraph) and form in CHOICES and form != "matrix":  # `attend` is an operator of its own
        return traced_sums(query, key, columns, graph.tensor, CHOICES.index(form), chunk)
    return choose_form(form, graph)(query, key, columns, graph, chunk)


@replayed(lambda query, key, columns, *_: (*query.shape[:2], columns.size(2)))
def traced_sums(query: Tensor, key: Tensor, columns: Tensor, ticket: Tensor, form: float, chunk: float) -> Tensor:
    graph = opened(ticket, query.size(0), key.size(0))
    check_graph(graph, query, query.size(0), key.size(0))
    return choose_form(CHOICES[int(form)], graph)(query, key, columns, graph, int(chunk))


def choose_form(form: str | None, graph: Graph) -> Callable:
    """The function that sums by the form asked for, or by the cheapest."""
    if form is not None and form not in FORMS:
        raise ValueError(f"'form' must be one of {FORMS} or None (got {form!r})")
    if form == "matrix":
        return sum_by_matrix
    if form != "steps" and isinstance(graph.normal_form(), CompleteGraph):
        return sum_of_complete
    if is_causal(graph):
        return sum_by_steps if form == "steps" else sum_of_causal_chunks
    if form in ("chunks", "steps"):
        wanted = "complete or causal" if form == "chunks" else "causal"
        raise ValueError(
            f"form {form!r} needs a graph that is {wanted} (got {graph}); form='matrix' of LinearAttention takes any"
        )
    return sum_by_matrix


def is_causal(graph: Graph) -> bool:
    counts = [size[0] for size in graph.sizes]
    is_square = all(queries == keys for queries, keys in graph.sizes)
    return is_square and graph.normal_form() == causal(counts).normal_form()


# The forms -----------------------------------------------------------------------------------------------------------


def sum_by_matrix(query: Tensor, key: Tensor, columns: Tensor, graph: Graph, chunk: int) -> Tensor:
    return attend(query, key, columns, graph, scale=1.0, normalizer="relu")


def sum_of_complete(query: Tensor, key: Tensor, columns: Tensor, graph: Graph, chunk: int) -> Tensor:
    """One sum over all keys of an example serves all its queries; examples of one size go together."""
    sums = columns.new_zeros(*query.shape[:2], columns.size(2))
    for examples, queries, keys in equal_sizes(graph):
        q, k, c = (x[at].unflatten(0, (examples, -1)) for x, at in ((query, queries), (key, keys), (columns, keys)))
        state = torch.einsum("bnhd,bnhm->bhdm", k, c)
        sums[queries] = torch.einsum("bnhd,bhdm->bnhm", q, state).flatten(0, 1)
    return sums


def sum_of_causal_chunks(query: Tensor, key: Tensor, columns: Tensor, graph: Graph, chunk: int) -> Tensor:
    """Inside a chunk by its triangle of scores; all chunks before it by the state that they leave."""
    return torch.cat([sum_of_one_causal(q, k, c, chunk) for q, k, c in split_examples(query, key, columns, graph)])


def sum_of_one_causal(query: Tensor, key: Tensor, columns: Tensor, chunk: int) -> Tensor:
    if not (torch.isfinite(key).all() and torch.isfinite(columns).all()):
        chunk = 1  # 0 times NaN is NaN: inside a larger chunk nodes would see those after them
    state = query.new_zeros(query.size(1), query.size(2), columns.size(2))
    sums = []
    for q, k, c in zip(query.split(chunk), key.split(chunk), columns.split(chunk)):
        triangle = torch.einsum("ihd,jhd->hij", q, k).tril()
        sums.append(torch.einsum("nhd,hdm->nhm", q, state) + torch.einsum("hij,jhm->ihm", triangle, c))
        state = state + torch.einsum("nhd,nhm->hdm", k, c)
    return torch.cat(sums) if sums else columns


def sum_by_steps(query: Tensor, key: Tensor, columns: Tensor, graph: Graph, chunk: int) -> Tensor:
    """Node after node, with nothing but the state between them."""
    sums = []
    for q, k, c in split_examples(query, key, columns, graph):
        state = None
        for node in range(q.size(0)):
            out, state = remember(q[None, node], k[None, node], c[None, node], state)
            sums.append(out)
    return torch.cat(sums) if sums else columns


def remember(query: Tensor, key: Tensor, columns: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
    """Takes in the keys of one node of each example, then asks: the sums and the next [num_examples, heads, dim, columns]."""
    own = key.unsqueeze(-1) * columns.unsqueeze(-2)
    state = own if state is None else state + own
    return torch.einsum("bhd,bhdm->bhm", query, state), state


def split_examples(
    query: Tensor, key: Tensor, columns: Tensor, graph: Graph
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    counts = [size[0] for size in graph.sizes]
    return zip(query.split(counts), key.split(counts), columns.split(counts))
