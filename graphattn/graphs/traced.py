"""Graphs while torch.compile or torch.export trace: named by a number or a tensor, opened when the compiled code runs.

A graph is no tensor, so compiled code cannot hold it. It holds the graph's number and makes a ticket of it, a tensor that
operators open again. One compilation then serves every graph of a class, whatever its sizes.
"""

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx.experimental import symbolic_shapes
from torch.types import Device

from graphattn.graphs.csr import CSR
from graphattn.graphs.exported import exported_degrees, exported_edges, exported_sizes, is_exporting
from graphattn.graphs.forms import NO_SIZES, graph_of_form
from graphattn.graphs.graph import Graph, Index, Made, graph_of_number
from graphattn.graphs.spread import SpreadGraph
from graphattn.graphs.together import joined


class TracedGraph(Graph):
    """What layers see of a graph while they are traced: its sizes, and operators for all that needs its edges.

    Args:
        tensor: A ticket, an edge_index [2, num_edges] or a bool mask [num_queries, num_keys].
        num_queries: Number of queries, as a number or a symbol of the compiler.
        num_keys: Number of keys.
        graph: The graph of a ticket, if it is known: its class, not its numbers, enters the compiled code.
    """

    edges_by_key = False

    def __init__(self, tensor: Tensor, num_queries: int, num_keys: int, graph: Graph | None = None):
        self.tensor, self.counts, self.graph = tensor, (num_queries, num_keys), graph
        # Asked for twice, they would have two sizes, which the compiler takes for different numbers.
        self.known_edges: Tensor | None = None
        self.known_examples: Tensor | None = None

    def real(self) -> Graph:
        """The graph itself; while a compiler traces, this breaks its code in two."""
        return opened_uncompiled(self.tensor, *self.counts) if torch.compiler.is_compiling() else self.opened()

    def opened(self) -> Graph:
        return opened(self.tensor, *self.counts)

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        return self.real().sizes

    @property
    def shape(self) -> tuple[int, int]:
        return self.counts

    @property
    def num_queries(self) -> int:
        return self.counts[0]

    @property
    def num_keys(self) -> int:
        return self.counts[1]

    @property
    def num_examples(self) -> int:
        return 1 if is_exporting() else self.example_sizes().size(0)

    @property
    def device(self) -> torch.device | None:
        return self.tensor.device if self.tensor.dim() else None

    @property
    def num_edges(self) -> int:
        if is_edge_index(self.tensor):
            return self.tensor.size(1)
        return self.edge_index().size(1) if torch.compiler.is_compiling() else self.opened().num_edges

    def may_have_edges(self, count: int) -> bool:
        return not is_edge_index(self.tensor) or count == self.num_edges

    def edge_index(self, device: Device = None) -> Tensor:
        if self.known_edges is None:
            if not is_edge_index(self.tensor):
                refuse_unknown_sizes()
            self.known_edges = (
                exported_edges(self.tensor)
                if is_exporting()
                else edge_index(self.tensor, *self.counts, torch.device(device or self.tensor.device))
            )
        return self.known_edges if device is None else self.known_edges.to(device)

    def degrees(self, device: Device = None) -> Tensor:
        if is_exporting():
            return exported_degrees(self.tensor, self.num_queries)
        return degrees(self.tensor, *self.counts, torch.device(device or self.tensor.device))

    def batch(self, device: Device = None) -> Tensor:
        if is_exporting():
            return self.tensor.new_zeros(self.num_queries, dtype=torch.int64)
        return example_of_query(self.tensor, *self.counts, torch.device(device or self.tensor.device))

    def example_sizes(self) -> Tensor:
        """(num_queries, num_keys) of each example: [num_examples, 2] int64."""
        if self.known_examples is None:
            refuse_unknown_sizes()
            sizes_of = exported_sizes if is_exporting() else example_sizes
            self.known_examples = sizes_of(self.tensor, *self.counts)
        return self.known_examples

    def remember(self, name: Hashable, build: Callable[[], Made]) -> Made:
        return build()

    @property
    def has_repeats(self) -> bool:
        return self.real().has_repeats

    @property
    def has_own_order(self) -> bool:
        return self.real().has_own_order

    @property
    def is_symmetric(self) -> bool:
        return self.real().is_symmetric

    @property
    def T(self) -> Graph:
        return self.real().T

    def allows(self, query: Index, key: Index) -> Tensor:
        return self.real().allows(query, key)

    def by_query(self, device: Device = None) -> CSR:
        return self.real().by_query(device)

    def by_key(self, device: Device = None) -> CSR:
        return self.real().by_key(device)

    def _rows(self, device: torch.device) -> tuple[Tensor, Tensor]:
        return self.real()._rows(device)

    def _transposed(self) -> Graph:
        return self.real()._transposed()

    def _split(self) -> list[Graph]:
        return self.real()._split()

    def _describe(self) -> str:
        return f"TracedGraph({self.num_queries}, {self.num_keys})"


def trace(x: Any, num_queries: Any, num_keys: Any, uncompiled: Callable[[Any, Any, Any], Graph]) -> Graph:
    """What `as_graph` gives while torch.compile or torch.export trace; `uncompiled`, itself, reads forms that are not traced."""
    if isinstance(x, TracedGraph):
        return x
    if isinstance(x, SpreadGraph):
        return x  # whose methods run between two pieces of compiled code
    if isinstance(x, Graph):
        refuse_export(x)
        if num_queries is None:
            num_queries, num_keys = (sum(size[axis] for size in x.sizes) for axis in (0, 1))
        return TracedGraph(ticket(x.number), num_queries, num_queries if num_keys is None else num_keys, x)
    if isinstance(x, Tensor) and x.layout == torch.strided and x.dim() == 2 and not x.is_floating_point():
        if num_queries is None and x.dtype == torch.bool:
            num_queries, num_keys = x.shape
        if num_queries is None:
            raise ValueError(NO_SIZES)
        return TracedGraph(x, num_queries, num_queries if num_keys is None else num_keys)
    if isinstance(x, (list, tuple)) and x and all(isinstance(one, Graph) for one in x) and num_queries is not None:
        refuse_export(x)
        members = [TracedGraph(ticket(one.number), UNKNOWN, UNKNOWN) for one in x]
        return derive(batch_of, members, num_queries, num_queries if num_keys is None else num_keys)
    graph = uncompiled(x, num_queries, num_keys)
    return TracedGraph(ticket(graph.number), graph.num_queries, graph.num_keys, graph)


def refuse_export(x: Any) -> None:
    if is_exporting():
        raise ValueError(
            f"torch.export cannot carry a {type(x).__name__}; export with an edge_index or a bool mask, as graph.edge_index()"
            " and graph.mask() give them"
        )


# Tickets --------------------------------------------------------------------------------------------------------------


class Owner(np.ndarray):
    """The memory of a ticket, which keeps its graph: it lives as long as the tensor, through the backward pass."""

    graph: Graph


def ticket_of(graph: Graph) -> Tensor:
    """A new int64 scalar, the number of the graph."""
    owner = np.array(graph.number).view(Owner)
    owner.graph = graph
    return torch.from_numpy(owner)


def fake_ticket() -> Tensor:
    """A tensor like a ticket, which compilers trace in its place."""
    return torch.empty((), dtype=torch.int64, device="cpu")


def opened(tensor: Tensor, num_queries: int | None, num_keys: int | None) -> Graph:
    """The graph that a ticket, an edge_index or a mask stands for, of these sizes."""
    return graph_of_form(graph_of_number(int(tensor)) if tensor.dim() == 0 else tensor, num_queries, num_keys)


opened_uncompiled = torch.compiler.disable(
    opened,
    reason="edges and sizes of examples are not known while torch.compile or torch.export trace; make what needs them before,"
    " and give it to the compiled function",
)


@torch.library.custom_op("graphattn::ticket", mutates_args=())
def ticket(number: int) -> Tensor:
    return ticket_of(graph_of_number(number))


@ticket.register_fake
def _(number):
    return fake_ticket()


# Other graphs, made when the compiled code runs -----------------------------------------------------------------------

_DERIVATIONS: dict[str, Callable[..., Graph]] = {}
_EXPORTED: dict[str, Callable[..., Tensor]] = {}


def derivation(exported: Callable[..., Tensor] | None = None) -> Callable[[Callable], Callable[..., Graph]]:
    """Lets `derive` call a function (*graphs, *integers) -> Graph, which may take a `device` by name.

    Args:
        exported: The same in torch's own operations, for torch.export: (graphs, sizes, *integers) -> edge_index or mask, of
            graphs that are such tensors over one example, each with its (num_queries, num_keys). None if what makes such
            graphs is refused there.
    """

    def register(function: Callable[..., Graph]) -> Callable[..., Graph]:
        _DERIVATIONS[function.__name__] = function
        if exported is not None:
            _EXPORTED[function.__name__] = exported
        return function

    return register


def derive(
    function: Callable[..., Graph],
    graphs: list[TracedGraph],
    num_queries: int,
    num_keys: int,
    *integers: int,
    device: torch.device | str | None = None,
) -> TracedGraph:
    """The graph, of these sizes, that a `derivation` makes of other graphs (on a device, if it takes one)."""
    if is_exporting():
        tensor = _EXPORTED[function.__name__](
            [graph.tensor for graph in graphs], [graph.counts for graph in graphs], *integers
        )
        return TracedGraph(tensor, num_queries, num_keys)
    sizes = [count for graph in graphs for count in graph.counts]
    result = derived(function.__name__, [graph.tensor for graph in graphs], sizes, list(integers), device)
    return TracedGraph(result, num_queries, num_keys)


UNKNOWN = -1  # of a size, among integers


@torch.library.custom_op("graphattn::derived", mutates_args=())
def derived(
    function: str, tensors: list[Tensor], sizes: list[int], integers: list[int], device: torch.device | None
) -> Tensor:
    known = [None if size == UNKNOWN else size for size in sizes]
    graphs = [opened(x, *size) for x, size in zip(tensors, zip(known[::2], known[1::2]))]
    where = {} if device is None else {"device": device}
    return ticket_of(_DERIVATIONS[function](*graphs, *integers, **where))


@derived.register_fake
def _(function, tensors, sizes, integers, device):
    return fake_ticket()


@derivation()
def batch_of(*graphs: Graph) -> Graph:
    return joined(graphs)


# What layers ask of a graph ---------------------------------------------------------------------------------------------


@torch.library.custom_op("graphattn::edge_index", mutates_args=())
def edge_index(graph: Tensor, num_queries: int, num_keys: int, device: torch.device) -> Tensor:
    return opened(graph, num_queries, num_keys).edge_index(device)


@edge_index.register_fake
def _(graph, num_queries, num_keys, device):
    return torch.empty(2, num_edges_of(graph), dtype=torch.int64, device=device)


# torch 2.11 stops with an AssertionError where an operator gives a tensor of unknown size to torch.func.grad.
GRAD_TAKES_UNKNOWN_SIZES = hasattr(symbolic_shapes, "is_gradtrackingtensor")


def refuse_unknown_sizes() -> None:
    if not GRAD_TAKES_UNKNOWN_SIZES and torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active():
        raise RuntimeError(
            f"torch {torch.__version__} cannot compile torch.func over a Graph, whose number of edges is not known before the"
            " code runs; give an edge_index [2, num_edges], or take torch 2.13"
        )


def num_edges_of(graph: Tensor) -> int | torch.SymInt:
    """The number of edges: a symbol of the compiler, or an int where an edge_index shows it before the code runs."""
    return graph.size(1) if is_edge_index(graph) else torch.library.get_ctx().new_dynamic_size()


def is_edge_index(graph: Tensor) -> bool:
    return graph.dim() == 2 and graph.dtype != torch.bool


@torch.library.custom_op("graphattn::degrees", mutates_args=())
def degrees(graph: Tensor, num_queries: int, num_keys: int, device: torch.device) -> Tensor:
    return opened(graph, num_queries, num_keys).degrees(device)


@torch.library.custom_op("graphattn::example_of_query", mutates_args=())
def example_of_query(graph: Tensor, num_queries: int, num_keys: int, device: torch.device) -> Tensor:
    return opened(graph, num_queries, num_keys).batch(device)


@degrees.register_fake
@example_of_query.register_fake
def _(graph, num_queries, num_keys, device):
    return torch.empty(num_queries, dtype=torch.int64, device=device)


@torch.library.custom_op("graphattn::example_sizes", mutates_args=())
def example_sizes(graph: Tensor, num_queries: int, num_keys: int) -> Tensor:
    return torch.tensor(opened(graph, num_queries, num_keys).sizes)


@example_sizes.register_fake
def _(graph, num_queries, num_keys):
    return torch.empty(torch.library.get_ctx().new_dynamic_size(), 2, dtype=torch.int64)
