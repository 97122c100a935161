"""Classes of texts, sounds and images."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphattn.inputs import Vocabulary
from graphattn.nn.positions.coordinates import positions_of
from graphattn.recipes.batches import graph_of
from graphattn.recipes.classification import OfClasses
from graphattn.recipes.examples import edges_or_graph, node_features
from graphattn.recipes.features import scale_of, scaled
from graphattn.recipes.models.sequence import SequenceClassifier
from graphattn.recipes.models.words import WORDS_OF_TEXT, ends_of
from graphattn.recipes.schedule import Schedule
from graphattn.recipes.texts import check_kind, tokens_of, vocabulary_of, word_rows

OF_TEXTS = {"channels": 32, "layers": 1, "dropout": 0.3, "attention_dropout": 0.1}
OF_OTHERS = {"channels": 64, "layers": 2, "dropout": 0.1, "attention_dropout": 0.0}


@dataclass(frozen=True)
class SequenceClassification(OfClasses):
    """Sequence classification: texts, sounds or images in, a class for each out.

    The data are a list of `Data` with a graph and y (one class), as `graphattn.inputs` makes them of raw input: texts with
    `tokens`, whose words are those of the training part and known by their parts besides; or frames and patches with x
    [num_nodes, num_features], brought to mean 0 and deviation 1 where the numbers are large. Nodes attend along the graph of
    the data.

    Args:
        channels, heads, layers, dropout, attention_dropout, word_decay: of `models.sequence.SequenceClassifier`. None depends
            on the data: 32 channels, 1 layer and dropouts of 0.3 and 0.1 for texts; 64, 2, 0.1 and 0 for others.
        word_dropout: Share of words that are left out in training.
        smoothing: Share of a label that is spread over all classes.
        measure: 'accuracy', 'roc_auc' (of two classes) or 'macro_f1' chooses the epoch.
    """

    name: ClassVar[str] = "sequence classification"

    schedule: Schedule = Schedule(
        epochs=6,
        lr=3e-3,
        weight_decay=0.05,
        fused=True,
        warmup=0.2,
        clip=1.0,
        averaging=0.99,
        forget_start=True,
        least_steps=500,
    )
    channels: int | None = None
    heads: int = 4
    layers: int | None = None
    dropout: float | None = None
    attention_dropout: float | None = None
    word_dropout: float = 0.2
    word_decay: float = 1.0

    def learn(self, examples: list[Any]) -> dict[str, Any]:
        facts = super().learn(examples)
        if check_kind(examples):
            vocabulary = Vocabulary.from_sentences(tokens_of(data) or [] for data in examples)
            return facts | {"words": tuple(vocabulary), "num_features": None, "mean": None, "deviation": None}
        features = [node_features(data) for data in examples]
        return facts | {"words": None, "num_features": features[0].size(1)} | scale_of(features)

    def encode(self, example: Any, facts: dict[str, Any]) -> Data:
        return Data(x=scaled(self.nodes(example, facts), facts), **edges_or_graph(example))

    def nodes(self, data: Data, facts: dict[str, Any]) -> Tensor:
        """What stands for the nodes: rows of numbers of a word and its parts, or features as they are."""
        tokens = tokens_of(data)
        if facts["words"] is not None:
            if tokens is None:
                raise ValueError(
                    f"the model reads texts (got {data} without 'tokens'); make it by graphattn.inputs.from_text"
                )
            return word_rows(tokens, vocabulary_of(facts["words"]), ends_of, lower=False)
        return node_features(data, facts["num_features"])

    def build(self, facts: dict[str, Any]) -> nn.Module:
        is_text = facts["words"] is not None
        given = {name: getattr(self, name) for name in OF_TEXTS if getattr(self, name) is not None}
        sizes: dict[str, Any] = (OF_TEXTS if is_text else OF_OTHERS) | given
        embed: nn.Module
        if is_text:
            dropouts = {"dropout": sizes["dropout"], "word_dropout": self.word_dropout}
            embed = WORDS_OF_TEXT(len(facts["words"]), sizes["channels"], **dropouts)
        else:
            embed = nn.Linear(facts["num_features"], sizes["channels"])
        return SequenceClassifier(embed, len(facts["classes"]), heads=self.heads, word_decay=self.word_decay, **sizes)

    def outputs(self, model: nn.Module, batch: Any) -> Tensor:
        return model(batch.x, graph_of(batch))

    def tensors(self, data: Any, facts: dict[str, Any]) -> dict[str, Tensor]:
        """x as `nodes` has it, edge_index, and pos [num_nodes, axes] where nodes are in more than one order, as on a grid."""
        example = self.one(data)
        graph = graph_of(Data(num_nodes=example.num_nodes, **edges_or_graph(example)))
        pos, _ = positions_of(graph)
        found = {"x": self.nodes(example, facts), "edge_index": graph.edge_index()}
        is_order = pos.size(1) == 1 and torch.equal(pos[:, 0], torch.arange(len(pos)))
        return found if is_order else found | {"pos": pos}

    def answer(self, model: nn.Module, tensors: dict[str, Tensor], facts: dict[str, Any]) -> Tensor:
        """Probabilities [num_classes]."""
        x = scaled(tensors["x"], facts)
        return model(x, tensors["edge_index"], tensors.get("pos")).softmax(-1)[0]
