"""Rows that see so many keys that their queries go to the owners of the keys, and come back as results to merge."""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from graphattn.distributed.exchange import exchange_counted, make_halo, total_of
from graphattn.distributed.heads import Exchange
from graphattn.distributed.parts import Part, Parts, Where, base_of
from graphattn.distributed.ranges import owners
from graphattn.distributed.run import without_sink
from graphattn.formulas.normalizers import as_normalizer
from graphattn.functional import attend_over, attend_with_lse
from graphattn.graphs import EdgeListGraph, Graph, LocalGraph, UnionGraph
from graphattn.graphs.local import numbers_at
from graphattn.graphs.rows import by_query, cut_edges, edges_of_rows
from graphattn.kernels.kernel import Partial, accumulation_dtype
from graphattn.running.arguments import Options
from graphattn.running.execution import with_sink
from graphattn.running.with_lse import merge_attention

# Of the rows that a process would receive, how many must be spared so that two more exchanges pay: a share, and a number.
LEAST_SHARE, LEAST_ROWS = 0.25, 256
EMPTY = torch.empty(2, 0, dtype=torch.int64)


class Hubs(NamedTuple):
    """Own rows that are hubs, and what this process computes of everybody's hubs."""

    rows: Tensor  # among the own rows
    send: Tensor  # among `rows`, for one rank after the other those that see keys of it
    send_counts: tuple[int, ...]
    recv_counts: tuple[int, ...]
    graph: LocalGraph  # the queries that come x own keys
    spared: int  # rows of keys that do not come here for them

    def moved(self, rank: int) -> tuple[int, int]:
        """Queries that come here from other processes, and own ones that go there."""
        return sum(self.recv_counts) - self.recv_counts[rank], sum(self.send_counts) - self.send_counts[rank]


def with_hubs(graph: Graph, parts: Parts, where: Where) -> tuple[Parts, Hubs | None]:
    """The parts without the rows whose queries had better go to the keys, by counted rows; collective."""
    *others, part = parts.parts
    is_list = isinstance(part.graph.graph, EdgeListGraph) and not graph.edges_by_key
    rows, spared = hub_rows(part, where) if is_list else (EMPTY[0], 0)
    if not int(total_of(torch.tensor(len(rows)), where.group)):
        return parts, None
    edges = numbered(part, where)[:, torch.isin(part.graph.edge_index("cpu")[1], rows)] if len(rows) else EMPTY
    if isinstance(graph, UnionGraph) and others:
        base, first = base_of(graph), where.rows[0]
        assert base is not None  # whose parts the others are
        edges = torch.cat([edges, *(edges_of_rows(base, first + row, first + row + 1) for row in rows.tolist())], 1)
    hubs = hubs_of(graph, part, by_query(edges), rows, spared, where)
    left = without_rows(graph, part, rows, where)
    return Parts((*others, left), False, parts.strategy), hubs


def hub_rows(part: Part, where: Where) -> tuple[Tensor, int]:
    """Rows of this process that are hubs, rising, and how many rows of keys need not come for them.

    A row of keys is spared if all rows that see it are hubs. A hub costs a query and a result for each process that owns keys of
    it, which are counted as one row. Of the rows with most keys, as many are hubs as spare most.
    """
    nothing = EMPTY[0], 0
    key, query = part.graph.edge_index("cpu")
    pairs = torch.stack([query, key])[:, part.is_foreign(key)].unique(dim=1)
    if not pairs.numel():
        return nothing
    counts = torch.bincount(pairs[0], minlength=part.graph.num_queries)
    order = counts.argsort(descending=True, stable=True)
    place = order.argsort()
    last = torch.full((part.graph.num_keys,), -1).scatter_reduce_(0, pairs[1], place[pairs[0]], "amax")
    last = last[last >= 0]
    spared = torch.bincount(last, minlength=len(order)).cumsum(0)
    owner = owners(where.key_ptr, numbers_at(part.graph.key_numbers, pairs[1]))
    num_owners = torch.bincount(torch.stack([pairs[0], owner]).unique(dim=1)[0], minlength=len(order))
    gain = spared - num_owners[order].cumsum(0)
    best = int(gain.argmax())
    if gain[best] <= max(LEAST_SHARE * len(last), LEAST_ROWS):
        return nothing
    return order[: best + 1].sort().values, int(spared[best])


def numbered(part: Part, where: Where) -> Tensor:
    """The edges of a part in the numbers of the whole graph."""
    key, query = part.graph.edge_index("cpu")
    return torch.stack([numbers_at(part.graph.key_numbers, key), query + where.rows[0]])


def without_rows(graph: Graph, part: Part, rows: Tensor, where: Where) -> Part:
    """The part without the edges of some rows; collective, as less is fetched."""
    if not len(rows):
        numbers = part.graph.key_numbers
        keys = numbers if isinstance(numbers, Tensor) else slice(numbers, numbers + part.graph.num_keys)
        return part._replace(halo=make_halo(keys, where.key_ptr, where.rank, where.group), edges=None)
    is_left = ~torch.isin(part.graph.edge_index("cpu")[1], rows)
    local, keys = cut_edges(graph, numbered(part, where)[:, is_left], *where.rows)
    first = keys.start if isinstance(keys, slice) else keys
    halo = make_halo(keys, where.key_ptr, where.rank, where.group)
    return Part(beside(part, LocalGraph(local, part.graph.frame, where.rows[0], first)), halo, None)


def beside(part: Part, graph: LocalGraph) -> LocalGraph:
    """On the device of the part."""
    return graph if part.graph.device is None else graph.to(part.graph.device)


def hubs_of(graph: Graph, part: Part, edges: Tensor, rows: Tensor, spared: int, where: Where) -> Hubs:
    """Sends the edges of the hubs, by query, to the owners of their keys; collective."""
    key, query = edges
    owner = owners(where.key_ptr, key)
    order = owner.argsort(stable=True)
    pairs = torch.stack([owner, torch.searchsorted(rows + where.rows[0], query)]).unique(dim=1)
    sent = torch.stack([key, query], 1)[order]
    key, query = exchange_counted(sent, torch.bincount(owner, minlength=where.size), where.group).t().contiguous()
    numbers = query.unique()  # rising, as those of one rank after the other are
    senders = owners(where.query_ptr, numbers)
    first, last = where.key_ptr[where.rank : where.rank + 2]
    num_queries = torch.searchsorted(numbers, torch.tensor(graph.query_ptr)).diff().tolist()
    num_keys = [max(0, min(stop, last) - max(start, first)) for start, stop in pairwise(graph.key_ptr)]
    index = torch.stack([key - first, torch.searchsorted(numbers, query)])
    local = LocalGraph(EdgeListGraph.owning(index, num_queries, num_keys), part.graph.frame, numbers, first)
    counts = [torch.bincount(ranks, minlength=where.size).tolist() for ranks in (pairs[0], senders)]
    return Hubs(rows, pairs[1], tuple(counts[0]), tuple(counts[1]), beside(part, local), spared)


def attend_hubs(
    hubs: Hubs, where: Where, query: Tensor, key: Tensor, value: Tensor, options: Options
) -> tuple[Tensor, ...]:
    """[..., hubs, heads, value_dim] of the own hubs, and behind it their log-sum-exp [..., hubs, heads, 1] where there is one;
    collective."""
    normalizer = as_normalizer(options.normalizer)
    has_lse = normalizer.merge == "lse"
    own = options._replace(normalizer=without_sink(normalizer))
    rows = nodes_first(query)[hubs.rows.to(query.device)][hubs.send.to(query.device)]
    queries = Exchange.apply(rows.flatten(1), hubs.send_counts, hubs.recv_counts, where.group)
    queries = nodes_first(queries.unflatten(1, rows.shape[1:]))
    found = (attend_with_lse if has_lse else attend_over)(queries, key, value, hubs.graph, own)
    results = found if isinstance(found, tuple) else (found,)
    dtype = accumulation_dtype(query.dtype)
    packed = nodes_first(torch.cat([x.to(dtype) for x in results], -1))
    back = Exchange.apply(packed.flatten(1), hubs.recv_counts, hubs.send_counts, where.group).unflatten(
        1, packed.shape[1:]
    )
    every = spread(hubs, where, back, value.size(-1))
    if not has_lse:
        return (nodes_first(torch.stack([out for out, _ in every]).sum(0).to(query.dtype)),)
    merged = with_sink(Partial(*merge_attention([(out, lse[..., 0]) for out, lse in every])), normalizer.sink)
    return nodes_first(merged.out.to(query.dtype)), nodes_first(merged.lse[..., None])


def nodes_first(x: Tensor) -> Tensor:
    """[batch, nodes, ...] -> [nodes, batch, ...] and back; without a batch as it is."""
    return x.transpose(0, 1) if x.dim() == 4 else x


def spread(hubs: Hubs, where: Where, back: Tensor, value_dim: int) -> list[tuple[Tensor, Tensor]]:
    """Of each process (out, lse) for all own hubs: nothing where a hub has no keys of it."""
    size, count = where.size, len(hubs.rows)
    ranks = torch.arange(size).repeat_interleave(torch.tensor(hubs.send_counts))
    slots = (ranks * count + hubs.send).to(back.device)
    out, lse = back[..., :value_dim], back[..., value_dim:]
    outs = out.new_zeros(size * count, *out.shape[1:]).index_copy(0, slots, out).unflatten(0, (size, count))
    lses = (
        lse.new_full((size * count, *lse.shape[1:]), -torch.inf).index_copy(0, slots, lse).unflatten(0, (size, count))
    )
    return list(zip(outs, lses))
