"""Recipes whose data are many examples: what they share."""

import os
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data, Dataset
from torch_geometric.loader import DataLoader
from torch_geometric.utils import is_undirected

from graphattn.graphs import EdgeListGraph, Graph
from graphattn.recipes.batches import graph_of
from graphattn.recipes.labels import check_features
from graphattn.recipes.parts import SHARES, Parts, given_parts, split_examples
from graphattn.recipes.recipe import Recipe, Task

AT_ONCE = 256  # examples of a batch where nothing is learned


@dataclass(frozen=True)
class OfExamples(Recipe):
    """Data as a list, or a PyG data set, of `Data`; parts by shares at random, or as three lists of places."""

    @abstractmethod
    def learn(self, examples: list[Any]) -> dict[str, Any]:
        """Facts from the training examples alone."""

    @abstractmethod
    def encode(self, example: Any, facts: dict[str, Any]) -> Data:
        """An example as the model takes it, without its target. Raises ValueError on one of another form."""

    @abstractmethod
    def target(self, example: Any, facts: dict[str, Any]) -> Tensor:
        """What is to be learned of it."""

    def parts(self, examples: list[Any], shares: Sequence[float], seed: int) -> Parts:
        return split_examples(len(examples), shares, seed)

    def check(self, data: Any) -> list[Any]:
        return check_examples(data)

    @abstractmethod
    def check_target(self, example: Any) -> None:
        """Raises ValueError on an example that nothing can be learned of."""

    def drops_last(self, num_examples: int) -> bool:
        """Whether a last, smaller batch is left out of training."""
        return False

    def read(self, data: Any, split: Any, seed: int) -> Task:
        examples = self.check(data)
        for place, example in enumerate(examples):
            try:
                self.check_target(example)
            except ValueError as error:
                raise ValueError(f"example {place}: {error}") from None
        parts = given_parts(split, len(examples))
        if parts is None:
            parts = self.parts(examples, SHARES if split is None else split, seed)
        facts = self.learn([examples[place] for place in parts.train])
        encoded = {
            name: self.ready(examples, part, facts) for name, part in zip(("train", "validation", "test"), parts)
        }
        train = DataLoader(
            encoded["train"],
            self.schedule.batch_size,
            shuffle=True,
            drop_last=self.drops_last(len(parts.train)),
        )
        evaluated = {name: DataLoader(encoded[name], AT_ONCE) for name in ("validation", "test")}
        counts = {name: len(part) for name, part in encoded.items()}
        return Task(facts, train, evaluated, counts)

    def ready(self, examples: list[Any], part: Sequence[int], facts: dict[str, Any]) -> list[Data]:
        found = []
        for place in part:
            try:
                data = self.encode(examples[place], facts)
                data.y = self.target(examples[place], facts)
            except ValueError as error:
                raise ValueError(f"example {place}: {error}") from None
            found.append(data)
        return found

    def one(self, data: Any) -> Data:
        """The example, checked. Raises ValueError on several."""
        examples = self.check(data)
        if len(examples) != 1:
            raise ValueError(f"one example is needed (got {len(examples)}); give one of them")
        return examples[0]

    def check_input(self, example: Any, facts: dict[str, Any]) -> None:
        self.encode(self.one(example), facts)

    def batches_of(self, data: Any, facts: dict[str, Any]) -> Iterable[Any]:
        """New examples as batches; one alone is a list of one."""
        return DataLoader([self.encode(example, facts) for example in self.check(data)], AT_ONCE)

    def scores(self, model: nn.Module, batches: Iterable[Any]) -> Tensor:
        return torch.cat([self.outputs(model, batch) for batch in batches])

    @torch.no_grad()
    def outputs_and_targets(self, model: nn.Module, batches: Iterable[Any]) -> tuple[Tensor, Tensor]:
        pairs = [(self.outputs(model, batch), batch.y) for batch in batches]
        return torch.cat([outputs for outputs, _ in pairs]), torch.cat([y for _, y in pairs])


def check_examples(data: Any) -> list[Data]:
    """The examples, each with nodes. Raises ValueError where there are none, or one has none."""
    if isinstance(data, Data):
        return check_examples([data])
    if not isinstance(data, (list, tuple, Dataset)):
        got = os.fspath(data) if isinstance(data, (str, os.PathLike)) else type(data).__name__
        raise ValueError(
            f"the data must be a list of torch_geometric Data or a data set of PyG (got {got}); graphattn.datasets.from_csv and"
            " from_folder read files, graphattn.inputs texts, sounds, images and molecules"
        )
    examples = list(data)
    if not examples:
        raise ValueError("there are no examples (got an empty list)")
    for place, example in enumerate(examples):
        if not isinstance(example, Data):
            raise ValueError(f"example {place} must be a torch_geometric Data (got {type(example).__name__})")
        if not example.num_nodes:
            raise ValueError(f"example {place} has no nodes (got {example}); leave it out")
    return examples


def edges_or_graph(data: Data) -> dict[str, Any]:
    """How an example says who attends to whom, for `batches.graph_of`.

    Raises ValueError if it says nothing.
    """
    graph = data.graph if "graph" in data or (data.edge_index is not None and hasattr(data, "graph")) else None
    if graph is None and data.edge_index is None:
        raise ValueError(
            "an example says nothing about who attends to whom (got neither 'graph' nor 'edge_index'); set one, for instance by"
            " graphattn.transforms.Complete()"
        )
    if graph is None:
        num_nodes = data.num_nodes or 0
        has_both = is_undirected(data.edge_index, num_nodes=num_nodes)
        graph = EdgeListGraph(data.edge_index, num_nodes, is_undirected=has_both)
    if not isinstance(graph, Graph):
        raise ValueError(f"'graph' of an example must be a graph of graphattn (got {type(graph).__name__})")
    if graph.num_queries != data.num_nodes or graph.num_keys != data.num_nodes:
        raise ValueError(f"'graph' must be over the {data.num_nodes} nodes of its example (got {graph!r})")
    if isinstance(graph, EdgeListGraph):
        return {"edge_index": graph.edge_index(), "undirected": torch.tensor([graph.is_undirected])}
    return {"graph": graph}


def edge_features(data: Data, edge_dim: int | None) -> Tensor | None:
    """Features of the edges, float32 [num_edges, edge_dim]; an integer of each edge is one number."""
    found = data.edge_attr
    if found is None or edge_dim is None:
        if edge_dim is not None:
            raise ValueError(f"the edges need {edge_dim} features 'edge_attr' as those of other examples (got none)")
        return None
    found = found[:, None] if found.dim() == 1 else found
    if found.size(1) != edge_dim:
        raise ValueError(
            f"the edges need {edge_dim} features 'edge_attr' as those of other examples (got {found.size(1)})"
        )
    found = found if found.is_floating_point() else found.float()
    broken = int((~torch.isfinite(found)).sum())
    if broken:
        raise ValueError(f"the features of edges have {broken} numbers that are nan or infinite; replace them first")
    return found


def edge_tensors(data: Data, edge_dim: int | None) -> dict[str, Tensor]:
    """The edges of an example as tensors, and their features where there are some."""
    edge_index = graph_of(Data(num_nodes=data.num_nodes, **edges_or_graph(data))).edge_index()
    features = edge_features(data, edge_dim)
    return {"edge_index": edge_index} | ({} if features is None else {"edge_attr": features})


def edge_dim_of(examples: Iterable[Data]) -> int | None:
    """Features of an edge, if there are edge features."""
    for data in examples:
        if data.edge_attr is not None:
            return 1 if data.edge_attr.dim() == 1 else data.edge_attr.size(1)
    return None


def node_features(data: Data, num_features: int | None = None) -> Tensor:
    """Features of the nodes, float; errors as `check_features`, on words, which are for other recipes, and on another number of
    features than asked for."""
    if isinstance(data.x, Tensor) and data.x.dim() == 1 and not data.x.is_floating_point():
        raise ValueError(
            f"the nodes have a number of a word each (got x of {data.x.dtype} {list(data.x.shape)}); texts are for the recipes"
            " SequenceClassification and Tagging, categories for torch.nn.functional.one_hot"
        )
    x = check_features(data.x[:, None] if isinstance(data.x, Tensor) and data.x.dim() == 1 else data.x, "nodes")
    if num_features is not None and x.size(1) != num_features:
        raise ValueError(f"the nodes need {num_features} features as those of other examples (got {x.size(1)})")
    return x
