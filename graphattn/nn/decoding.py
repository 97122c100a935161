"""The state of a model that writes token after token: keys and values of what may still be attended to."""

from typing import NamedTuple

import torch
from torch import Tensor

from graphattn.graphs import BandedGraph, CompleteGraph, EdgeListGraph, Graph, batch_graphs, causal
from graphattn.nn.attention import GraphAttention
from graphattn.nn.bias import total_bias
from graphattn.nn.positions.coordinates import index_inside
from graphattn.nn.transformer import PerLayer, one_for_each


class Step(NamedTuple):
    """New nodes of each example, and what they attend to."""

    graph: Graph  # from the kept and the new nodes (keys) to the new ones (queries)
    pos: Tensor  # [num_new], inside the example
    key_pos: Tensor  # [num_keys]
    order: Tensor  # [num_keys], of the kept nodes followed by the new ones
    kept: Tensor  # places among the keys of what later nodes attend to


class Window:
    """Which nodes of each example later ones may still attend to.

    Args:
        graph: A causal graph over the longest example.
        num_examples: Number of examples.
    """

    def __init__(self, graph: Graph, num_examples: int, device=None):
        check_causal(graph)
        self.graph = graph.normal_form()
        self.last_query = last_queries(self.graph, device)
        self.lengths = torch.zeros(num_examples, dtype=torch.int64, device=device)
        self.counts = self.lengths.clone()  # of kept nodes
        self.pos = torch.empty(0, dtype=torch.int64, device=device)  # of kept nodes, example after example

    def extend(self, counts: list[int]) -> Step:
        """So many nodes more in each example."""
        new = torch.tensor(counts, device=self.lengths.device)
        lengths = self.lengths + new
        if lengths.numel() and int(lengths.max()) > self.graph.num_queries:
            raise ValueError(f"the graph has {self.graph.num_queries} nodes (got an example of {int(lengths.max())})")
        pos = index_inside(new, new.device) + self.lengths.repeat_interleave(new)
        examples = torch.arange(len(counts), device=new.device)
        example = torch.cat([examples.repeat_interleave(self.counts), examples.repeat_interleave(new)])
        order = example.argsort(stable=True)
        key_pos, example = torch.cat([self.pos, pos])[order], example[order]
        graph = self.graph_between(counts, pos, (self.counts + new).tolist(), key_pos)
        kept = (self.last_query[key_pos] >= lengths[example]).nonzero().flatten()
        self.lengths, self.pos = lengths, key_pos[kept]
        self.counts = torch.bincount(example[kept], minlength=len(counts))
        return Step(graph, pos, key_pos, order, kept)

    def graph_between(self, counts: list[int], pos: Tensor, key_counts: list[int], key_pos: Tensor) -> Graph:
        if counts == key_counts and not self.lengths.any():
            return first_rows(self.graph, counts)
        full = CompleteGraph(counts, key_counts)
        edge_index = full.edge_index(pos.device)
        allowed = self.graph.allows(pos[edge_index[1]], key_pos[edge_index[0]])
        # A causal graph and a band see all that is kept: complete graphs have the faster kernels.
        return full if allowed.all() else EdgeListGraph(edge_index[:, allowed], counts, key_counts)

    def select(self, examples: Tensor) -> Tensor:
        """These examples instead, in this order; the places of their kept nodes among those of before."""
        places = places_of(self.counts, examples)
        self.pos, self.counts, self.lengths = self.pos[places], self.counts[examples], self.lengths[examples]
        return places


class KeyValueCache:
    """Projected keys and values of one attention layer, example after example."""

    def __init__(self):
        self.key: Tensor | None = None  # [num_kept, kv_heads, dim]
        self.value: Tensor | None = None

    def attend(self, attention: GraphAttention, x: Tensor, step: Step, edge_bias: Tensor | None) -> Tensor:
        """Self-attention of the new nodes x [num_new, channels], whose keys and values are kept as `step` says."""
        query, key, value = attention.project(x, x)
        if attention.positions is not None:
            query, key = attention.positions(query, step.pos), attention.positions(key, step.pos)
        if self.key is not None:
            key, value = torch.cat([self.key, key])[step.order], torch.cat([self.value, value])[step.order]
        self.key, self.value = key[step.kept], value[step.kept]
        bias = total_bias(attention.edge_bias, edge_bias, step.graph, (step.key_pos, step.pos))
        return attention.combine(query, key, value, step.graph, edge_bias=bias, target=x)

    def select(self, places: Tensor) -> None:
        self.key, self.value = self.key[places], self.value[places]


class MemoryCache:
    """Projected keys and values of the memory for one layer, made once."""

    def __init__(self, attention: GraphAttention, memory: Tensor):
        _, self.key, self.value = attention.project(memory, memory.new_empty(0, attention.in_channels[1]))

    def attend(self, attention: GraphAttention, x: Tensor, graph: Graph) -> Tensor:
        query, _, _ = attention.project(self.key.new_empty(0, attention.in_channels[0]), x)
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
        graph: A causal graph over the longest example, or `PerLayer`.
        num_examples: Number of examples.
        memory: [num_memory_nodes, channels] of all examples, if the layers are DecoderLayers.
        memory_counts: Memory nodes of each example.

    Raises:
        ValueError: if a graph is not causal or an example outgrows it.

    Example:
        >>> from graphattn import BandedGraph
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
        self.model, self.layers, self.num_examples = model, model.decoder.layers, num_examples
        graphs = one_for_each(graph, len(self.layers))
        # Layers of one graph share a window.
        windows = {id(own): Window(own, num_examples, model.lin_out.weight.device) for own in graphs}
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
        if self.memories:
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


def check_causal(graph: Graph) -> None:
    if not isinstance(graph, Graph) or graph.num_examples != 1 or graph.num_queries != graph.num_keys:
        raise ValueError(f"'graph' must be one Graph over the nodes of the longest example (got {graph!r})")
    if (graph & causal(graph.num_queries)).num_edges != graph.num_edges:
        raise ValueError(f"'graph' must be causal: no node may attend to a later one (got {graph!r})")


def last_queries(graph: Graph, device=None) -> Tensor:
    """The last node that attends to each node, or one a little later; -1 if none does: [num_nodes]."""
    nodes = torch.arange(graph.num_keys, device=device)
    if isinstance(graph, BandedGraph):
        return (nodes - graph.offsets[0] + graph.before * graph.dilation).clamp(max=graph.num_queries - 1)
    csr = graph.by_key(device)
    last = torch.full_like(nodes, -1)
    is_seen = csr.rowptr.diff() > 0
    last[is_seen] = csr.col[csr.rowptr[1:][is_seen].long() - 1].long()
    return last


def first_rows(graph: Graph, counts: list[int]) -> Graph:
    """The graph over the first `counts` nodes, for each example."""
    if isinstance(graph, BandedGraph):
        offsets = [graph.offsets[0]] * len(counts)
        return BandedGraph(counts, graph.before, graph.after, graph.dilation, offset=offsets)
    return batch_graphs([graph.subgraph(torch.arange(count)) for count in counts])


def places_of(counts: Tensor, examples: Tensor) -> Tensor:
    """Places of the nodes of `examples` where examples of so many nodes lie end to end.

    >>> places_of(torch.tensor([2, 1, 3]), torch.tensor([2, 0, 2]))
    tensor([3, 4, 5, 0, 1, 3, 4, 5])
    """
    starts = (counts.cumsum(0) - counts)[examples]
    chosen = counts[examples]
    return starts.repeat_interleave(chosen) + index_inside(chosen, chosen.device)
