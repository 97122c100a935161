"""SpreadGraph: what functions and layers see of a graph whose keys lie with several processes."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.types import Device

from graphattn.graphs.csr import CSR
from graphattn.graphs.graph import Graph, Index
from graphattn.graphs.local import LocalGraph, Numbers


class SpreadGraph(Graph):
    """A graph of some queries and some keys of a larger one, whose edges lead to keys that other processes hold.

    Functions and layers take it where they take a graph, with the rows of this process, and ask it to fetch the others.

    Attributes:
        frame: A graph with the sizes and positions of the larger one.
        query_numbers: The number of the first query in it.
        key_numbers: That of the first key.
    """

    frame: Graph
    query_numbers: Numbers
    key_numbers: Numbers

    @abstractmethod
    def attend(self, query: Tensor, key: Tensor, value: Tensor, options: Any, with_lse: bool) -> tuple[Tensor, ...]:
        """(out, edge_out if there are features, lse [num_queries, heads, 1] if asked for); collective."""

    @abstractmethod
    def local(self) -> LocalGraph:
        """The edges of the own queries over the keys that `fetch` gives; collective the first time."""

    @abstractmethod
    def fetch(self, *tensors: Tensor) -> list[Tensor]:
        """Rows of keys that the own queries see, of tensors that have a row for each own key; differentiable, collective."""

    @abstractmethod
    def explain(self, query: Tensor, key: Tensor, value: Tensor, options: Any) -> tuple[str, dict[str, str]]:
        """What would run, and why nothing else."""

    @abstractmethod
    def agree(self, what: str, keys: Sequence[Tensor], queries: Sequence[Tensor] = ()) -> None:
        """Raises on every process if they do not call the same with tensors of one kind, a row for each own node; collective."""

    @abstractmethod
    def total(self, x: Tensor) -> Tensor:
        """The sum of the tensors of one shape that all processes give; differentiable, collective."""

    def refuse(self) -> NoReturn:
        raise ValueError(
            f"edges of a {type(self).__name__} lead to keys of other processes, so that its own numbers do not name them (got"
            f" {self!r}); change edges before `shard` (self loops: SelfLoops, and add_self_loops=False in the layer), ask"
            " attention_weights(query, key, graph) for weights; `local()` is the graph of the own queries over the keys that"
            " `fetch` gives"
        )

    def allows(self, query: Index, key: Index) -> Tensor:
        self.refuse()

    def mask(self, device: Device = None) -> Tensor:
        self.refuse()

    def edge_index(self, device: Device = None) -> Tensor:
        self.refuse()

    def by_query(self, device: Device = None) -> CSR:
        self.refuse()

    def by_key(self, device: Device = None) -> CSR:
        self.refuse()

    def _rows(self, device: torch.device) -> tuple[Tensor, Tensor]:
        self.refuse()

    def _transposed(self) -> Graph:
        self.refuse()

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError(
            f"a {type(self).__name__} belongs to the processes that made it (got {self!r}); keep the whole graph"
        )
