"""A number for each graph."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data

from graphattn.graphs import CompleteGraph, EdgeListGraph
from graphattn.graphs.hops import hop_distances
from graphattn.recipes.choice import Choice
from graphattn.recipes.examples import (
    OfExamples,
    edge_dim_of,
    edge_features,
    edge_tensors,
    edges_or_graph,
    node_features,
)
from graphattn.recipes.features import in_unit, scale_of, scaled
from graphattn.recipes.measures import OF_NUMBERS, check_measure
from graphattn.recipes.models.regressor import Regressor
from graphattn.recipes.schedule import Schedule

MOST_NODES = 200  # of a graph, for attention from every node to every node


@dataclass(frozen=True)
class GraphRegression(OfExamples):
    """Graph regression: molecules in, a number for each out, in the unit of the targets.

    The data are a list of `Data` with x [num_nodes, num_features], edge_index or a graph, y (one finite number) and edge_attr if
    the edges have features, as `graphattn.inputs.from_smiles` makes them. Targets are brought to mean 0 and deviation 1 by the
    training part, and features too where they are large; weights are averaged over the steps.

    Args:
        channels, heads, blocks, dropout, is_sum: of `models.regressor.Regressor`.
        is_global: Whether there is attention from every node to every node beside that along the edges; None: where no graph
            has more than 200 nodes.
        max_hops: Longer ways along the edges count as one length there.
        measure: 'rmse', 'mae' or 'r2' chooses the epoch.
    """

    name: ClassVar[str] = "graph regression"

    schedule: Schedule = Schedule(
        epochs=60, lr=1e-3, fused=True, clip=1.0, averaging=0.99, forget_start=True, least_steps=600
    )
    measure: str = "rmse"
    channels: int = 64
    heads: int = 8
    blocks: int = 3
    dropout: float = 0.1
    is_global: bool | None = None
    max_hops: int = 8
    is_sum: bool = True

    def __post_init__(self) -> None:
        check_measure(self.measure, OF_NUMBERS)

    def choice(self, facts: dict[str, Any]) -> Choice:
        return Choice(self.measure, OF_NUMBERS[self.measure].higher, ties="last")

    def check_target(self, example: Any) -> None:
        number_of(example)

    def learn(self, examples: list[Any]) -> dict[str, Any]:
        y = torch.stack([number_of(data) for data in examples])
        if not y.std() > 0:
            raise ValueError(
                f"the targets to train on are all the same (got {float(y[0])}, {len(y)} times); there is nothing to learn"
            )
        features = [node_features(data) for data in examples]
        largest = max(data.num_nodes for data in examples)
        return {
            "num_features": features[0].size(1),
            "edge_dim": edge_dim_of(examples),
            "is_global": largest <= MOST_NODES if self.is_global is None else self.is_global,
            "target_mean": y.mean().item(),
            "target_deviation": y.std().item(),
        } | scale_of(features)

    def encode(self, example: Any, facts: dict[str, Any]) -> Data:
        x = self.nodes(example, facts)
        data = Data(x=scaled(x, facts), edge_attr=edge_features(example, facts["edge_dim"]), **edges_or_graph(example))
        if facts["is_global"]:
            along = data.graph if "graph" in data else EdgeListGraph(data.edge_index, data.num_nodes)
            data.hops = hop_distances(CompleteGraph(data.num_nodes), along, self.max_hops)
        return data

    def nodes(self, example: Data, facts: dict[str, Any]) -> Tensor:
        return node_features(example, facts["num_features"])

    def tensors(self, data: Any, facts: dict[str, Any]) -> dict[str, Tensor]:
        """x, edge_index, and edge_attr where there are features of edges."""
        example = self.one(data)
        return {"x": self.nodes(example, facts)} | edge_tensors(example, facts["edge_dim"])

    def answer(self, model: nn.Module, tensors: dict[str, Tensor], facts: dict[str, Any]) -> Tensor:
        """The number, []."""
        batch = Data(**tensors | {"x": scaled(tensors["x"], facts)})
        return in_unit(self.outputs(model, batch)[0], facts)

    def target(self, example: Any, facts: dict[str, Any]) -> Tensor:
        return number_of(example)[None]

    def build(self, facts: dict[str, Any]) -> nn.Module:
        names = ("channels", "heads", "blocks", "dropout", "max_hops", "is_sum")
        options = {name: getattr(self, name) for name in names}
        return Regressor(facts["num_features"], facts["edge_dim"], is_global=facts["is_global"], **options)

    def outputs(self, model: nn.Module, batch: Any) -> Tensor:
        """Numbers of mean 0 and deviation 1, [num_graphs]."""
        return model(batch)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        mean, deviation = batch.scale[0].tolist()
        return F.mse_loss(self.outputs(model, batch), (batch.y - mean) / deviation)

    @torch.no_grad()
    def figures(self, model: nn.Module, batches: Iterable[Any]) -> dict[str, float]:
        batches = list(batches)
        mean, deviation = batches[0].scale[0].tolist()
        outputs, y = self.outputs_and_targets(model, batches)
        found = {"loss": F.mse_loss(outputs, (y - mean) / deviation).item()}
        return found | {name: measure.function(outputs * deviation + mean, y) for name, measure in OF_NUMBERS.items()}

    def ready(self, examples: list[Any], part: Any, facts: dict[str, Any]) -> list[Data]:
        """With what takes targets to mean 0 and deviation 1, so that a loss knows it."""
        found = super().ready(examples, part, facts)
        for data in found:
            data.scale = torch.tensor([[facts["target_mean"], facts["target_deviation"]]], dtype=torch.float64)
        return found

    def predict(self, model: nn.Module, data: Any, facts: dict[str, Any]) -> Tensor:
        """The number of each graph, [num_graphs], in the unit of the targets."""
        return in_unit(self.scores(model, self.batches_of(data, facts)), facts)


def number_of(data: Data) -> Tensor:
    """The target of an example as float32 []. Raises ValueError on one that is missing, nan, infinite or several."""
    y = data.get("y")
    y = torch.tensor(float(y)) if isinstance(y, (int, float)) else y
    if not isinstance(y, Tensor):
        raise ValueError(f"an example has no target to learn from (got y={y!r}); set data.y to a number")
    if y.numel() != 1:
        raise ValueError(
            f"an example needs one target (got y of {list(y.shape)}); choose a column: data.y[:, [0]], --y-column 0"
        )
    if not torch.isfinite(y.double()).all():
        raise ValueError(f"an example has the target {y.item()}; leave out examples whose target is not known")
    return y.reshape(()).float()
