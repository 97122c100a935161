"""A number for each node of one network."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data

from graphattn.recipes.choice import Choice
from graphattn.recipes.features import in_unit, scaled
from graphattn.recipes.measures import OF_NUMBERS
from graphattn.recipes.of_network import Masks, Network, OfNetwork
from graphattn.recipes.parts import given_parts, masks_of_parts, split_examples


@dataclass(frozen=True)
class NodeRegression(OfNetwork):
    """Node regression: a network in which the number of some nodes is known in, the numbers of all nodes out.

    The data is one `Data` as for `NodeClassification`, with y [num_nodes] or [num_nodes, 1] of numbers; those of nodes outside of
    the masks may be nan, and shares in place of masks draw among the others. Targets are brought to mean 0 and deviation 1 by the
    training nodes, and what is predicted is in their unit again. The epoch with the best `measure` of the validation nodes is
    reported.

    Args:
        measure: 'rmse', 'mae' or 'r2' chooses the epoch; '' is 'rmse', and 'loss' the lowest loss, which is the same epoch.

    The others are those of `NodeClassification`.
    """

    name: ClassVar[str] = "node regression"
    all_measures: ClassVar = OF_NUMBERS

    def choice(self, facts: dict[str, Any]) -> Choice:
        measure = self.measure or "rmse"
        return Choice(measure, measure != "loss" and OF_NUMBERS[measure].higher, ties="loss")

    def known(self, data: Data) -> Tensor:
        return numbers_of(data)

    def draw(self, known: Tensor, split: Any, seed: int) -> Masks:
        parts = given_parts(split, len(known))
        if parts is None:
            places = known.isfinite().nonzero().flatten().tolist()
            drawn = split_examples(len(places), split, seed)
            parts = drawn._replace(**{name: [places[at] for at in part] for name, part in drawn._asdict().items()})
        return masks_of_parts(parts, len(known))

    def learn(self, known: Tensor, train: Tensor, counted: Tensor) -> tuple[dict[str, Any], Tensor]:
        broken = int((~known[counted].isfinite()).sum())
        if broken:
            raise ValueError(
                f"{broken} nodes inside the masks have a target that is nan or infinite; take them out of the masks"
            )
        y = known[train]
        deviation = y.std().item() if len(y) > 1 else 0.0
        if not deviation > 0:
            raise ValueError(
                f"the targets to train on are all the same (got {float(y[0])}, {len(y)} times); there is nothing to learn"
            )
        facts = {"target_mean": y.mean().item(), "target_deviation": deviation}
        return facts, torch.where(counted, known, 0.0).float()

    def num_outputs(self, facts: dict[str, Any]) -> int:
        return 1

    def outputs(self, model: nn.Module, batch: Network) -> Tensor:
        """Numbers of mean 0 and deviation 1, [num_nodes]."""
        return super().outputs(model, batch)[:, 0]

    def loss(self, model: nn.Module, batch: Network) -> Tensor:
        mean, deviation = batch.scale
        return F.mse_loss(self.outputs(model, batch)[batch.nodes], (batch.y[batch.nodes] - mean) / deviation)

    def measures(self, outputs: Tensor, y: Tensor, scale: tuple[float, float]) -> dict[str, float]:
        mean, deviation = scale
        found = {"loss": F.mse_loss(outputs, (y - mean) / deviation).item()}
        return found | {name: measure.function(outputs * deviation + mean, y) for name, measure in OF_NUMBERS.items()}

    def predict(self, model: nn.Module, data: Data, facts: dict[str, Any]) -> Tensor:
        """The number of every node, [num_nodes], in the unit of the targets."""
        x, graph = self.inputs(data, facts)
        return in_unit(model(x, graph)[:, 0], facts)

    def answer(self, model: nn.Module, tensors: dict[str, Tensor], facts: dict[str, Any]) -> Tensor:
        """The number of each node, [num_nodes]."""
        return in_unit(model(scaled(tensors["x"], facts), tensors["edge_index"])[:, 0], facts)


def numbers_of(data: Data) -> Tensor:
    """The targets of the nodes as float64 [num_nodes]. Raises ValueError where there are none, or several of a node."""
    y, count = data.get("y"), data.num_nodes or 0
    if not isinstance(y, Tensor) or y.is_complex():
        got = f"y={y!r}" if not isinstance(y, Tensor) else f"y of {y.dtype}"
        raise ValueError(f"the nodes have no targets to learn from (got {got}); set data.y to a tensor of numbers")
    if y.numel() != count or y.dim() not in (1, 2) or y.size(0) != count:
        raise ValueError(
            f"the nodes need one target each (got {count} nodes and y of {list(y.shape)}); choose a column: data.y[:, 0]"
        )
    return y.reshape(count).double()
