"""ShardedGraph: the rows of one process of a graph that is spread over several."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from typing_extensions import Self

from graphattn.distributed.agreement import Agreement
from graphattn.distributed.exchange import fetch, total_of
from graphattn.distributed.facts import facts_of_call, facts_of_tensors
from graphattn.distributed.head_to_tail import blocks_of, edges_of_blocks, order_of, whole_part_of_blocks
from graphattn.distributed.heads import attend_heads, check_heads
from graphattn.distributed.hubs import Hubs, attend_hubs
from graphattn.distributed.overlap import attend_split
from graphattn.distributed.parts import (
    Part,
    Parts,
    Where,
    is_line,
    whole_part,
)
from graphattn.distributed.reduce import AllReduce
from graphattn.distributed.run import attend_parts
from graphattn.distributed.split import Split
from graphattn.distributed.traffic import Traffic, traffic_of
from graphattn.formulas.normalizers import as_normalizer
from graphattn.formulas.offsets import OffsetRule
from graphattn.functional import attend_over, attend_with_lse, choice_over
from graphattn.graphs import Graph, LocalGraph
from graphattn.graphs.local import Numbers, frame_of
from graphattn.graphs.rows import Places, edges_between
from graphattn.graphs.spread import SpreadGraph
from graphattn.running.arguments import (
    Draw,
    Options,
    check_dropout,
    check_edge_tensors,
    check_graph,
    check_node_tensors,
    new_seed,
    prepare_anew,
    unfold,
)
from graphattn.running.execution import MOST_AGAIN, finish, has_lost_digits
from graphattn.running.with_lse import check_has_lse

# Compiled code stops where processes wait for each other, and goes on behind.
uncompiled = torch.compiler.disable(
    reason="compiled code cannot wait for other processes; the layers in between are compiled"
)


@dataclass(frozen=True, init=False, repr=False, eq=False)
class ShardedGraph(SpreadGraph):
    """The queries and keys that this process owns of a graph that several processes share; made by `shard`.

    A Graph of shape (own queries, own keys): `attend`, layers, blocks and drop-ins take it with the rows of this process, and give
    the rows that one process would give. All processes call them, in the same order. What is given per edge belongs to the edges
    of the own rows, in their order in the whole graph (`edges`).

    Attributes:
        rows: The queries of this process among those of the whole graph: a slice, or, with order='head_to_tail', int64 indices.
        key_rows: Its keys, likewise.
        order: 'head_to_tail' where each process owns a range from the head and one from the tail of the nodes.
        strategy: 'halo': the keys that own rows see are fetched; by default, rows that see so many keys that their queries are
            fewer bytes send these to the owners of the keys instead. 'ring': the keys of one process after the other are, and
            two blocks of them are in memory at a time. 'heads': all rows of some heads are gathered (DeepSpeed-Ulysses).
    """

    __eq__, __hash__ = object.__eq__, object.__hash__

    whole: Graph  # the edges of this process's rows at least
    frame: Graph
    where: Where
    parts: tuple[Part, ...]
    split: Split | None  # of the one part, where its rows are computed in two goes
    hubs: Hubs | None  # rows whose queries go to the owners of their keys; the parts lack them
    order: str | None
    moved_to: torch.device | None  # where `moved` has brought what is computed here
    strategy: str
    is_whole: bool  # whether the one part holds all edges of the own rows, in their order
    agreement: Agreement
    is_checked: bool

    @property
    def rows(self) -> Places:  # type: ignore[override]
        return slice(*self.where.rows) if self.order is None else self.nodes

    @property
    def key_rows(self) -> Places:
        return slice(*self.where.key_ptr[self.where.rank : self.where.rank + 2]) if self.order is None else self.nodes

    @property
    def nodes(self) -> Tensor:
        """The numbers of the own queries: int64 [num_queries], rising."""
        if self.order is None:
            return torch.arange(*self.where.rows)
        order = self.remember("order", lambda: order_of(self.whole.num_queries, self.where.size))
        return order[slice(*self.where.rows)]

    @property
    def rank(self) -> int:
        return self.where.rank

    @property
    def num_processes(self) -> int:
        return self.where.size

    @property
    def group(self) -> dist.ProcessGroup:
        return self.where.group

    @property
    def query_numbers(self) -> Numbers:  # type: ignore[override]
        return self.where.rows[0] if self.order is None else self.nodes

    @property
    def key_numbers(self) -> Numbers:  # type: ignore[override]
        return self.where.key_ptr[self.where.rank] if self.order is None else self.nodes

    @property
    def device(self) -> torch.device | None:
        return self.whole.device

    @property
    def edges(self) -> Places:
        """Places of the edges of the own rows in `edge_index()` of the graph that was sharded: a slice, or indices that rise."""
        return self.remember("edges", self.find_edges)

    def find_edges(self) -> Places:
        if self.order is not None and is_line(self.whole):
            return edges_of_blocks(self.whole, self.where)
        return edges_between(self.whole, *self.where.rows)

    @property
    def num_edges(self) -> int:
        """Edges of the own rows."""
        edges = self.edges
        return edges.stop - edges.start if isinstance(edges, slice) else len(edges)

    @property
    def has_repeats(self) -> bool:
        return self.whole.has_repeats

    @property
    def traffic(self) -> Traffic:
        """Rows of keys that this process receives and sends in a forward pass, and how many are in memory.

        Raises:
            ValueError: with the strategy 'heads', which moves some heads of all rows.
        """
        if self.strategy == "heads":
            raise ValueError(
                "rows of keys are not what the strategy 'heads' moves (got"
                f" {self!r}); choose_kernel(graph, query, key, value) says how many bytes that are"
            )
        return traffic_of(self.parts, self.hubs, self.where)

    @classmethod
    def of(cls, whole: Graph, where: Where, parts: Parts, agreement: Agreement, is_checked: bool, **more: Any) -> Self:
        """As `shard` makes it; more are split, hubs and order."""
        graph = cls.__new__(cls)
        graph._set(whole, where, parts, agreement, is_checked, **more)
        return graph

    def _set(self, whole, where, parts, agreement, is_checked, split=None, hubs=None, order=None) -> None:
        own = [
            [overlap(ptr, number, rows) for number in range(whole.num_examples)]
            for ptr, rows in (
                (whole.query_ptr, where.rows),
                (whole.key_ptr, where.key_ptr[where.rank : where.rank + 2]),
            )
        ]
        self._freeze(
            sizes=tuple(zip(*own)), edges_by_key=False, whole=whole, frame=frame_of(whole), where=where,
            parts=parts.parts, split=split, hubs=hubs, order=order, moved_to=None, strategy=parts.strategy, is_whole=parts.is_whole,
            agreement=agreement, is_checked=is_checked,
        )  # fmt: skip

    def whole_part(self) -> Part:
        """All edges of the own rows over all keys that they see; collective the first time."""
        if self.is_whole and len(self.parts) == 1:
            return self.parts[0]
        return self.remember("whole part", self.make_whole_part)

    def make_whole_part(self) -> Part:
        if self.order is not None and is_line(self.whole):
            part = whole_part_of_blocks(self.whole, self.where)
        else:
            part = whole_part(self.whole, self.where)
        return part if self.moved_to is None else part._replace(graph=part.graph.to(self.moved_to))

    @uncompiled
    def local(self) -> LocalGraph:
        return self.whole_part().graph

    @uncompiled
    def fetch(self, *tensors: Tensor) -> list[Tensor]:
        return fetch(tensors, self.whole_part().halo)

    @uncompiled
    def agree(self, what: str, keys: Sequence[Tensor], queries: Sequence[Tensor] = ()) -> None:
        def facts() -> dict[str, Any]:
            for side, name, rows, tensors in ((0, "queries", "rows", queries), (1, "keys", "key_rows", keys)):
                for x in tensors:
                    if x.size(0) != self.shape[side]:
                        raise ValueError(
                            f"{what} takes a row for each of the {self.shape[side]} own {name} of rank {self.rank} (got"
                            f" {list(x.shape)}); pass those of this process, x[graph.{rows}]"
                        )
            return facts_of_tensors([*queries, *keys])

        if self.is_checked:
            self.agreement.compare(what, facts)
        else:
            facts()

    @uncompiled
    def total(self, x: Tensor) -> Tensor:
        return AllReduce.apply(x, self.group)

    def _build_degrees(self, device: torch.device) -> Tensor:
        return self.local().degrees(device)

    @uncompiled
    def attend(self, query: Tensor, key: Tensor, value: Tensor, options: Options, with_lse: bool) -> tuple[Tensor, ...]:
        options = self.agreed(query, key, value, options, with_lse)
        return self.moved(query.device).attend_agreed(query, key, value, options, with_lse)

    def attend_agreed(
        self, query: Tensor, key: Tensor, value: Tensor, options: Options, with_lse: bool
    ) -> tuple[Tensor, ...]:
        """`attend` of tensors and options that fit, where the tensors are."""
        if self.strategy == "heads":
            return attend_heads(self.whole, self.where, query, key, value, options, with_lse)
        results: tuple[Tensor, ...] | None = None
        if self.runs_in_parts(options):
            results = self.attend_parts(query, key, value, options, with_lse)
        if results is None:
            run = attend_with_lse if with_lse else attend_over
            results = self.attend_part(self.whole_part(), query, key, value, options, run)
        return results

    def moved(self, device: torch.device) -> "ShardedGraph":
        """A formula, some of whose parts may be written out on CPU, where the tensors are.

        On every process it is another graph then, whatever there is to move, so that none has found together with others what
        they look for alone.
        """
        if self.device is not None or device.type == "cpu" or self.moved_to is not None:
            return self
        return self.remember(("moved", device), lambda: self.mapped(lambda x: x.to(device)).twin(moved_to=device))

    def attend_part(
        self, part: Part, query: Tensor, key: Tensor, value: Tensor, options: Options, run: Any
    ) -> tuple[Tensor, ...]:
        """All its keys at once; in the meantime the rows that wait for none, where there are enough of them."""
        if self.split is not None and part is self.parts[0] and query.dim() == 3:
            return attend_split(self.split, part.graph, part.halo, (query, key, value), options, run)
        if key.dim() == 3:
            key, value = fetch((key, value), part.halo)
        else:  # a batch of tensors is one of more channels
            found = fetch([x.transpose(0, 1).contiguous() for x in (key, value)], part.halo)
            key, value = (x.transpose(0, 1) for x in found)
        results = run(query, key, value, part.graph, options)
        return results if isinstance(results, tuple) else (results,)

    def runs_in_parts(self, options: Options) -> bool:
        """Whether parts run one by one and merge; else all keys that own rows see are fetched."""
        if self.is_whole and len(self.parts) == 1:
            return False
        if self.hubs is not None and not (options.bias is None or isinstance(options.bias, OffsetRule)):
            return False  # other rules may know the own edges alone
        normalizer = as_normalizer(options.normalizer)
        per_edge = isinstance(options.bias, Tensor) or options.edge_features is not None
        knows_edges = all(part.edges is not None for part in self.parts)
        return normalizer.merge is not None and not normalizer.scale_by_degree and (knows_edges or not per_edge)

    def attend_parts(
        self, query: Tensor, key: Tensor, value: Tensor, options: Options, with_lse: bool
    ) -> tuple[Tensor, ...] | None:
        """Part by part; None on all processes where a log-sum-exp has lost the digits that results are merged by."""
        has_lse = as_normalizer(options.normalizer).merge == "lse"
        if self.hubs is not None and len(self.parts) == 1:
            run = attend_with_lse if has_lse else attend_over
            results = self.attend_part(self.parts[0], query, key, value, options, run)
        else:
            results = self.attend_merged(query, key, value, options, has_lse)
        if self.hubs is not None:
            rows = self.hubs.rows.to(query.device)
            of_hubs = attend_hubs(self.hubs, self.where, query, key, value, options)
            results = tuple(x.index_copy(-3, rows, found) for x, found in zip(results, of_hubs, strict=True))
        if not has_lse:
            return results
        return None if self.is_merged_badly(results[-1]) else results if with_lse else results[:-1]

    def attend_merged(
        self, query: Tensor, key: Tensor, value: Tensor, options: Options, has_lse: bool
    ) -> tuple[Tensor, ...]:
        """The merged result of the parts, with the log-sum-exp behind it where there is one."""
        rule = None if isinstance(options.bias, Tensor) else options.bias
        given = options if rule is None else options._replace(bias=None)
        plan, inputs, batch = prepare_anew(query, key, value, self, given)
        merged = attend_parts(self.parts, plan, inputs, rule, options.kernel, batch or 1)
        edge_out = merged.edge_out if options.edge_sum else None  # some kernels give it all the same
        # Some scores take queries in a wider dtype.
        found = [x.to(query.dtype) for x in finish(plan, inputs, merged.out, edge_out) if x is not None]
        found += [merged.lse[..., None]] if has_lse else []
        return tuple(x if batch is None else unfold(x, batch) for x in found)

    def is_merged_badly(self, lse: Tensor) -> bool:
        """Whether some process has rows whose log-sum-exp has lost the digits that their parts are merged by; collective where
        tensors are on the CPU: a GPU is not asked."""
        if lse.device.type != "cpu" or self.num_processes == 1:
            return False
        is_here = has_lost_digits(lse) and self.num_edges * lse.size(-2) <= MOST_AGAIN
        return bool(total_of(torch.tensor(int(is_here)), self.agreement.group))

    def agreed(self, query: Tensor, key: Tensor, value: Tensor, options: Options, with_lse: bool) -> Options:
        """The options, with what dropout is drawn by, once all processes have said that they call the same."""
        has_dropout = not (isinstance(options.dropout, (int, float)) and options.dropout == 0)
        # Drawn by all: their generators stay in step.
        seed = int(new_seed(query.device)) if has_dropout and isinstance(query, Tensor) else 0

        def facts() -> dict[str, Any]:
            check_node_tensors(query, key, value)
            check_graph(self.moved(query.device), query, query.size(-3), key.size(-3))
            check_dropout(options.dropout)
            bias = options.bias if isinstance(options.bias, Tensor) else None
            check_edge_tensors(self, query, bias, options.edge_features, options.edge_query)
            if with_lse:
                check_has_lse(as_normalizer(options.normalizer))
            if self.strategy == "heads":
                check_heads(self.where, query, key, options)
            return facts_of_call((query, key, value), options) | {"return_lse": with_lse}

        if self.is_checked or has_dropout:
            seed = self.agreement.compare("a call of attend", facts, seed)
        else:
            facts()
        return options._replace(draw=Draw(seed)) if has_dropout else options

    def explain(self, query: Tensor, key: Tensor, value: Tensor, options: Options) -> tuple[str, dict[str, str]]:
        """The strategy and the kernels of the parts; the bytes of other strategies. Not collective."""
        width = key.size(-2) * (key.size(-1) + value.size(-1)) * key.element_size()
        refusals = {name: words for name, words in self.refusals(query, width).items() if name != self.strategy}
        kernels: list[str] = []
        graphs = [part.graph for part in self.parts] if self.strategy != "heads" else [self.whole]
        graphs += [] if self.hubs is None else [self.hubs.graph]
        for graph in graphs:
            own_query = query[..., :1, :, :].expand(*query.shape[:-3], graph.num_queries, -1, -1)
            own_key, own_value = (x[..., :1, :, :].expand(*x.shape[:-3], graph.num_keys, -1, -1) for x in (key, value))
            plain = options._replace(bias=None, edge_features=None, edge_query=None)
            chosen, reasons = choice_over(own_query, own_key, own_value, graph, plain)
            kernels += [chosen] if chosen not in kernels else []
            refusals |= reasons
        return f"{self.movement(query, width)} + {' + '.join(kernels)}", refusals

    def movement(self, query: Tensor, width: int) -> str:
        """The strategy, and what comes here by it in a forward pass."""
        if self.strategy == "heads":
            return f"heads ({self.bytes_of_heads(query, width)} bytes)"
        traffic = self.traffic
        words = f"{traffic.received} rows, {traffic.received * width} bytes"
        if self.split is not None and query.dim() == 3:
            inner = self.num_queries - self.split.num_outer_rows
            words += f", under way while {inner} of {self.num_queries} rows are computed"
        if self.hubs is not None:
            words += (
                f"; {traffic.queries_sent} queries of hubs go to their keys instead of {self.hubs.spared} rows here"
            )
        return f"{self.strategy} ({words})"

    def refusals(self, query: Tensor, width: int) -> dict[str, str]:
        """Why not the other strategies, with what they move to this process in a forward pass."""
        others = self.whole.num_keys - self.shape[1]
        ring = f"'ring' would move all {others} other rows of keys here, {others * width} bytes"
        heads = query.size(-2)
        return {
            "halo": "'halo' would keep all keys that own rows see in memory at once, more than half of all others for some process",
            "ring": ring
            if is_line(self.whole)
            else f"'ring' runs complete graphs and bands of one example (got {self.whole!r})",
            "heads": f"'heads' is asked for by name; it would move {self.bytes_of_heads(query, width)} bytes here, and needs a"
            f" multiple of {self.num_processes} heads (got {heads})",
        }

    def bytes_of_heads(self, query: Tensor, width: int) -> int:
        """What comes here in a forward pass: own heads of others' queries, keys and values, and others' heads of own results."""
        size = self.num_processes
        of_query = query.size(-2) * query.size(-1) * query.element_size()
        queries, keys = (self.whole.shape[side] - self.shape[side] for side in (0, 1))
        return (queries * of_query + keys * width) // size + self.num_queries * of_query * (size - 1) // size

    def graphs_here(self) -> list[LocalGraph]:
        """All that are computed on this process."""
        pieces = [] if self.split is None else [self.split.inner, *self.split.outer]
        hubs = [] if self.hubs is None else [self.hubs.graph]
        return [*(part.graph for part in self.parts), *(piece.graph for piece in pieces), *hubs]

    def _map_tensors(self, function: Callable[[Tensor], Tensor]) -> "ShardedGraph":
        graphs = [self.whole, *self.graphs_here()]
        return self if all(graph._map_tensors(function) is graph for graph in graphs) else self.mapped(function)

    def mapped(self, function: Callable[[Tensor], Tensor]) -> "ShardedGraph":
        parts = tuple(part._replace(graph=part.graph._map_tensors(function)) for part in self.parts)
        split = self.split and self.split.map(function)
        hubs = self.hubs and self.hubs._replace(graph=self.hubs.graph._map_tensors(function))
        return self.twin(whole=self.whole._map_tensors(function), parts=parts, split=split, hubs=hubs)

    def _describe(self) -> str:
        where = self.where
        rows, keys = (ptr[where.rank : where.rank + 2] for ptr in (where.query_ptr, where.key_ptr))
        owned = f"queries {rows[0]} .. {rows[1] - 1} and keys {keys[0]} .. {keys[1] - 1}"
        if self.order is not None:
            blocks = blocks_of(self.whole.num_queries, where.size)[where.rank]
            owned = f"nodes {' and '.join(f'{start} .. {stop - 1}' for start, stop in blocks)}"
        return f"ShardedGraph({owned} of {self.whole!r}, strategy={self.strategy!r}, rank {self.rank} of {where.size})"


def overlap(ptr: Sequence[int], example: int, rows: Sequence[int]) -> int:
    """How many of some rows are of an example."""
    return max(0, min(ptr[example + 1], rows[1]) - max(ptr[example], rows[0]))
