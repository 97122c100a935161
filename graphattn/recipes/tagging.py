"""A class for every node of many examples."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data

from graphattn.graphs import BandedGraph, CompleteGraph, Graph
from graphattn.inputs import Vocabulary
from graphattn.recipes.choice import Choice
from graphattn.recipes.examples import OfExamples, node_features
from graphattn.recipes.features import scale_of, scaled
from graphattn.recipes.labels import check_labels, classes_of, encode_labels
from graphattn.recipes.measures import OF_CLASSES, check_measure, class_figures
from graphattn.recipes.models.tagger import Tagger
from graphattn.recipes.models.words import WORDS_OF_TAGS, ends_and_shape_of
from graphattn.recipes.predicted import Predicted
from graphattn.recipes.schedule import Schedule
from graphattn.recipes.texts import check_kind, tokens_of, vocabulary_of, word_rows

IGNORED = -100  # what torch's cross entropy passes over


@dataclass(frozen=True)
class Tagging(OfExamples):
    """Tagging: N words in, N tags out; or N frames of a sound.

    The data are a list of `Data` with y [num_nodes], whole numbers (those below 0 are passed over), and `tokens` (or `words`), or
    x [num_nodes, num_features]. A word attends to `band` words on either side, whose offset is the feature of the edge, or to all
    of its sentence.

    Args:
        band: Words to either side that a word attends to; None: all, with sines and cosines of the places.
        channels, layers, heads, dropout: of `models.tagger.Tagger`.
        word_dropout: Share of words made unknown in training.
        min_count: Words seen less often in training are unknown.
        measure: 'accuracy' or 'macro_f1' of the words chooses the epoch.
    """

    name: ClassVar[str] = "tagging"
    is_of_nodes: ClassVar[bool] = True

    schedule: Schedule = Schedule(
        epochs=5, lr=3e-3, batch_size=64, weight_decay=0.05, fused=True, warmup=0.2, clip=1.0, least_steps=300
    )
    measure: str = "accuracy"
    band: int | None = 3
    channels: int = 128
    layers: int = 2
    heads: int = 4
    dropout: float = 0.3
    word_dropout: float = 0.2
    min_count: int = 2

    def __post_init__(self) -> None:
        check_measure(self.measure, OF_CLASSES)
        if self.band is not None and self.band < 0:
            raise ValueError(f"'band' must be 0 or more words, or None for all (got {self.band})")

    def choice(self, facts: dict[str, Any]) -> Choice:
        return Choice(self.measure, ties="loss")

    def check_target(self, example: Any) -> None:
        check_labels(example.get("y"), example.num_nodes, "nodes")

    def learn(self, examples: list[Any]) -> dict[str, Any]:
        y = torch.cat([check_labels(data.get("y"), data.num_nodes, "nodes") for data in examples])
        if not (y >= 0).any():
            raise ValueError(f"no node of the training part has a tag (got {len(y)} labels below 0); set data.y")
        facts: dict[str, Any] = {"classes": classes_of(y[y >= 0], "nodes").tolist()}
        if check_kind(examples):
            lower_cased = ([token.lower() for token in tokens_of(data) or []] for data in examples)
            vocabulary = Vocabulary.from_sentences(lower_cased, min_count=self.min_count)
            return facts | {"words": tuple(vocabulary), "num_features": None, "mean": None, "deviation": None}
        features = [node_features(data) for data in examples]
        return facts | {"words": None, "num_features": features[0].size(1)} | scale_of(features)

    def encode(self, example: Any, facts: dict[str, Any]) -> Data:
        pos = torch.arange(example.num_nodes, dtype=torch.float)[:, None]
        return Data(x=scaled(self.nodes(example, facts), facts), pos=pos)

    def nodes(self, example: Data, facts: dict[str, Any]) -> Tensor:
        """What stands for the nodes: rows of numbers of a word and its parts, or features as they are."""
        tokens = tokens_of(example)
        if facts["words"] is not None:
            if tokens is None:
                raise ValueError(
                    f"the model reads texts (got {example} without 'tokens'); make it by graphattn.inputs.from_text"
                )
            return word_rows(tokens, vocabulary_of(facts["words"]), ends_and_shape_of, lower=True)
        return node_features(example, facts["num_features"])

    def target(self, example: Any, facts: dict[str, Any]) -> Tensor:
        y = check_labels(example.get("y"), example.num_nodes, "nodes")
        found = torch.full_like(y, IGNORED)
        found[y >= 0] = encode_labels(y[y >= 0], torch.tensor(facts["classes"]), "validation or test nodes")
        return found

    def build(self, facts: dict[str, Any]) -> nn.Module:
        embed: nn.Module
        if facts["words"] is not None:
            size = len(facts["words"])
            embed = WORDS_OF_TAGS(size, self.channels, dropout=self.dropout, word_dropout=self.word_dropout)
        else:
            embed = nn.Linear(facts["num_features"], self.channels)
        options = {name: getattr(self, name) for name in ("channels", "layers", "heads", "dropout")}
        edge_dim = None if self.band is None else 2 * self.band + 1
        return Tagger(embed, len(facts["classes"]), edge_dim=edge_dim, **options)

    def graph_of(self, num_nodes: Sequence[int]) -> tuple[Graph, Tensor | None]:
        """Who attends to whom in a batch of sentences, and the one-hot offset of each edge of a band."""
        if self.band is None:
            return CompleteGraph(num_nodes), None
        graph = BandedGraph(num_nodes, self.band, self.band)
        return graph, offsets_in_band(graph.edge_index(), self.band)

    def outputs(self, model: nn.Module, batch: Any) -> Tensor:
        graph, edge_attr = self.graph_of(batch.ptr.diff().tolist())
        return model(batch.x, batch.pos, graph, edge_attr if edge_attr is None else edge_attr.to(batch.x.device))

    def tensors(self, data: Any, facts: dict[str, Any]) -> dict[str, Tensor]:
        example = self.one(data)
        graph, _ = self.graph_of([example.num_nodes or 0])
        return {"x": self.nodes(example, facts), "edge_index": graph.edge_index()}

    def answer(self, model: nn.Module, tensors: dict[str, Tensor], facts: dict[str, Any]) -> Tensor:
        """Probabilities [num_nodes, num_classes]."""
        x, edge_index = scaled(tensors["x"], facts), tensors["edge_index"]
        pos = torch.arange(x.size(0), dtype=torch.float, device=x.device)[:, None]
        edge_attr = None if self.band is None else offsets_in_band(edge_index, self.band)
        return model(x, pos, edge_index, edge_attr).softmax(-1)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(self.outputs(model, batch), batch.y, ignore_index=IGNORED)

    def figures(self, model: nn.Module, batches: Iterable[Any]) -> dict[str, float]:
        outputs, y = self.outputs_and_targets(model, batches)
        return class_figures(outputs[y >= 0], y[y >= 0])

    def predict(self, model: nn.Module, data: Any, facts: dict[str, Any]) -> list[Predicted]:
        """`Predicted` for the nodes of each example."""
        found: list[Predicted] = []
        for batch in self.batches_of(data, facts):
            for scores in self.outputs(model, batch).split(batch.ptr.diff().tolist()):
                found.append(Predicted.of(scores, facts.get("names") or facts["classes"]))
        return found


def offsets_in_band(edge_index: Tensor, band: int) -> Tensor:
    """How far before or behind it an edge comes to a word, one-hot: float32 [num_edges, 2 * band + 1].

    >>> offsets_in_band(torch.tensor([[0, 1, 2], [1, 1, 1]]), 1)
    tensor([[1., 0., 0.],
            [0., 1., 0.],
            [0., 0., 1.]])
    """
    source, target = edge_index
    return ((source - target)[:, None] == torch.arange(-band, band + 1, device=edge_index.device)).float()
