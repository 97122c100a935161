"""GraphAround: a graph that keeps another one and has its edges."""

import torch
from torch import Tensor
from torch.types import Device

from graphattn.graphs.csr import CSR
from graphattn.graphs.graph import Graph, Index


class GraphAround(Graph):
    """Answers about edges as `graph` does; a subclass adds what it knows beside them."""

    graph: Graph

    @property
    def device(self) -> torch.device | None:
        return self.graph.device

    @property
    def num_edges(self) -> int:
        return self.graph.num_edges

    @property
    def has_repeats(self) -> bool:
        return self.graph.has_repeats

    @property
    def has_own_order(self) -> bool:
        return self.graph.has_own_order

    def allows(self, query: Index, key: Index) -> Tensor:
        return self.graph.allows(query, key)

    def mask(self, device: Device = None) -> Tensor:
        return self.graph.mask(device)

    def edge_index(self, device: Device = None) -> Tensor:
        return self.graph.edge_index(device)

    def by_query(self, device: Device = None) -> CSR:
        return self.graph.by_query(device)

    def by_key(self, device: Device = None) -> CSR:
        return self.graph.by_key(device)

    def normal_form(self) -> Graph:
        return self.graph.normal_form()

    def _rows(self, device: torch.device) -> tuple[Tensor, Tensor]:
        return self.graph._rows(device)

    def _build_degrees(self, device: torch.device) -> Tensor:
        return self.graph.degrees(device)
