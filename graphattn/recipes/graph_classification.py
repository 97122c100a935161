"""Classes of graphs."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphattn.recipes.batches import graph_of
from graphattn.recipes.choice import Choice
from graphattn.recipes.classification import OfClasses
from graphattn.recipes.examples import edge_dim_of, edge_features, edge_tensors, edges_or_graph, node_features
from graphattn.recipes.features import scaled
from graphattn.recipes.models.graph import GraphClassifier
from graphattn.recipes.schedule import Schedule


@dataclass(frozen=True)
class GraphClassification(OfClasses):
    """Graph classification: molecules, proteins, meshes in, a class for each out.

    The data are a list of `Data` with edge_index or a graph, y (one class), x [num_nodes, num_features] if there are features and
    edge_attr [num_edges, edge_dim] if the edges have some. Each node gets its number of neighbours as one more feature, and all
    features mean 0 and deviation 1 over the training graphs. Of equally good epochs the last is reported, which has the lowest
    learning rate.

    Args:
        channels, heads, layers, dropout, attention_dropout: of `models.graph.GraphClassifier`.
        smoothing: Share of a label that is spread over all classes.
        measure: 'accuracy', 'roc_auc' (of two classes) or 'macro_f1' chooses the epoch.
    """

    name: ClassVar[str] = "graph classification"

    schedule: Schedule = Schedule(epochs=20, lr=2e-3, averaging=0.98, forget_start=True, least_steps=300)
    channels: int = 32
    heads: int = 4
    layers: int = 2
    dropout: float = 0.5
    attention_dropout: float = 0.0

    def choice(self, facts: dict[str, Any]) -> Choice:
        return Choice(self.measure, ties="last")

    def drops_last(self, num_examples: int) -> bool:
        """A last batch of one or two graphs would have no statistics for the batch norms."""
        return num_examples > self.schedule.batch_size

    def learn(self, examples: list[Any]) -> dict[str, Any]:
        facts = super().learn(examples) | {"edge_dim": edge_dim_of(examples)}
        has_features = any(data.x is not None for data in examples)
        facts["num_features"] = node_features(examples[0]).size(1) if has_features else 0
        x = torch.cat([self.features(data, facts) for data in examples])
        return facts | {"mean": x.mean(0), "deviation": x.std(0).clamp(min=1e-6)}

    def features(self, data: Data, facts: dict[str, Any]) -> Tensor:
        """Those of the data, and the degree."""
        degrees = graph_of(Data(num_nodes=data.num_nodes, **edges_or_graph(data))).degrees()[:, None].float()
        if data.x is None and not facts["num_features"]:
            return degrees
        return torch.cat([node_features(data, facts["num_features"]), degrees], -1)

    def encode(self, example: Any, facts: dict[str, Any]) -> Data:
        x = scaled(self.features(example, facts), facts)
        return Data(x=x, edge_attr=edge_features(example, facts["edge_dim"]), **edges_or_graph(example))

    def build(self, facts: dict[str, Any]) -> nn.Module:
        names = ("channels", "heads", "layers", "dropout", "attention_dropout")
        options = {name: getattr(self, name) for name in names}
        return GraphClassifier(len(facts["mean"]), len(facts["classes"]), edge_dim=facts["edge_dim"], **options)

    def outputs(self, model: nn.Module, batch: Any) -> Tensor:
        return model(batch)

    def tensors(self, data: Any, facts: dict[str, Any]) -> dict[str, Tensor]:
        """x with the number of neighbours as its last column, edge_index, and edge_attr where there are features of edges."""
        example = self.one(data)
        return {"x": self.features(example, facts)} | edge_tensors(example, facts["edge_dim"])

    def answer(self, model: nn.Module, tensors: dict[str, Tensor], facts: dict[str, Any]) -> Tensor:
        """Probabilities [num_classes]."""
        batch = Data(**tensors | {"x": scaled(tensors["x"], facts)})
        return self.outputs(model, batch).softmax(-1)[0]
