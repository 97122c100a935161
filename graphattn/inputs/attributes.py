"""What a network says about its nodes and edges, as rows of numbers."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import is_torch_sparse_tensor

from graphattn.inputs.arrays import to_tensor

WEIGHT = "weight"  # what the values of a sparse matrix are called
OF_THE_WHOLE = ("edge_index", "adj_t", "batch", "ptr")  # of a Data


class Rows(NamedTuple):
    """Attributes written at each node or edge: {name: number or numbers}."""

    of: str  # 'node' or 'edge'
    entries: list[Any]  # the nodes, or the (source, target) of the edges, for messages
    rows: list[dict[str, Any]]

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(name for row in self.rows for name in row))

    @property
    def telling(self) -> list[str]:
        """The names whose loss is one."""
        return self.names

    def matrix(self, names: Sequence[str]) -> Tensor:
        """These attributes side by side, [num_entries, F] float32."""
        result = [self.numbers(names, *entry) for entry in zip(self.entries, self.rows)]
        lengths = {len(numbers) for numbers in result}
        if len(lengths) > 1:
            raise ValueError(
                f"the attributes {list(names)} need one length on all {self.of}s (got lengths {sorted(lengths)})"
            )
        return torch.stack(result) if result else torch.zeros(0, len(names))

    def numbers(self, names: Sequence[str], entry: Any, row: dict[str, Any]) -> Tensor:
        missing = [name for name in names if name not in row]
        if missing:
            raise ValueError(f"{self.of} {entry!r} has no attribute {missing} (it has {list(row)})")
        try:
            tensors = [to_tensor(name, row[name]) for name in names]
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"the attributes {list(names)} of {self.of} {entry!r} need to be numbers (got {row!r})"
            ) from error
        check_real(self.of, zip(names, tensors))
        numbers = torch.cat([tensor.float().reshape(-1) for tensor in tensors])
        if not numbers.isfinite().all():
            raise ValueError(f"the attributes {list(names)} of {self.of} {entry!r} need to be finite (got {row!r})")
        return numbers


class Columns(NamedTuple):
    """Attributes of all nodes or all edges together: {name: [num_entries, ...]}."""

    of: str
    columns: dict[str, Tensor]

    @property
    def names(self) -> list[str]:
        return list(self.columns)

    @property
    def telling(self) -> list[str]:
        """The names whose loss is one: not those of columns of ones."""
        return [name for name, column in self.columns.items() if not bool((column == 1).all())]

    def matrix(self, names: Sequence[str]) -> Tensor:
        """These attributes side by side, [num_entries, F] float32."""
        missing = [name for name in names if name not in self.columns]
        if missing:
            raise ValueError(f"the {self.of}s have no attribute {missing} (they have {self.names})")
        check_real(self.of, ((name, self.columns[name]) for name in names))
        result = torch.cat(
            [
                self.columns[name].flatten(1) if self.columns[name].dim() > 1 else self.columns[name][:, None]
                for name in names
            ],
            dim=1,
        ).float()
        if not result.isfinite().all():
            raise ValueError(f"the attributes {list(names)} of the {self.of}s need to be finite")
        return result


def check_real(of: str, tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Raises TypeError for complex numbers, of which float32 would keep the real part alone."""
    for name, tensor in tensors:
        if tensor.is_complex():
            raise TypeError(
                f"the attribute {name!r} of the {of}s needs real numbers (got {tensor.dtype}); keep real and "
                f"imaginary parts as two numbers"
            )


def attributes_of(network: Any) -> tuple[Rows | Columns, Rows | Columns]:
    """The attributes of the nodes and, in the order of as_graph(network).edge_index(), of the edges; none where none can be.

    Of a sparse matrix the edges have a 'weight'; those of a networkx multigraph have a 'key', if one of them is no int.
    """
    networkx = sys.modules.get("networkx")
    if networkx is not None and isinstance(network, networkx.Graph):
        return of_networkx(network)
    if isinstance(network, Data):
        tensors = {name: value for name, value in network.to_dict().items() if isinstance(value, Tensor)}
        nodes, edges = (
            Columns(of, {name: x for name, x in tensors.items() if name not in OF_THE_WHOLE and is_one(name)})
            for of, is_one in (("node", network.is_node_attr), ("edge", network.is_edge_attr))
        )
        return nodes, edges
    values = values_of(network)
    return Columns("node", {}), Columns("edge", {} if values is None else {WEIGHT: values})


def of_networkx(network: Any) -> tuple[Rows, Rows]:
    nodes = list(network.nodes(data=True))
    both_ways = network if network.is_directed() else network.to_directed(as_view=True)
    edges = list(both_ways.edges(data=True))
    rows = [row for *_, row in edges]
    if network.is_multigraph():
        keys = [key for *_, key in both_ways.edges(keys=True)]
        if not all(isinstance(key, int) for key in keys):
            rows = [{"key": key} | row for key, row in zip(keys, rows)]
    return (
        Rows("node", [node for node, _ in nodes], [row for _, row in nodes]),
        Rows("edge", [edge[:2] for edge in edges], rows),
    )


def values_of(matrix: Any) -> Tensor | None:
    """The stored values of a sparse matrix, in the order of its edges; None for what is none or has no values."""
    scipy_sparse, torch_sparse = sys.modules.get("scipy.sparse"), sys.modules.get("torch_sparse")
    if scipy_sparse is not None and scipy_sparse.issparse(matrix):
        return to_tensor(WEIGHT, matrix.tocoo().data)
    if torch_sparse is not None and isinstance(matrix, torch_sparse.SparseTensor):
        return matrix.storage.value()
    if not isinstance(matrix, Tensor) or not is_torch_sparse_tensor(matrix):
        return None
    return matrix._values() if matrix.layout == torch.sparse_coo else matrix.values()
