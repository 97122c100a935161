"""The state of a model that writes token after token: keys and values of what may still be attended to."""

from typing import Any

import torch
from torch import Tensor

from graphattn.graphs import CompleteGraph, Graph
from graphattn.nn.attention import GraphAttention
from graphattn.nn.bias import total_bias
from graphattn.nn.sizes import both_sizes
from graphattn.nn.transformer import PerLayer, one_for_each
from graphattn.nn.window import Step, Window, places_of


class KeyValueCache:
    """Projected keys and values of one attention layer, example after example."""

    def __init__(self) -> None:
        self.key: Tensor | None = None  # [num_kept, kv_heads, dim]
        self.value: Tensor | None = None

    def attend(self, attention: GraphAttention, x: Tensor, step: Step, edge_bias: Tensor | None) -> Tensor:
        """Self-attention of the new nodes x [num_new, channels], whose keys and values are kept as `step` says."""
        query, key, value = attention.project(x, x)
        if attention.positions is not None:
            query, key = attention.positions(query, step.pos), attention.positions(key, step.pos)
        if self.key is not None and self.value is not None:
            key, value = torch.cat([self.key, key])[step.order], torch.cat([self.value, value])[step.order]
        self.key, self.value = key[step.kept], value[step.kept]
        bias = total_bias(attention.edge_bias, edge_bias, step.graph, (step.key_pos, step.pos))
        return attention.combine(query, key, value, step.graph, edge_bias=bias, target=x)

    def select(self, places: Tensor) -> None:
        if self.key is not None and self.value is not None:
            self.key, self.value = self.key[places], self.value[places]


class MemoryCache:
    """Projected keys and values of the memory for one layer, made once."""

    def __init__(self, attention: GraphAttention, memory: Tensor):
        _, self.key, self.value = attention.project(memory, memory.new_empty(0, both_sizes(attention.in_channels)[1]))

    def attend(self, attention: GraphAttention, x: Tensor, graph: Graph) -> Tensor:
        query, _, _ = attention.project(self.key.new_empty(0, both_sizes(attention.in_channels)[0]), x)
        return attention.combine(query, self.key, self.value, graph, target=x)

    def select(self, places: Tensor) -> None:
        self.key, self.value = self.key[places], self.value[places]


class Decoding:
    """A model (LanguageModel, Seq2Seq) at work: it reads tokens and gives the scores of the next one of each example.

    Step by step it has the numbers of one pass over everything. Each layer forgets what no later node attends to in its
    graph: a band keeps `before` nodes of each example. Edges have no features, and the whole memory of an example is
    attended to.

    Args:
        model: With `embedding`, `decoder` (a stack of layers) and `lin_out`.
        graph: A causal graph or a `PrefixGraph` over the longest example, a PrefixGraph with an example for each,
            or `PerLayer`.
        num_examples: Number of examples.
        memory: [num_memory_nodes, channels] of all examples, if the layers are DecoderLayers.
        memory_counts: Memory nodes of each example.

    Raises:
        TypeError: if the model lacks one of its parts.
        ValueError: if a graph shows a node a later one outside of a prefix, if an example outgrows it, or if not all of a
            prefix is read at once.

    Example:
        >>> from graphattn import BandedGraph, causal
        >>> from graphattn.nn import LanguageModel, PerLayer
        >>> graph = PerLayer([BandedGraph(50, before=3, after=0), causal(50)])
        >>> decoding = LanguageModel(100, 16, num_layers=2, heads=4).start(2, graph)
        >>> decoding.advance(torch.randint(100, (9,)), counts=[4, 5]).shape
        torch.Size([2, 100])
        >>> decoding.advance(torch.tensor([7, 8])).shape, decoding.num_kept
        (torch.Size([2, 100]), [6, 11])
    """

    def __init__(
        self,
        model: torch.nn.Module,
        graph: Graph | PerLayer,
        num_examples: int,
        memory: Tensor | None = None,
        memory_counts: list[int] | None = None,
    ):
        self.model = check_parts(model)
        self.layers = self.model.decoder.layers
        self.num_examples = num_examples
        graphs = one_for_each(graph, len(self.layers))
        # Layers of one graph share a window.
        windows = {id(own): Window(own, num_examples, device_of(model)) for own in graphs}
        self.windows = [windows[id(own)] for own in graphs]
        self.caches = [KeyValueCache() for _ in self.layers]
        self.memory_counts, self.memories = memory_counts, []
        self.memory_graph: tuple[tuple[int, ...], Graph] | None = None
        if memory is not None:
            self.memories = [MemoryCache(layer.memory_attention, memory) for layer in self.layers]

    @property
    def num_kept(self) -> list[int]:
        """Nodes of all examples whose keys and values each layer keeps."""
        return [window.pos.numel() for window in self.windows]

    def advance(self, tokens: Tensor, counts: list[int] | None = None) -> Tensor:
        """Read `counts` tokens more of each example (1 by default): scores [num_examples, num_tokens] after the last.

        Each example reads at least one token.
        """
        counts = [1] * self.num_examples if counts is None else list(counts)
        if len(counts) != self.num_examples or min(counts, default=1) < 1 or sum(counts) != tokens.size(0):
            raise ValueError(
                f"'counts' must be at least 1 for each of the {self.num_examples} examples and sum to the number of"
                f" tokens, {tokens.size(0)} (got {counts})"
            )
        stack, steps = self.model.decoder, {window: window.extend(counts) for window in set(self.windows)}
        biases = {
            window: total_bias(stack.edge_bias, None, step.graph, (step.key_pos, step.pos))
            for window, step in steps.items()
        }
        x = self.model.embedding(tokens, steps[self.windows[0]].pos)
        memory_graph = self.graph_of_memory(tuple(counts)) if self.memories else None
        for number, window in enumerate(self.windows):
            x = self.run(number, x, steps[window], biases[window], memory_graph)
        x = x[torch.tensor(counts, device=x.device).cumsum(0) - 1]
        return self.model.lin_out(x if stack.norm is None else stack.norm(x))

    def graph_of_memory(self, counts: tuple[int, ...]) -> Graph:
        """From the memory of each example to its new nodes: one for all layers, and for later steps until `select`."""
        if self.memory_graph is None or self.memory_graph[0] != counts:
            self.memory_graph = counts, CompleteGraph(list(counts), self.memory_counts)
        return self.memory_graph[1]

    def run(self, number: int, x: Tensor, step: Step, bias: Tensor | None, memory_graph: Graph | None) -> Tensor:
        """One layer, over the new nodes x [num_new, channels]."""
        layer, cache = self.layers[number], self.caches[number]
        attends = [lambda y: cache.attend(layer.attention, y, step, bias)]
        if memory_graph is not None:
            attends.append(lambda y: self.memories[number].attend(layer.memory_attention, y, memory_graph))
        return layer.run(x, step.graph, *attends)

    def select(self, examples: Tensor) -> None:
        """Go on with these examples, in this order; one may come several times, as in a beam."""
        self.num_examples = examples.numel()
        places = {window: window.select(examples) for window in set(self.windows)}
        for cache, window in zip(self.caches, self.windows, strict=True):
            cache.select(places[window])
        if self.memories:
            counts = torch.tensor(self.memory_counts, device=examples.device)
            self.memory_counts, self.memory_graph = counts[examples].tolist(), None
            for memory in self.memories:
                memory.select(places_of(counts, examples))


def check_parts(model: Any) -> Any:
    """The model, which has the parts."""
    missing = [name for name in ("embedding", "decoder", "lin_out") if not callable(getattr(model, name, None))]
    if missing or not hasattr(model.decoder, "layers"):
        raise TypeError(
            "a Decoding needs a model with 'embedding' (tokens, positions -> features), 'decoder' (a GraphTransformer or"
            f" GraphTransformerDecoder) and 'lin_out' (features -> scores) (got {type(model).__name__}, without"
            f" {', '.join(map(repr, missing)) or 'layers of its decoder'})"
        )
    return model


def device_of(model: torch.nn.Module) -> torch.device:
    """Where a model reads tokens: the device of its embedding, or of its first parameter."""
    parts = [getattr(model, "embedding", None), model]
    parameters = (parameter for part in parts if isinstance(part, torch.nn.Module) for parameter in part.parameters())
    first = next(parameters, None)
    return torch.get_default_device() if first is None else first.device


def num_tokens_of(model: torch.nn.Module) -> int | None:
    """How many tokens a model scores, or else embeds; None where neither its last map nor its embedding says."""
    weight = getattr(getattr(model, "lin_out", None), "weight", None)
    if isinstance(weight, Tensor) and weight.dim() == 2:
        return weight.size(0)
    embedding = getattr(model, "embedding", None)
    return getattr(getattr(embedding, "table", embedding), "num_embeddings", None)
