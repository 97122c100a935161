"""What graphattn's layers in place of PyG's share."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch_geometric.nn.conv import MessagePassing

from graphattn.graphs import Graph, as_graph
from graphattn.nn.adjacency import is_pygs_form
from graphattn.nn.messages import compiled_home, is_compiled, needs_messages, own_method
from graphattn.nn.plain import home

if TYPE_CHECKING:
    from torch_geometric.nn.conv import MessagePassing as Layer  # which drop-ins are too
else:
    Layer = object


class DropIn(Layer):
    """A layer of PyG that runs on kernels, and by PyG's message passing where anybody takes part in that.

    Drop-ins set `peer`, PyG's class, and define `check` and the two ways to attend.
    """

    peer: type[MessagePassing]
    _was_accelerated = False

    def _set_jittable_templates(self, raise_on_error: bool = False) -> None:
        """PyG compiles `propagate` for each class; where it cannot (a class typed into a shell) it runs that of the class
        before, which knows neither explainers nor other arguments of methods. Both get what PyG runs uncompiled."""
        super()._set_jittable_templates(raise_on_error)
        cls = type(self)
        for name in ("propagate", "edge_updater"):
            where = home(getattr(cls, name))
            if is_compiled(cls, name, where):
                setattr(cls, f"_orig_{name}", getattr(MessagePassing, name))
                if where != compiled_home(cls, name):
                    setattr(cls, name, getattr(MessagePassing, name))

    def graph_of(self, edges: Any, num_targets: int, num_sources: int) -> Graph:
        """The graph of the edges, whose rows PyG turns round with the flow."""
        sizes = (num_targets, num_sources)
        return as_graph(edges, *(sizes if self.flow == "source_to_target" else reversed(sizes)))

    def ways_in(self, graph: Graph, edges: Any, edge_attr: Tensor | None) -> tuple[bool, Tensor | None]:
        """Whether the layer goes by messages, and its edge attributes: checked, but for methods that nobody here knows."""
        by_messages = needs_messages(self)
        if by_messages and own_method(self, self.peer):
            return True, edge_attr
        checked = self.check(graph, edges, edge_attr)
        return by_messages, None if by_messages and edge_attr is None else checked  # PyG reads a sparse matrix itself

    def edges_for_pyg(self, edges: Any, graph: Graph, device: torch.device) -> Any:
        """The edges as given where PyG's message passing takes them, so that it runs as in PyG's layer; else an edge_index."""
        if not is_pygs_form(edges):
            return graph.edge_index(device)
        is_coo = isinstance(edges, Tensor) and edges.layout == torch.sparse_coo and edges.is_coalesced()
        # PyG, where it did not compile, writes into a COO matrix after reading it, so that no backward pass could follow.
        return edges.to_sparse_csr() if is_coo and home(self.propagate) == MessagePassing.__module__ else edges

    def join_heads(self, out: Tensor) -> Tensor:
        """[num_targets, heads, out_channels] -> [num_targets, heads * out_channels], or their mean."""
        if not self.concat:
            return out.mean(1)
        out = out.reshape(-1, self.heads * self.out_channels)
        # Attention keeps its result for the backward pass; who writes into that of a layer, as ReLU(inplace=True) does, gets
        # memory of its own, as from PyG's layer.
        return out.clone() if out.requires_grad and self.adds_nothing() else out

    def adds_nothing(self) -> bool:
        """Whether what attention gives is the layer's output, with no bias, residual or root added."""
        return self.bias is None and self.res is None
