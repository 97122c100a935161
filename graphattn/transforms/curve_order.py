"""The order in which a space-filling curve meets the nodes."""

from abc import abstractmethod

from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform

from graphattn.transforms.node_order import NodeOrder
from graphattn.transforms.space_filling import MOST_BITS, cells_of, hilbert_index, morton_index


class CurveOrder(NodeOrder):
    """Renumbers nodes as a curve through `data.pos` [num_nodes, dims] meets them; dims of 1 ... 62."""

    @abstractmethod
    def place(self, cells: Tensor, bits: int) -> Tensor:
        """[num_nodes] places of cells [num_nodes, dims] on the curve."""

    def order(self, data: Data) -> Tensor:
        pos = data.get("pos")
        if pos is None:
            raise ValueError(f"{data} has no 'pos'; {type(self).__name__} orders nodes by their positions")
        if not isinstance(pos, Tensor):
            raise TypeError(f"'pos' must be a tensor (got {type(pos).__name__}); take torch.from_numpy")
        if pos.dim() != 2 or not 1 <= pos.size(1) <= MOST_BITS or not pos.isfinite().all():
            raise ValueError(
                f"'pos' must be finite numbers [num_nodes, dims], dims of 1 ... {MOST_BITS} (got "
                f"{list(pos.shape)}, {int((~pos.isfinite()).sum())} of them not finite)"
            )
        return self.place(*cells_of(pos)).argsort(stable=True)


@functional_transform("hilbert_order")
class HilbertOrder(CurveOrder):
    """Renumbers nodes along the Hilbert curve through `data.pos` [num_nodes, dims] (functional name: `hilbert_order`).

    Near numbers are always near places; each cell of the curve touches the next (Skilling 2004).

    >>> import torch
    >>> corners = Data(pos=torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.1, 0.0]]))
    >>> HilbertOrder()(corners).node_order
    tensor([0, 4, 3, 2, 1])
    """

    def place(self, cells: Tensor, bits: int) -> Tensor:
        return hilbert_index(cells, bits)


@functional_transform("morton_order")
class MortonOrder(CurveOrder):
    """Renumbers nodes along the Morton curve, or Z order, through `data.pos` (functional name: `morton_order`).

    Quicker to compute than the Hilbert curve, with jumps.

    >>> import torch
    >>> corners = Data(pos=torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]))
    >>> MortonOrder()(corners).node_order
    tensor([0, 3, 1, 2])
    """

    def place(self, cells: Tensor, bits: int) -> Tensor:
        return morton_index(cells, bits)
