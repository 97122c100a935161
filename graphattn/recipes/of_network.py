"""Recipes whose data are the nodes of one network: what they share."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.utils import add_self_loops, is_undirected
from typing_extensions import Self

from graphattn.graphs import EdgeListGraph, Graph
from graphattn.nn import GraphAttention
from graphattn.recipes.features import scaled
from graphattn.recipes.labels import check_features
from graphattn.recipes.measures import Measure, check_measure
from graphattn.recipes.models.node import GAT, NodeTransformer
from graphattn.recipes.parts import masks_of
from graphattn.recipes.recipe import Recipe, Task
from graphattn.recipes.schedule import Schedule

MODELS: Mapping[str, type[nn.Module]] = {"gat": GAT, "transformer": NodeTransformer}
Masks = tuple[Tensor, Tensor, Tensor]


class Network(NamedTuple):
    """All nodes with their graph, and those whose outputs count."""

    x: Tensor
    graph: Graph
    y: Tensor
    nodes: Tensor
    scale: tuple[float, float] = (0.0, 1.0)  # mean and deviation of targets that are numbers

    def to(self, device: torch.device) -> "Network":
        return Network(self.x.to(device), self.graph.to(device), self.y.to(device), self.nodes.to(device), self.scale)


@dataclass(frozen=True)
class OfNetwork(Recipe):
    """One `Data` with x, edge_index (or a graph), y and masks, or shares of the nodes in place of masks. An epoch is one step."""

    is_of_nodes: ClassVar[bool] = True
    all_measures: ClassVar[Mapping[str, Measure]]

    schedule: Schedule = Schedule(
        epochs=150, lr=0.01, batch_size=1, weight_decay=0.0, optimizer="adam", shape="one_cycle"
    )
    model: str = "transformer"
    layers: int = 8
    heads: int = 2
    hidden_channels: int = 32
    score: str = "dot"
    share_weights: bool = False
    dropout: float = 0.2
    attention_dropout: float = 0.0
    self_loops: bool = False
    standardize: bool = False

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"'model' must be one of {list(MODELS)} (got {self.model!r})")
        if self.measure not in ("", "loss"):
            check_measure(self.measure, self.all_measures)

    @classmethod
    def gat(cls, **changes: Any) -> Self:
        """The network and training of Veličković et al. 2018, section 3.3, which has a number in place of the classes where numbers
        are learned; the lowest validation loss is reported."""
        schedule = Schedule(
            epochs=1000, lr=0.005, batch_size=1, weight_decay=5e-4, optimizer="adam", shape="constant", patience=100
        )
        options: dict[str, Any] = {"layers": 2, "heads": 8, "hidden_channels": 64, "score": "additive"}
        options |= {"share_weights": True, "dropout": 0.6, "attention_dropout": 0.6, "self_loops": True}
        options |= {"schedule": schedule, "model": "gat", "measure": "loss"}
        return cls(**(options | changes))

    @abstractmethod
    def known(self, data: Data) -> Tensor:
        """What is known of each node, [num_nodes]. Raises ValueError where it is of another kind or size."""

    @abstractmethod
    def draw(self, known: Tensor, split: Any, seed: int) -> Masks:
        """Training, validation and test nodes by shares, or by three lists of places."""

    @abstractmethod
    def learn(self, known: Tensor, train: Tensor, counted: Tensor) -> tuple[dict[str, Any], Tensor]:
        """Facts from the training nodes alone, and what the loss compares with, [num_nodes]; only `counted` nodes matter."""

    @abstractmethod
    def num_outputs(self, facts: dict[str, Any]) -> int:
        """Numbers that the model gives for a node."""

    @abstractmethod
    def measures(self, outputs: Tensor, y: Tensor, scale: tuple[float, float]) -> dict[str, float]:
        """'loss' and the measures of some nodes."""

    def read(self, data: Data, split: Any, seed: int) -> Task:
        if not isinstance(data, Data):
            raise ValueError(
                f"{self.name} needs one network, a torch_geometric Data (got {type(data).__name__}); of a data set"
                " give dataset[0], of typed nodes to_homogeneous()"
            )
        x = check_features(data.x, "nodes")
        known = self.known(data)
        has_masks = split is None or isinstance(split, int)
        train, validation, test = masks_of(data, split or 0) if has_masks else self.draw(known, split, seed)
        facts, targets = self.learn(known, train, train | validation | test)
        facts |= {"num_features": x.size(1), "mean": None, "deviation": None}
        if self.standardize:
            dense = x.to_dense() if x.layout != torch.strided else x
            facts |= {"mean": dense.mean(0), "deviation": dense.std(0).clamp(min=1e-6)}
        x, graph = self.inputs(data, facts)
        part = {"train": train, "validation": validation, "test": test}
        scale = facts.get("target_mean", 0.0), facts.get("target_deviation", 1.0)
        networks = {name: Network(x, graph, targets, nodes, scale) for name, nodes in part.items()}
        counts = {name: int(nodes.sum()) for name, nodes in part.items()}
        parts = {name: [networks[name]] for name in ("validation", "test")}
        return Task(facts, [networks["train"]], parts, counts)

    def inputs(self, data: Data, facts: dict[str, Any]) -> tuple[Tensor, Graph]:
        """Features as the model takes them, and the graph."""
        return sparse_if_few(scaled(self.nodes(data, facts), facts)), self.graph_of(data)

    def nodes(self, data: Data, facts: dict[str, Any]) -> Tensor:
        """Features of the nodes as they are."""
        x = check_features(data.x, "nodes")
        if x.size(1) != facts["num_features"]:
            raise ValueError(f"the model was trained on {facts['num_features']} features of a node (got {x.size(1)})")
        return x

    def graph_of(self, data: Data) -> Graph:
        """Its edges, and a loop at each node if asked for; undirected only where every edge has its opposite."""
        edge_index, num_nodes = data.edge_index, data.num_nodes or 0
        if edge_index is None:
            if data.get("graph") is None:
                raise ValueError("the network has no edges (got edge_index=None); set data.edge_index or data.graph")
            return data.graph
        if edge_index.numel() and not 0 <= int(edge_index.min()) <= int(edge_index.max()) < num_nodes:
            raise ValueError(
                f"'edge_index' must name nodes 0 .. {num_nodes - 1} (got {int(edge_index.min())} .. {int(edge_index.max())})"
            )
        has_both = is_undirected(edge_index, num_nodes=num_nodes)
        if self.self_loops:
            edge_index, _ = add_self_loops(edge_index, num_nodes=num_nodes)
        return EdgeListGraph(edge_index, num_nodes, is_undirected=has_both)

    @property
    def attention_layer(self) -> Callable[..., nn.Module]:
        """Makes the attentions, with the arguments of GraphAttention."""
        return GraphAttention

    def build(self, facts: dict[str, Any]) -> nn.Module:
        names = ["hidden_channels", "layers", "heads", "score", "dropout", "attention_dropout"]
        names += ["share_weights"] if self.model == "gat" else []
        options = {name: getattr(self, name) for name in names} | {"attention": self.attention_layer}
        return MODELS[self.model](facts["num_features"], self.num_outputs(facts), **options)

    def outputs(self, model: nn.Module, batch: Network) -> Tensor:
        return model(batch.x, batch.graph)

    @torch.no_grad()
    def figures(self, model: nn.Module, batches: Iterable[Network]) -> dict[str, float]:
        (batch,) = batches
        return self.figures_of(self.outputs(model, batch), batch)

    def figures_of(self, outputs: Tensor, part: Network) -> dict[str, float]:
        return self.measures(outputs[part.nodes], part.y[part.nodes], part.scale)

    @torch.no_grad()
    def epoch_figures(self, model: nn.Module, parts: Mapping[str, Any]) -> dict[str, float]:
        """Those of validation nodes; those of test nodes are told as 'test accuracy' and so on, for curves."""
        (validation,), (test,) = parts["validation"], parts["test"]
        outputs = self.outputs(model, validation)
        others = {f"test {name}": value for name, value in self.figures_of(outputs, test).items()}
        return self.figures_of(outputs, validation) | others

    def tensors(self, data: Any, facts: dict[str, Any]) -> dict[str, Tensor]:
        """x and edge_index, with the loops of the nodes where the recipe adds some."""
        x = self.nodes(data, facts)
        return {"x": x if x.layout == torch.strided else x.to_dense(), "edge_index": self.graph_of(data).edge_index()}


def sparse_if_few(x: Tensor) -> Tensor:
    """Bags of words as a sparse matrix: 1 % of them is not zero, and so is 1 % of the first layer's work."""
    if x.layout != torch.strided:
        return x
    return x.to_sparse_csr() if x.numel() and (x != 0).double().mean() < 0.05 else x
