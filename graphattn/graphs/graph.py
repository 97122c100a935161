"""Graph: who may attend to whom."""

import reprlib
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import FrozenInstanceError, dataclass
from functools import cache
from inspect import signature
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.types import Device
from typing_extensions import Self

from graphattn.graphs.csr import CSR, compress, rows_of, transpose
from graphattn.graphs.export import to_networkx, to_scipy
from graphattn.graphs.pairs import check_answer, check_rows, keys_by_query
from graphattn.graphs.sizes import Counts, Sizes, parse_flag, parse_pairs, parse_sizes, starts_and_total
from graphattn.graphs.starts import AT_ZERO, Starts

if TYPE_CHECKING:
    import networkx
    import scipy.sparse

    from graphattn.graphs.rows import Rows

__all__ = ["CSR", "Graph"]

Index = int | Tensor  # of nodes
Made = TypeVar("Made")

# Compiled code names graphs by number (see traced.py), far above all sizes: the compiler takes equal integers for one.
_NUMBERS = count(2**40)
_GRAPHS: weakref.WeakValueDictionary[int, "Graph"] = weakref.WeakValueDictionary()


def untransformed(build: Callable[[], Made]) -> Made:
    """`build()` outside of transforms of torch.func and of inference mode, whose tensors cannot be used after them."""
    if torch.is_inference_mode_enabled():
        with torch.inference_mode(False), torch.no_grad():
            return untransformed(build)
    if not torch._C._are_functorch_transforms_active():
        return build()
    with temporarily_clear_interpreter_stack():
        return build()


@cache
def fields_of_file(kind: type["Graph"]) -> tuple[frozenset[str], frozenset[str], bool]:
    """The fields that `kind._restore` takes, those that no file lacks, and whether it takes any others.

    A field with a default came later: older files do not have it.
    """
    _, *parameters = signature(kind._restore).parameters.values()
    named = [each for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
    needed = frozenset(each.name for each in named if each.default is each.empty)
    return frozenset(each.name for each in named), needed, len(named) < len(parameters)


OF_ITS_OWN = {"_cache", "number"}  # of a graph in memory, never of a file


def check_names(state: Any, kind: type["Graph"]) -> None:
    """Raises ValueError unless the state that a file gives has the fields of a graph of this kind, and no others."""
    if not isinstance(state, dict):
        raise TypeError(f"its state must be a dict (got {type(state).__name__})")
    known, needed, takes_any = fields_of_file(kind)
    missing, unknown = needed - set(state), set(state) & OF_ITS_OWN if takes_any else set(state) - known
    if missing or unknown:
        raise ValueError(
            f"its fields are {sorted(known)} (got none of {sorted(missing)}, and also {sorted(map(str, unknown))})"
        )


def whole(graph: Any) -> "Graph":
    """The same object, checked: TypeError or ValueError unless it is a graph, and one that was read from its file to the end."""
    if not isinstance(graph, Graph):
        raise TypeError(f"its parts must be graphs (got {type(graph).__name__})")
    if "number" not in graph.__dict__:
        raise ValueError(f"its parts must be graphs on their own (got a {type(graph).__name__} that is not finished)")
    return graph


def without_sizes(graph: "Graph") -> TypeError:
    kind = type(graph).__name__
    return TypeError(f"this {kind} has no sizes; call super().__init__(num_queries, num_keys) in {kind}.__init__")


def in_short(x: Any) -> str:
    """A field in the repr of a graph: numbers as they are, tensors by their shape, as PyG shows them."""
    return str(list(x.shape)) if isinstance(x, (Tensor, np.ndarray)) else reprlib.repr(x)


def is_same(x: Any, y: Any) -> bool:
    """Whether one field of two graphs is equal; tensors number by number."""
    if isinstance(x, Tensor) and isinstance(y, Tensor):
        return x.dtype == y.dtype and x.device == y.device and torch.equal(x, y)
    return x is y or bool(x == y)


def graph_of_number(number: int) -> "Graph":
    """The graph whose `number` this is."""
    graph = _GRAPHS.get(number)
    if graph is None:
        raise ValueError(
            f"there is no graph of number {number} any more; keep a graph as long as compiled code uses it"
        )
    return graph


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Graph(ABC):
    """Which keys each query may attend to: the mask of attention.

    A value: what it answers never changes. Its edges lie in memory of its own, and what a method returns is the
    caller's, to be written at will. It knows its sizes, never a kernel.

    An edge runs from a key (source) to a query (target), as in PyTorch Geometric: `edge_index[0]` holds keys,
    `edge_index[1]` queries. A batch of graphs is laid end to end: node indices run over the whole batch, and edges never
    cross examples.

    Everything per edge (biases, features, weights) follows the order of `edge_index()`: row-major by
    (query, key), example after example, and the caller's own columns for an edge list. `.T` keeps that
    order, `g.T.edge_index() == g.edge_index().flip(0)`: such a graph has `edges_by_key` set.

    A class of your own calls `super().__init__(num_queries, num_keys)` and defines `allows`; unions, batches, `.T`, files and
    all kernels for edges follow from it. Where it knows its edges, `keys_by_query` spares asking all pairs. Numbers and
    tensors that are set as attributes in `__init__` are kept in copies and files, and tensors move with `to`; change none later.

    >>> class EveryOther(Graph):
    ...     def __init__(self, num_nodes, step):
    ...         super().__init__(num_nodes)
    ...         self.step = step
    ...     def allows(self, query: Index, key: Index) -> Tensor:
    ...         return (query - key) % self.step == 0
    >>> EveryOther(4, step=2).edge_index().tolist()
    [[0, 2, 1, 3, 0, 2, 1, 3], [0, 0, 1, 1, 2, 2, 3, 3]]
    """

    sizes: Sizes  # (num_queries, num_keys) of each example
    edges_by_key: bool  # True: edge_index() runs by (key, query), as `.T` of a graph that runs by (query, key)

    if TYPE_CHECKING:  # of a graph in memory (see _begin), so no fields
        _cache: dict[Hashable, Any]
        number: int

    def __init__(self, num_queries: Counts, num_keys: Counts | None = None):
        # For classes of users, which are one example each.
        sizes = parse_sizes(num_queries, num_keys)
        if len(sizes) > 1:
            raise ValueError(
                f"a {type(self).__name__} is one graph (got sizes of {len(sizes)}); batch_graphs puts several side by side"
            )
        self._freeze(sizes=sizes, edges_by_key=False)

    def _freeze(self, **fields: Any) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        self._begin()

    def _begin(self) -> None:
        if torch.compiler.is_compiling():
            torch._dynamo.graph_break("make a graph before, and give it to the compiled function as an argument")
        number = next(_NUMBERS)
        _GRAPHS[number] = self
        self.__dict__.update(_cache={}, number=number)

    # Sizes ------------------------------------------------------------------------------------------------------------

    @property
    def num_examples(self) -> int:
        """Number of graphs in the batch; 1 for a single graph."""
        return len(self.sizes)

    @property
    def query_ptr(self) -> tuple[int, ...]:
        """Where the queries of each example start, and their total: `num_examples + 1` ints."""
        return self.remember("query_ptr", lambda: starts_and_total(size[0] for size in self.sizes))

    @property
    def key_ptr(self) -> tuple[int, ...]:
        """Where the keys of each example start, and their total: `num_examples + 1` ints."""
        return self.remember("key_ptr", lambda: starts_and_total(size[1] for size in self.sizes))

    @property
    def num_queries(self) -> int:
        """Queries of the whole batch."""
        sizes = self.__dict__.get("sizes", ())
        return sizes[0][0] if len(sizes) == 1 else self.query_ptr[-1]

    @property
    def num_keys(self) -> int:
        """Keys of the whole batch."""
        sizes = self.__dict__.get("sizes", ())
        return sizes[0][1] if len(sizes) == 1 else self.key_ptr[-1]

    @property
    def shape(self) -> tuple[int, int]:
        """(num_queries, num_keys)."""
        return (self.num_queries, self.num_keys)

    @property
    def num_edges(self) -> int:
        """Number of edges; a repeated edge counts each time."""
        return self.by_query().col.numel()

    def may_have_edges(self, count: int) -> bool:
        """False where the graph has another number of edges; True where that is not known yet (see traced.py)."""
        return count == self.num_edges

    # Facts ------------------------------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device | None:
        """Device of the edges; None where there is only a formula."""
        tensors = (x for x in self._fields().values() if isinstance(x, Tensor))
        return self.remember("device", lambda: next((x.device for x in tensors), None))

    @property
    def is_symmetric(self) -> bool:
        """True where (query, key) and (key, query) are known to be edges equally often; False if unknown."""
        return False

    @property
    def has_repeats(self) -> bool:
        """True if an edge occurs more than once, as it may in an edge list."""
        return False

    @property
    def has_own_order(self) -> bool:
        """True if the edges are in an order of the caller's, not by (query, key) or (key, query)."""
        return False

    @property
    def starts(self) -> Starts:
        """Positions of the first query and of the first key of each example; None where joined bands differ about them.

        0 for both, so that the position of a node is its index, but for a band with `num_keys` and an `offset`.
        """
        return (AT_ZERO,) * self.num_examples

    @abstractmethod
    def allows(self, query: Index, key: Index) -> Tensor:
        """True where `query` may attend to `key`: the definition of the graph.

        `query` and `key` are node indices (int or integer tensors, broadcast); False across examples.
        """

    # The edges --------------------------------------------------------------------------------------------------------

    def keys_by_query(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Degree of each query [num_queries], and the keys query by query, each query's ascending [num_edges]: int64.

        By default found by asking `allows` of all pairs, some millions at a time.
        """
        _, _, first_key = self._local_queries(device)
        counts = torch.tensor([size[0] for size in self.sizes], device=device)
        num_keys = torch.tensor([size[1] for size in self.sizes], device=device).repeat_interleave(counts)
        first_key = torch.as_tensor(first_key, device=device).expand(len(num_keys))
        return keys_by_query(self.allows, first_key, num_keys, self._asked())

    def _asked(self) -> str:
        return f"'allows' of {type(self).__name__}"

    def _rows(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Degrees and keys as `keys_by_query` gives them, which graphs of this package know otherwise.

        What a class of your own says is checked first: loops read memory by it.
        """
        degrees, keys = self.keys_by_query(device)
        check_rows(type(self).__name__, degrees, keys, *self.shape)
        return degrees, keys

    def edge_index(self, device: Device = None) -> Tensor:
        """The edges `[2, num_edges]` in int64: row 0 = key (source), row 1 = query (target)."""
        device = self._resolve(device)
        if self.edges_by_key:
            return self.T.edge_index(device).flip(0)
        csr = self.by_query(device)
        return torch.stack([csr.col.long(), rows_of(csr.rowptr)])

    def mask(self, device: Device = None) -> Tensor:
        """True where a query may attend to a key: bool `[num_queries, num_keys]`."""
        device = self._resolve(device)
        query, key = (torch.arange(size, device=device) for size in self.shape)
        allowed = self.allows(query[:, None], key[None, :])
        if isinstance(allowed, Tensor) and allowed.shape != self.shape and allowed.dim() == 2:
            allowed = allowed.expand(self.shape).clone()  # a class may look at one of the two only
        return check_answer(self._asked(), allowed, self.shape)

    def csr(self, device: Device = None) -> CSR:
        """The edges by (query, key): rows are queries, columns are keys. Sorted once; what is returned is a copy."""
        return self.by_query(device).clone()

    def csr_transposed(self, device: Device = None) -> CSR:
        """The edges by (key, query): rows are keys, columns are queries. Sorted once; what is returned is a copy."""
        return self.by_key(device).clone()

    def by_query(self, device: Device = None) -> CSR:
        """The graph's own arrays of its edges by (query, key), for kernels, which read them and never write; `csr` gives a copy."""
        return self.remember_on("csr", device, self._build_csr)

    def by_key(self, device: Device = None) -> CSR:
        """The graph's own arrays of its edges by (key, query), never to be written; `csr_transposed` gives a copy."""
        return self.remember_on("csr_transposed", device, self._build_csr_transposed)

    def degrees(self, device: Device = None) -> Tensor:
        """Number of edges of each query: `[num_queries]` int64. Counted once; what is returned is a copy."""
        return self.remember_on("degrees", device, self._build_degrees).clone()

    def batch(self, device: Device = None) -> Tensor:
        """Example of each query: `[num_queries]` int64, PyG's `batch` vector. Made once; what is returned is a copy."""
        return self.remember_on("batch", device, self._build_batch).clone()

    def _build_csr(self, device: torch.device) -> CSR:
        if self.edges_by_key:
            return self.T.by_key(device)
        try:
            return compress(*self._rows(device), num_cols=self.num_keys)
        except (RuntimeError, MemoryError) as error:  # what torch says where it cannot allocate
            if "memory" not in str(error):
                raise
            raise ValueError(
                f"the {self.num_edges} edges of {self!r} do not fit into memory one by one; biases, edge features, dropout and"
                " most normalizers and scores need them so, dot products with softmax over complete graphs, bands and grids"
                " do not (see choose_kernel)"
            ) from error

    def _build_csr_transposed(self, device: torch.device) -> CSR:
        if self.edges_by_key:
            return self.T.by_query(device)
        return transpose(self.by_query(device), self.num_keys)

    def _build_degrees(self, device: torch.device) -> Tensor:
        return self.by_query(device).rowptr.diff().long()

    def _build_batch(self, device: torch.device) -> Tensor:
        counts = torch.tensor([size[0] for size in self.sizes], device=device)
        return torch.repeat_interleave(torch.arange(self.num_examples, device=device), counts)

    # Other graphs -----------------------------------------------------------------------------------------------------

    @property
    def T(self) -> "Graph":
        """Every edge the other way round; edges keep their places in `edge_index()`."""
        known = self._cache.get("T")
        transposed = None if known is None else known()
        if transposed is None:
            transposed = self._transposed()
            # One strong and one weak reference: two strong ones would keep device memory until garbage collection.
            self._cache["T"] = weakref.ref(transposed)
            transposed._cache["T"] = lambda: self
        return transposed

    def _transposed(self) -> "Graph":
        from graphattn.graphs.transposed import TransposedGraph

        return TransposedGraph(self)

    def __or__(self, other: "Graph") -> "Graph":
        from graphattn.graphs.algebra import union

        return union(self, other)

    def __and__(self, other: "Graph") -> "Graph":
        from graphattn.graphs.algebra import intersection

        return intersection(self, other)

    # What has operators of its own, such as a tensor of edges, stands on the left: the same sentence says what it should be.
    __ror__, __rand__ = __or__, __and__

    def __invert__(self) -> "Graph":
        from graphattn.graphs.algebra import complement

        return complement(self)

    def normal_form(self) -> "Graph":
        """The plainest graph with the same edges in the same order: two spellings of one graph become equal."""
        return self

    def _ordered(self, edges_by_key: bool) -> "Graph":
        """The same edges by (key, query) or by (query, key): other places in `edge_index()`."""
        return self if edges_by_key == self.edges_by_key else self.twin(edges_by_key=edges_by_key)

    def twin(self, **changes: Any) -> Self:
        """A graph of the same fields but for `changes`; it shares the tensors, which nobody writes, and remembers nothing."""
        graph = object.__new__(type(self))
        graph._freeze(**self._fields() | changes)
        return graph

    def examples(self) -> list["Graph"]:
        """The graphs of a batch, one by one; `[self]` for a single graph."""
        return [self] if self.num_examples == 1 else self._split()

    def _split(self) -> list["Graph"]:
        """`examples` of a batch; classes whose graphs are one example each need none."""
        return [self]

    @classmethod
    def _join(cls, graphs: list[Self]) -> "Graph | None":
        """One ragged graph of this class for `graphs`, all of this class; None if there is none."""
        return None

    def subgraph(self, nodes: Sequence[int] | Tensor | np.ndarray) -> "Graph":
        """The edges among `nodes` (indices, or a bool mask), which are renumbered in the order given.

        For square graphs. Edges keep their order, so that attributes of edges can be selected alike.
        """
        from graphattn.graphs.subgraph import subgraph

        return subgraph(self, nodes)

    def rows(self, start: int, stop: int) -> "Rows":
        """The queries start .. stop - 1 as a graph of their own, the keys that they see, and the places of their edges.

        What comes back is a triple (`LocalGraph`, keys, places in `edge_index()`), each of the two a slice or indices in rising
        order. Nodes keep the positions, and edges the dropout, that they have in the whole graph.

        >>> from graphattn.graphs import BandedGraph
        >>> local, keys, edges = BandedGraph(1_000_000, 2, 1).rows(500, 600)
        >>> local.shape, keys, edges
        ((100, 103), slice(498, 601, None), slice(1997, 2397, None))
        """
        from graphattn.graphs.rows import rows_between

        return rows_between(self, start, stop)

    def to_networkx(self) -> "networkx.DiGraph":
        """A `networkx.DiGraph` (`MultiDiGraph` if edges repeat) with an edge from each key to its query.

        Nodes are the integers 0 .. num_nodes - 1; if queries and keys are not the same nodes (sizes differ)
        they are ("query", i) and ("key", j).
        """
        return to_networkx(self)

    def to_scipy(self) -> "scipy.sparse.coo_array":
        """A `scipy.sparse.coo_array` of ones with rows = keys (sources), columns = queries (targets)."""
        return to_scipy(self)

    # Devices and storage ----------------------------------------------------------------------------------------------

    def _map_tensors(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The graph with `function` applied to its tensors; a formula has none."""
        own = {name: x for name, x in self._fields().items() if isinstance(x, Tensor)}
        return self.twin(**{name: function(x) for name, x in own.items()}) if own else self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """The graph on another device, with the arguments of `torch.Tensor.to`; indices keep their dtype."""
        device, _, non_blocking, _ = torch._C._nn._parse_to(*args, **kwargs)
        if device is None:
            return self
        # Numbers on their way to the CPU could be read before they are there.
        non_blocking = non_blocking and device.type != "cpu"
        return self._map_tensors(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def cpu(self) -> Self:
        """The graph on the CPU."""
        return self.to("cpu")

    def cuda(self, device: torch.device | str | int | None = None, non_blocking: bool = False) -> Self:
        """The graph on a CUDA device, the current one by default."""
        return self._map_tensors(lambda tensor: tensor.cuda(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """The graph in page-locked memory, from which copies to CUDA need not block."""
        return self._map_tensors(lambda tensor: tensor.pin_memory())

    def clone(self) -> Self:
        """The graph with tensors of its own."""
        return self._map_tensors(lambda tensor: tensor.clone())

    def __repr__(self) -> str:
        return f"{self.T!r}.T" if self.edges_by_key else self._describe()

    def _describe(self) -> str:
        """The repr: one line, whatever the number of edges."""
        own = {name: x for name, x in self._fields().items() if name not in ("sizes", "edges_by_key")}
        facts = {"num_queries": self.num_queries, "num_keys": self.num_keys} | own
        return f"{type(self).__name__}({', '.join(f'{name}={in_short(x)}' for name, x in facts.items())})"

    # Values -----------------------------------------------------------------------------------------------------------

    def _set_attribute(self, name: str, value: Any) -> None:
        # Of classes of users, which set theirs in __init__; a frozen dataclass refuses what it knows as a field only.
        if name in self.__dict__ and any(isinstance(found, tuple) for found in self.__dict__.get("_cache", ())):
            raise FrozenInstanceError(
                f"a graph never changes, and this one knows its edges (got another {name!r} for {self!r}); make a new one"
            )
        _set_unless_field(self, name, value)

    def __eq__(self, other: object) -> bool:
        """Whether both are of one class and equal in every field; two spellings of one graph may differ (see `normal_form`)."""
        if type(other) is not type(self):
            return NotImplemented
        own, others = self._fields(), other._fields()
        return own.keys() == others.keys() and all(is_same(x, others[name]) for name, x in own.items())

    def __hash__(self) -> int:
        return hash((type(self), self.sizes, self.edges_by_key))

    # Copies and files -------------------------------------------------------------------------------------------------

    def _fields(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in OF_ITS_OWN}

    def __copy__(self) -> Self:
        return self.twin()

    def __deepcopy__(self, memo: object) -> Self:
        return self.twin()

    def __getstate__(self) -> dict[str, Any]:
        return self._fields()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Checks what was read as constructors check their arguments: a file may say anything."""
        if "number" in self.__dict__:
            raise ValueError(f"a graph never changes (got another state for {self!r}); make a new one")
        try:
            check_names(state, type(self))
            self._restore(**state)
            for name, own in (("sizes", self.sizes), ("edges_by_key", self.edges_by_key)):
                if own != state[name]:
                    raise ValueError(f"{name!r} must be {own}, which follows from the other fields (got {state[name]})")
        except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RuntimeError) as error:
            raise ValueError(f"what was read is no {type(self).__name__}: {error}") from error

    def _restore(self, sizes: Any, edges_by_key: Any, **own: Any) -> None:
        """Sets the fields that were read, once they are checked. Its parameters are the fields of the file."""
        self._freeze(sizes=parse_pairs(sizes), edges_by_key=parse_flag("edges_by_key", edges_by_key), **own)

    # What subclasses share --------------------------------------------------------------------------------------------

    def _resolve(self, device: Device) -> torch.device:
        if device is None:
            return self.device or torch.get_default_device()
        device = torch.device(device)
        # "cuda" and "cuda:0" must not be two entries of the cache.
        return torch.empty(0, device=device).device if device.type != "cpu" and device.index is None else device

    def known(self, name: Hashable) -> Any:
        """What is remembered under `name`, None if nothing is."""
        try:
            return self._cache.get(name)
        except AttributeError:
            raise without_sizes(self) from None

    def remember(self, name: Hashable, build: Callable[[], Made]) -> Made:
        """What `build()` made the first time it was asked for under `name`; copies and pickles of the graph forget it.

        It must not hold the graph, which would then wait for the garbage collector, and whoever gets it never writes it.
        """
        try:
            cache = self._cache
        except AttributeError:
            raise without_sizes(self) from None
        if name not in cache:
            cache.setdefault(name, untransformed(build))  # of two threads, the first
        return cache[name]

    def remember_on(self, name: str, device: Device, build: Callable[[torch.device], Made]) -> Made:
        """`remember` for each device, with `build(device)`."""
        resolved = self._resolve(device)
        return self.remember((name, resolved), lambda: build(resolved))

    def _per_example(self, values: Sequence[int], example: Index) -> Index:
        """The value of each example in `example` (a tensor of indices, or 0 in a single graph)."""
        if not isinstance(example, Tensor):
            return values[0]
        return torch.tensor(values, device=example.device)[example]

    def _locate(self, query: Index, key: Index) -> tuple[Tensor, Tensor, Tensor | int, Tensor]:
        """Indices inside the example, the example of the query, and whether the key is in the same one."""
        query, key = torch.as_tensor(query), torch.as_tensor(key)
        if self.num_examples == 1:
            return query, key, 0, torch.ones((), dtype=torch.bool, device=query.device)
        query_ptr, key_ptr = (torch.tensor(ptr, device=query.device) for ptr in (self.query_ptr, self.key_ptr))
        example = torch.bucketize(query, query_ptr, right=True) - 1
        same = example == torch.bucketize(key, key_ptr, right=True) - 1
        return query - query_ptr[example], key - key_ptr[example], example, same

    def _local_queries(self, device: torch.device) -> tuple[Tensor, Tensor | int, Tensor | int]:
        """Of each query: its index inside the example, its example, and the first key of that example."""
        query = torch.arange(self.num_queries, device=device)
        if self.num_examples == 1:
            return query, 0, 0
        example = self.batch(device)
        return (
            query - self._per_example(self.query_ptr[:-1], example),
            example,
            self._per_example(self.key_ptr[:-1], example),
        )


_set_unless_field: Any = Graph.__setattr__
Graph.__setattr__ = Graph._set_attribute  # type: ignore[assignment, method-assign]  # a frozen dataclass may not define it itself
