"""Classes of the nodes of one network."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.utils import add_self_loops, is_undirected

from graphattn.graphs import EdgeListGraph, Graph
from graphattn.nn import GraphAttention
from graphattn.recipes.choice import Choice
from graphattn.recipes.labels import check_features, check_labels, classes_of, encode_labels
from graphattn.recipes.measures import OF_CLASSES, check_measure, class_figures
from graphattn.recipes.models.node import GAT, NodeTransformer
from graphattn.recipes.parts import masks_by, masks_of
from graphattn.recipes.predicted import Predicted
from graphattn.recipes.recipe import Recipe, Task
from graphattn.recipes.schedule import Schedule

MODELS: Mapping[str, type[nn.Module]] = {"gat": GAT, "transformer": NodeTransformer}


class Network(NamedTuple):
    """All nodes with their graph, and those whose outputs count."""

    x: Tensor
    graph: Graph
    y: Tensor
    nodes: Tensor

    def to(self, device: torch.device) -> "Network":
        return Network(self.x.to(device), self.graph.to(device), self.y.to(device), self.nodes.to(device))


@dataclass(frozen=True)
class NodeClassification(Recipe):
    """Node classification: a network whose nodes are partly labelled in, the classes of all nodes out.

    The data is one `Data` with x [num_nodes, num_features], edge_index (or a graph), y [num_nodes] and bool masks train_mask,
    val_mask and test_mask, [num_nodes] or one column for each of several splits; or without masks, and `split` gives shares or
    three lists of nodes.
    Nodes outside of the masks may have any label. Directed edges stay directed: a node attends to those that point to it.

    An epoch is one step, and the one with the best `measure` of the validation nodes is reported: the lowest loss comes long
    before it where a network has few labels or many features.

    Args:
        model: 'transformer', blocks that keep a node apart from its neighbours, or 'gat' (Veličković et al. 2018), see
            `models.node`. `NodeClassification.gat()` has the figures of that paper.
        hidden_channels, layers, heads, score, share_weights, dropout, attention_dropout: of the model.
        self_loops: Whether a node attends to itself too.
        standardize: Whether features get mean 0 and deviation 1 over all nodes; for numbers of different size.
        measure: 'accuracy', 'roc_auc' (of two classes) or 'macro_f1' chooses the epoch; '' is the area for two classes, accuracy
            for more; 'loss' is the lowest loss.
    """

    name: ClassVar[str] = "node classification"

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
            check_measure(self.measure, OF_CLASSES)

    @classmethod
    def gat(cls, **changes: Any) -> "NodeClassification":
        """The network and training of Veličković et al. 2018, section 3.3; the lowest validation loss is reported."""
        schedule = Schedule(
            epochs=1000, lr=0.005, batch_size=1, weight_decay=5e-4, optimizer="adam", shape="constant", patience=100
        )
        options: dict[str, Any] = {"layers": 2, "heads": 8, "hidden_channels": 64, "score": "additive"}
        options |= {"share_weights": True, "dropout": 0.6, "attention_dropout": 0.6, "self_loops": True}
        options |= {"schedule": schedule, "model": "gat", "measure": "loss"}
        return cls(**(options | changes))

    def choice(self, facts: dict[str, Any]) -> Choice:
        if self.measure == "loss":
            return Choice("loss", higher=False)
        return Choice(self.measure or ("roc_auc" if len(facts["classes"]) == 2 else "accuracy"), ties="loss")

    def read(self, data: Data, split: Any, seed: int) -> Task:
        if not isinstance(data, Data):
            raise ValueError(
                f"node classification needs one network, a torch_geometric Data (got {type(data).__name__}); of a data set"
                " give dataset[0], of typed nodes to_homogeneous()"
            )
        x = check_features(data.x, "nodes")
        y = check_labels(data.get("y"), data.num_nodes or 0, "nodes")
        if split is None or isinstance(split, int):
            train, validation, test = masks_of(data, split or 0)
        else:
            train, validation, test = masks_by(y, split, seed)
        counted = train | validation | test
        unknown = int((y[counted] < 0).sum())
        if unknown:
            raise ValueError(
                f"{unknown} nodes inside the masks have a label below 0, which stands for unknown; take them out of the masks"
            )
        classes = classes_of(y[train], "nodes")
        if self.measure == "roc_auc" and len(classes) != 2:
            raise ValueError(
                f"'roc_auc' is of two classes (got {len(classes)}: {classes.tolist()[:20]}); take 'accuracy'"
            )
        encoded = torch.zeros_like(y)
        encoded[counted] = encode_labels(y[counted], classes, "validation or test nodes")
        facts: dict[str, Any] = {
            "num_features": x.size(1),
            "classes": classes.tolist(),
            "mean": None,
            "deviation": None,
        }
        if self.standardize:
            dense = x.to_dense() if x.layout != torch.strided else x
            facts |= {"mean": dense.mean(0), "deviation": dense.std(0).clamp(min=1e-6)}
        x, graph = self.inputs(data, facts)
        part = {"train": train, "validation": validation, "test": test}
        networks = {name: Network(x, graph, encoded, nodes) for name, nodes in part.items()}
        counts = {name: int(nodes.sum()) for name, nodes in part.items()}
        parts = {name: [networks[name]] for name in ("validation", "test")}
        return Task(facts, [networks["train"]], parts, counts)

    def inputs(self, data: Data, facts: dict[str, Any]) -> tuple[Tensor, Graph]:
        """Features as the model takes them, and the graph."""
        x = check_features(data.x, "nodes")
        if x.size(1) != facts["num_features"]:
            raise ValueError(f"the model was trained on {facts['num_features']} features of a node (got {x.size(1)})")
        if facts["mean"] is not None:
            x = ((x - facts["mean"]) / facts["deviation"]).clamp(-5, 5)
        return sparse_if_few(x), self.graph_of(data)

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
        return MODELS[self.model](facts["num_features"], len(facts["classes"]), **options)

    def outputs(self, model: nn.Module, batch: Network) -> Tensor:
        return model(batch.x, batch.graph)

    def loss(self, model: nn.Module, batch: Network) -> Tensor:
        return F.cross_entropy(self.outputs(model, batch)[batch.nodes], batch.y[batch.nodes])

    @torch.no_grad()
    def figures(self, model: nn.Module, batches: Iterable[Network]) -> dict[str, float]:
        (batch,) = batches
        return class_figures(self.outputs(model, batch)[batch.nodes], batch.y[batch.nodes])

    @torch.no_grad()
    def epoch_figures(self, model: nn.Module, parts: Mapping[str, Any]) -> dict[str, float]:
        """Those of validation nodes; those of test nodes are told as 'test accuracy' and so on, for curves."""
        (validation,), (test,) = parts["validation"], parts["test"]
        scores = self.outputs(model, validation)
        seen = class_figures(scores[test.nodes], test.y[test.nodes])
        others = {f"test {name}": value for name, value in seen.items()}
        return class_figures(scores[validation.nodes], validation.y[validation.nodes]) | others

    def predict(self, model: nn.Module, data: Data, facts: dict[str, Any]) -> Predicted:
        """`Predicted`, for every node of a network: the one that it was trained on, or another with the same features."""
        x, graph = self.inputs(data, facts)
        return Predicted.of(model(x, graph), facts.get("names") or facts["classes"])


def sparse_if_few(x: Tensor) -> Tensor:
    """Bags of words as a sparse matrix: 1 % of them is not zero, and so is 1 % of the first layer's work."""
    if x.layout != torch.strided:
        return x
    return x.to_sparse_csr() if x.numel() and (x != 0).double().mean() < 0.05 else x
