"""Methods that users give to PyG's layers, and the ways in which they do."""

from typing import Optional

import torch_geometric.nn as pyg
from torch import Tensor
from torch_geometric.typing import OptTensor
from torch_geometric.utils import softmax

from graphattn.nn import GATConv, GATv2Conv, TransformerConv

PAIRS = {
    "transformer": (pyg.TransformerConv, TransformerConv),
    "gat": (pyg.GATConv, GATConv),
    "gatv2": (pyg.GATv2Conv, GATv2Conv),
}


class OfAll:
    def aggregate(self, inputs: Tensor, index: Tensor, ptr: OptTensor = None, dim_size: Optional[int] = None):
        return 3 * self.aggr_module(inputs, index, ptr=ptr, dim_size=dim_size, dim=self.node_dim)

    def update(self, inputs: Tensor) -> Tensor:
        return inputs.tanh()


class OfTransformer(OfAll):
    def message(self, query_i, key_j, value_j, index: Tensor, ptr: OptTensor, size_i: Optional[int]) -> Tensor:
        alpha = softmax((query_i * key_j).sum(-1).tanh(), index, ptr, size_i)
        self._alpha = alpha  # where PyG leaves it
        return 2 * alpha.unsqueeze(-1) * value_j


class OfGAT(OfAll):
    def edge_update(self, alpha_j, alpha_i, index: Tensor, ptr: OptTensor, dim_size: Optional[int]) -> Tensor:
        return softmax(alpha_j - alpha_i, index, ptr, dim_size)

    def message(self, x_j: Tensor, alpha: Tensor) -> Tensor:
        return 2 * alpha.unsqueeze(-1) * x_j

    def message_and_aggregate(self, adj_t, x: tuple[Tensor, Tensor], alpha: Tensor) -> Tensor:
        return adj_t.to_dense().to(alpha.dtype) @ x[0].flatten(1) * alpha.mean()


class OfGATv2(OfGAT):
    def edge_update(self, x_j, x_i, index: Tensor, ptr: OptTensor, dim_size: Optional[int]) -> Tensor:
        return softmax((x_i * x_j).sum(-1), index, ptr, dim_size)


METHODS = {"transformer": OfTransformer, "gat": OfGAT, "gatv2": OfGATv2}
ALWAYS_CALLED = ("message", "edge_update", "aggregate", "update")
CASES = [(kind, name) for kind, of in METHODS.items() for name in ALWAYS_CALLED if hasattr(of, name)]


def by_subclass(base, name, method):
    class Own(base):
        pass

    setattr(Own, name, method)
    return renamed(Own, base, name)


def by_class_between(base, name, method):
    class Last(by_subclass(base, name, method)):
        pass

    return renamed(Last, base, name)


def by_mixin(base, name, method):
    class Mixin:
        pass

    class Mixed(Mixin, base):
        pass

    setattr(Mixin, name, method)
    return renamed(Mixed, base, name)


def renamed(cls, base, name):
    """PyG remembers what it compiled for a class by its name."""
    cls.__name__ = f"{cls.__name__}_{name}_{base.__module__}_{base.__name__}".replace(".", "_")
    return cls


WAYS = {"subclass": by_subclass, "class between": by_class_between, "mixin": by_mixin}
