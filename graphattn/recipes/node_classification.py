"""Classes of the nodes of one network."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data

from graphattn.recipes.choice import Choice
from graphattn.recipes.features import scaled
from graphattn.recipes.labels import check_labels, classes_of, encode_labels
from graphattn.recipes.measures import OF_CLASSES, class_figures
from graphattn.recipes.of_network import Masks, Network, OfNetwork
from graphattn.recipes.parts import masks_by
from graphattn.recipes.predicted import Predicted


@dataclass(frozen=True)
class NodeClassification(OfNetwork):
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
    all_measures: ClassVar = OF_CLASSES

    def choice(self, facts: dict[str, Any]) -> Choice:
        if self.measure == "loss":
            return Choice("loss", higher=False)
        return Choice(self.measure or ("roc_auc" if len(facts["classes"]) == 2 else "accuracy"), ties="loss")

    def known(self, data: Data) -> Tensor:
        return check_labels(data.get("y"), data.num_nodes or 0, "nodes")

    def draw(self, known: Tensor, split: Any, seed: int) -> Masks:
        return masks_by(known, split, seed)

    def learn(self, known: Tensor, train: Tensor, counted: Tensor) -> tuple[dict[str, Any], Tensor]:
        unknown = int((known[counted] < 0).sum())
        if unknown:
            raise ValueError(
                f"{unknown} nodes inside the masks have a label below 0, which stands for unknown; take them out of the masks"
            )
        classes = classes_of(known[train], "nodes")
        if self.measure == "roc_auc" and len(classes) != 2:
            raise ValueError(
                f"'roc_auc' is of two classes (got {len(classes)}: {classes.tolist()[:20]}); take 'accuracy'"
            )
        encoded = torch.zeros_like(known)
        encoded[counted] = encode_labels(known[counted], classes, "validation or test nodes")
        return {"classes": classes.tolist()}, encoded

    def num_outputs(self, facts: dict[str, Any]) -> int:
        return len(facts["classes"])

    def loss(self, model: nn.Module, batch: Network) -> Tensor:
        return F.cross_entropy(self.outputs(model, batch)[batch.nodes], batch.y[batch.nodes])

    def measures(self, outputs: Tensor, y: Tensor, scale: tuple[float, float]) -> dict[str, float]:
        return class_figures(outputs, y)

    def predict(self, model: nn.Module, data: Data, facts: dict[str, Any]) -> Predicted:
        """`Predicted`, for every node of a network: the one that it was trained on, or another with the same features."""
        x, graph = self.inputs(data, facts)
        return Predicted.of(model(x, graph), facts.get("names") or facts["classes"])

    def answer(self, model: nn.Module, tensors: dict[str, Tensor], facts: dict[str, Any]) -> Tensor:
        """Probabilities [num_nodes, num_classes]."""
        return model(scaled(tensors["x"], facts), tensors["edge_index"]).softmax(-1)
