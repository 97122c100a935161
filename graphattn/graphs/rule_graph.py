"""RuleGraph: the edges for which a function of query and key says yes."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from graphattn.graphs.graph import Graph, Index
from graphattn.graphs.pairs import check_answer
from graphattn.graphs.sizes import Counts, abbreviate, parse_flag, parse_pairs, parse_sizes


@dataclass(frozen=True, init=False, repr=False)
class RuleGraph(Graph):
    """`query` attends to `key` where `rule(query, key)` is true, what FlexAttention calls a `mask_mod`.

    The rule is asked once for every pair of an example, some millions at a time, and its edges are kept from then on as those
    of any graph; num_queries x num_keys numbers are never in memory. A graph that has a class of its own (a band, a grid)
    is asked nothing and runs faster.

    Args:
        num_queries: number of queries, or one int per example of a batch.
        num_keys: number of keys, likewise; as many as queries where it is None.
        rule: (query, key) -> bool, for int64 tensors of one shape that hold indices inside the example; number by number, so
            that a pair's answer depends on the pair alone. It must give the same answers whenever it is asked. Graphs in files
            and in workers of a DataLoader need a function with a name, not a lambda.

    Raises:
        TypeError: if `rule` is no function, or gives something other than a bool for each pair.

    >>> RuleGraph(5, rule=lambda query, key: (query - key) % 2 == 0).mask().int()
    tensor([[1, 0, 1, 0, 1],
            [0, 1, 0, 1, 0],
            [1, 0, 1, 0, 1],
            [0, 1, 0, 1, 0],
            [1, 0, 1, 0, 1]], dtype=torch.int32)
    """

    rule: Callable[[Tensor, Tensor], Tensor]

    def __init__(
        self,
        num_queries: Counts,
        num_keys: Counts | None = None,
        rule: Callable[[Tensor, Tensor], Tensor] | None = None,
    ):
        if callable(num_queries):
            count = "num_queries" if num_keys is None or callable(num_keys) else num_keys
            raise TypeError(
                f"'num_queries' is the first argument (got the rule there); write RuleGraph({count}, rule=...)"
            )
        if rule is None and callable(num_keys):
            raise TypeError(
                f"'rule' is the third argument (got it as 'num_keys'); write RuleGraph({num_queries}, rule=...)"
            )
        if callable(rule):
            check_arguments(rule)
        self._set(parse_sizes(num_queries, num_keys), rule)

    def _set(self, sizes: Sequence[tuple[int, int]], rule: Any, edges_by_key: bool = False) -> None:
        if not callable(rule):
            raise TypeError(f"'rule' must be a function (query, key) -> bool (got {type(rule).__name__})")
        if min(map(max, zip(*sizes))):
            ask(
                rule, *torch.zeros(2, 2, dtype=torch.long, device="cpu")
            )  # two pairs: for one, `and` and `<= <` would pass
        self._freeze(sizes=tuple(sizes), edges_by_key=edges_by_key, rule=rule)

    def _restore(self, sizes, edges_by_key, rule):
        self._set(parse_pairs(sizes), rule, parse_flag("edges_by_key", edges_by_key))

    @classmethod
    def _of(cls, *args: Any) -> Self:
        graph = cls.__new__(cls)
        graph._set(*args)
        return graph

    def allows(self, query: Index, key: Index) -> Tensor:
        query, key, _, same = self._locate(query, key)
        pairs = torch.broadcast_tensors(query, key, same)
        # An index of another example may be none of this one.
        query, key = (torch.where(pairs[2], x, 0).long() for x in pairs[:2])
        return ask(self.rule, query, key) & pairs[2]

    def _split(self) -> list[Graph]:
        return [self._of([size], self.rule, self.edges_by_key) for size in self.sizes]

    @classmethod
    def _join(cls, graphs: list[Self]) -> Graph | None:
        first = graphs[0]
        if any(graph.rule is not first.rule or graph.edges_by_key != first.edges_by_key for graph in graphs):
            return None
        return cls._of([size for graph in graphs for size in graph.sizes], first.rule, first.edges_by_key)

    def _describe(self) -> str:
        queries, keys = zip(*self.sizes)
        counts = abbreviate(queries) if queries == keys else f"{abbreviate(queries)}, {abbreviate(keys)}"
        return f"RuleGraph({counts}, rule={name_of(self.rule)})"


def check_arguments(rule: Callable[..., Any]) -> None:
    """Raises TypeError on a function that does not take two arguments."""
    try:
        signature = inspect.signature(rule)
    except ValueError:  # of some functions in C
        return
    try:
        signature.bind(0, 0)
    except TypeError as error:
        hint = (
            "; a mask_mod of FlexAttention: lambda query, key: rule(0, 0, query, key)"
            if len(signature.parameters) == 4
            else ""
        )
        raise TypeError(f"{named(rule)} must take (query, key) (got {signature}){hint}") from error


def ask(rule: Callable[[Tensor, Tensor], Tensor], query: Tensor, key: Tensor) -> Tensor:
    """What a rule says of pairs. Raises TypeError where it asks for one bool of many pairs, or does not give one for each."""
    try:
        answer = rule(query, key)
    except RuntimeError as error:
        if "is ambiguous" not in str(error) and "converted to Scalar" not in str(error):
            raise
        raise TypeError(
            f"{named(rule)} is asked for many pairs at once (got {list(query.shape)} of them), of which 'and', 'or', 'not', 'if',"
            " 'in', min, max, a < b < c and .item() make one value; combine tensors by &, | and ~, as in (a < b) & (b < c)"
        ) from error
    return check_answer(named(rule), answer, query.shape)


def name_of(rule: Callable[..., Any]) -> str:
    return getattr(rule, "__name__", type(rule).__name__)


def named(rule: Callable[..., Any]) -> str:
    """What errors call it."""
    return f"'rule' ({name_of(rule)})"
