"""`shard`: the arguments, compared over all processes, and the parts that follow from them."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from graphattn.distributed.agreement import Agreement
from graphattn.distributed.head_to_tail import ptr_of_blocks, ring_of_blocks
from graphattn.distributed.hubs import with_hubs
from graphattn.distributed.parts import (
    Parts,
    Where,
    is_line,
    ring_parts,
    rounds_of,
    sees_most,
    union_parts,
    whole_part,
)
from graphattn.distributed.ranges import own_ptr, parse_ptr
from graphattn.distributed.sharded import ShardedGraph
from graphattn.distributed.split import split_that_pays
from graphattn.graphs import EdgeListGraph, Graph, UnionGraph, as_graph
from graphattn.graphs.sizes import parse_integer
from graphattn.graphs.spread import SpreadGraph

STRATEGIES = (None, "halo", "ring", "heads")


def shard(
    graph: Any,
    mesh: DeviceMesh | dist.ProcessGroup | None = None,
    *,
    query_ptr: Sequence[int] | None = None,
    key_ptr: Sequence[int] | None = None,
    strategy: str | None = None,
    rounds: int | None = None,
    order: str | None = None,
    own_edges: bool = False,
    check: bool = True,
    timeout: float = 60.0,
) -> ShardedGraph:
    """The rows of `graph` that this process owns, with the way in which the keys that they see come from the others.

    Collective: every process of the group calls it, with equal graphs. Queries and keys are shared out in ranges, equal ones by
    default (whole slabs of a grid): order the nodes so that edges lead to near ones (see `graphattn.transforms.HilbertOrder`).

    Args:
        graph: A Graph of one or more examples, or anything `as_graph` takes that knows its number of nodes.
        mesh: A DeviceMesh of one axis, a process group, or None for all processes.
        query_ptr: Where the queries of each process start, and their number: [processes + 1] rising ints.
        key_ptr: The same for keys; by default that of the queries where there are as many.
        strategy: 'halo', 'ring' or 'heads' (see `ShardedGraph`); by default a ring for complete graphs and bands of one example
            where some process sees more than half of the keys of others, and a halo for all others. A union takes a
            structured member and the edges that the others add each in its way; with 'halo' all of them at once, as edges.
        rounds: Own keys first, then the keys of others in so many rounds, so that a large halo is never in memory as a whole, and
            own edges are computed while others' keys are under way.
        order: 'head_to_tail' for a complete graph or a band of one example, causal ones above all, whose late rows see most keys:
            each process owns a range from the head and one from the tail, so that all have equally many edges, in each step of the
            ring too. `rows` and `key_rows` are then indices. Options that do not merge write the edges out.
        own_edges: `graph` is an EdgeListGraph of the size of the whole, but holds the edges of this process's queries only.
        check: Compare options, dtypes and sizes over all processes in each call, so that a difference is an error on all of them;
            one small message. False where that has been seen to hold.
        timeout: Seconds to wait for a process that does not call.

    Raises:
        ValueError: on every process, where graphs, ranges or options differ or do not fit.
        RuntimeError: where a process does not come within the timeout.
    """
    group = group_of_mesh(mesh)
    agreement = Agreement.of(group, timeout)
    wish = Wish(query_ptr, key_ptr, strategy, rounds, order, own_edges, check)
    found: list[tuple[Graph, Where]] = []

    def facts() -> dict[str, Any]:
        found.append(wish.of(graph, group, agreement))
        return wish.facts(*found[0])

    agreement.compare("shard", facts)
    whole, where = found[0]
    if order is not None and is_line(whole):
        parts = Parts(tuple(ring_of_blocks(whole, where)), False, "ring")
        return ShardedGraph.of(whole, where, parts, agreement, check, order=order)
    parts = parts_of(whole, where, strategy, rounds)
    parts, hubs = with_hubs(whole, parts, where) if strategy is None and rounds is None else (parts, None)
    split = split_that_pays(whole, where, parts, agreement.group)
    return ShardedGraph.of(whole, where, parts, agreement, check, split=split, hubs=hubs)


class Wish(NamedTuple):
    """The arguments of `shard`, whose meaning it says."""

    query_ptr: Sequence[int] | None
    key_ptr: Sequence[int] | None
    strategy: str | None
    rounds: int | None
    order: str | None
    own_edges: bool
    check: bool

    def of(self, graph: Any, group: dist.ProcessGroup, agreement: Agreement) -> tuple[Graph, Where]:
        """The graph and the ranges, checked; ValueError or TypeError where something does not fit."""
        whole = as_graph(graph)
        if isinstance(whole, SpreadGraph):
            raise ValueError(f"'graph' is sharded already (got {whole!r}); give the whole one")
        if self.order is not None:
            self.check_order(whole)
            ptr = ptr_of_blocks(whole.num_queries, agreement.size)
            return whole, Where(group, agreement.rank, ptr, ptr)
        where = Where(group, agreement.rank, *ranges_of(whole, self.query_ptr, self.key_ptr, agreement.size))
        check_strategy(whole, where, self.strategy, self.rounds, self.own_edges)
        return whole, where

    def check_order(self, graph: Graph) -> None:
        if self.order != "head_to_tail":
            raise ValueError(f"'order' must be None or 'head_to_tail' (got {self.order!r})")
        if not is_line(graph) or graph.num_queries != graph.num_keys:
            raise ValueError(
                f"order 'head_to_tail' is for complete graphs and bands of one example with as many keys as queries (got {graph!r})"
            )
        others = {
            "query_ptr": self.query_ptr,
            "key_ptr": self.key_ptr,
            "rounds": self.rounds,
            "own_edges": self.own_edges,
        }
        given = [name for name, value in others.items() if value is not None and value is not False]
        if given or self.strategy not in (None, "ring"):
            raise ValueError(
                f"order 'head_to_tail' makes the ranges itself and runs as a ring (got {given}, strategy={self.strategy!r});"
                " leave them out"
            )

    def facts(self, graph: Graph, where: Where) -> dict[str, Any]:
        """What must be the same on all processes."""
        ranges = {"query_ptr": where.query_ptr, "key_ptr": where.key_ptr}
        return self._asdict() | ranges | {"graph": digest_of_graph(graph, self.own_edges)}


def group_of_mesh(mesh: DeviceMesh | dist.ProcessGroup | None) -> dist.ProcessGroup:
    """The processes that share a graph; ValueError or TypeError where they are none, or this one is not among them."""
    if isinstance(mesh, DeviceMesh) and mesh.ndim != 1:
        raise ValueError(f"'mesh' must have one axis (got {mesh}); give one of its axes, mesh['name']")
    group = mesh.get_group() if isinstance(mesh, DeviceMesh) else dist.group.WORLD if mesh is None else mesh
    if group is None:
        raise ValueError(
            "'shard' needs the processes of torch.distributed (got none); call torch.distributed.init_process_group"
        )
    if group is dist.GroupMember.NON_GROUP_MEMBER:
        raise ValueError(
            "'mesh' is a group of other processes (got this one, which is not in it); call from its members"
        )
    if not isinstance(group, dist.ProcessGroup):
        raise TypeError(f"'mesh' must be a DeviceMesh, a process group or None (got {mesh!r})")
    return group


def ranges_of(graph: Graph, query_ptr: Any, key_ptr: Any, size: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    queries = (
        own_ptr(graph, 0, size) if query_ptr is None else parse_ptr("query_ptr", query_ptr, graph.num_queries, size)
    )
    if key_ptr is not None:
        return queries, parse_ptr("key_ptr", key_ptr, graph.num_keys, size)
    return queries, queries if graph.num_keys == graph.num_queries else own_ptr(graph, 1, size)


def check_strategy(graph: Graph, where: Where, strategy: Any, rounds: Any, own_edges: bool) -> None:
    if strategy not in STRATEGIES:
        raise ValueError(f"'strategy' must be one of {STRATEGIES} (got {strategy!r})")
    if strategy == "ring" and not is_line(graph):
        raise ValueError(f"strategy 'ring' runs complete graphs and bands of one example (got {graph!r}); take 'halo'")
    if rounds is not None and (parse_integer("rounds", rounds, minimum=1) and strategy in ("ring", "heads")):
        raise ValueError(f"'rounds' are of strategy 'halo' (got strategy={strategy!r})")
    if not own_edges:
        return
    if not isinstance(graph, EdgeListGraph) or strategy == "heads":
        raise ValueError(f"'own_edges' is for an EdgeListGraph, by 'halo' (got {graph!r}, strategy={strategy!r})")
    query = graph.edge_index()[1]
    start, stop = where.rows
    outside = query[(query < start) | (query >= stop)]
    if len(outside):
        raise ValueError(
            f"with 'own_edges' all edges end at the queries {start} .. {stop - 1} of rank {where.rank} (got query"
            f" {int(outside[0])}); pass each edge to the process that owns its query"
        )


def digest_of_graph(graph: Graph, own_edges: bool) -> str:
    """What equal graphs have in common: every field of a formula, and a digest of given edges."""
    return f"{graph.num_queries} queries, {graph.num_keys} keys" if own_edges else described(graph)


def described(x: Any) -> str:
    if isinstance(x, Graph):
        own = {name: described(value) for name, value in vars(x).items() if name not in ("_cache", "number")}
        return f"{type(x).__name__}({', '.join(f'{name}={value}' for name, value in own.items())})"
    if isinstance(x, Tensor):
        wide = x if x.is_floating_point() else x.long()  # edges are the same in int32
        numbers = wide.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        return f"{list(x.shape)} of digest {blake2b(numbers.data, digest_size=8).hexdigest()}"
    if isinstance(x, tuple):
        return f"({', '.join(map(described, x))})"
    return getattr(x, "__qualname__", repr(x))


def parts_of(graph: Graph, where: Where, strategy: str | None, rounds: int | None) -> Parts:
    if strategy == "heads":
        return Parts((), False, "heads")
    if rounds is not None:
        return Parts(tuple(rounds_of(whole_part(graph, where), where, rounds)), False, "halo")
    if strategy == "ring" or (strategy is None and sees_most(graph, where)):
        return Parts(tuple(ring_parts(graph, where)), False, "ring")  # type: ignore[arg-type] # which is a line
    if isinstance(graph, UnionGraph) and strategy is None:
        parts = union_parts(graph, where, lambda member, here: list(parts_of(member, here, strategy, None).parts))
        if parts is not None:
            return Parts(tuple(parts), False, "ring" if len(parts) > 2 else "halo")
    return Parts((whole_part(graph, where),), True, "halo")
