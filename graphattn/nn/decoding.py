"""The state of a model that writes token after token: keys and values of what may still be attended to."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from graphattn.graphs import BandedGraph, CompleteGraph, EdgeListGraph, Graph, PrefixGraph, batch_graphs
from graphattn.graphs.ahead import prefix_of
from graphattn.graphs.starts import AT_ZERO
from graphattn.nn.attention import GraphAttention
from graphattn.nn.bias import total_bias
from graphattn.nn.positions.coordinates import index_inside
from graphattn.nn.sizes import both_sizes
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
        graph: One graph over the longest example, or one with a prefix and as many examples.
        num_examples: Number of examples.
    """

    def __init__(self, graph: Graph, num_examples: int, device: torch.device | None = None):
        prefixes = check_graph(graph, num_examples)
        self.graph = graph.normal_form()
        self.last_query = last_queries(self.graph, device)
        self.sizes = torch.tensor([size for size, _ in graph.sizes], device=device)
        self.first_nodes = torch.tensor(graph.query_ptr[:-1], device=device)
        self.prefixes = torch.tensor(prefixes, device=device) if any(prefixes) else None
        of_one = torch.zeros(num_examples, dtype=torch.int64, device=device)
        self.numbers = of_one if graph.num_examples == 1 else torch.arange(num_examples, device=device)  # in the graph
        self.lengths = torch.zeros(num_examples, dtype=torch.int64, device=device)
        self.counts = self.lengths.clone()  # of kept nodes
        self.pos = torch.empty(0, dtype=torch.int64, device=device)  # of kept nodes, example after example

    def extend(self, counts: list[int]) -> Step:
        """So many nodes more in each example."""
        new = torch.tensor(counts, device=self.lengths.device)
        lengths = self.lengths + new
        self.check_lengths(lengths)
        pos = index_inside(new, new.device) + self.lengths.repeat_interleave(new)
        examples = torch.arange(len(counts), device=new.device)
        example = torch.cat([examples.repeat_interleave(self.counts), examples.repeat_interleave(new)])
        order = example.argsort(stable=True)
        key_pos, example = torch.cat([self.pos, pos])[order], example[order]
        graph = self.graph_between(counts, pos, (self.counts + new).tolist(), key_pos)
        kept = (self.last_query[self.nodes_at(key_pos, example)] >= lengths[example]).nonzero().flatten()
        self.lengths, self.pos = lengths, key_pos[kept]
        self.counts = torch.bincount(example[kept], minlength=len(counts))
        return Step(graph, pos, key_pos, order, kept)

    def check_lengths(self, lengths: Tensor) -> None:
        sizes = self.sizes[self.numbers]
        if lengths.numel() and bool((lengths > sizes).any()):
            place = int((lengths - sizes).argmax())
            raise ValueError(f"the graph has {int(sizes[place])} nodes (got an example of {int(lengths[place])})")
        # What is read later finds the prefix read: its nodes see each other only while they are read together.
        if self.prefixes is not None and not self.lengths.all():
            missing = self.prefixes[self.numbers] - lengths
            if bool((missing > 0).any()):
                place = int(missing.argmax())
                raise ValueError(
                    f"a prefix is read as a whole: the first {int(self.prefixes[self.numbers[place]])} tokens of the example at"
                    f" once (got {int(lengths[place])}); give a longer prompt, or a PrefixGraph with a shorter prefix"
                )

    def nodes_at(self, pos: Tensor, example: Tensor) -> Tensor:
        """The nodes of the graph at positions of examples."""
        return pos + self.first_nodes[self.numbers[example]]

    def graph_between(self, counts: list[int], pos: Tensor, key_counts: list[int], key_pos: Tensor) -> Graph:
        if counts == key_counts and not self.lengths.any():
            return first_rows(self.graph, counts, self.numbers.tolist())
        full = CompleteGraph(counts, key_counts)
        key, query = edge_index = full.edge_index(pos.device)
        nodes = self.nodes_at(pos, full.batch(pos.device))[query], self.nodes_at(key_pos, full.T.batch(pos.device))[key]
        allowed = self.graph.allows(*nodes)
        # A causal graph and a band see all that is kept: complete graphs have the faster kernels.
        return full if allowed.all() else EdgeListGraph(edge_index[:, allowed], counts, key_counts)

    def select(self, examples: Tensor) -> Tensor:
        """These examples instead, in this order; the places of their kept nodes among those of before."""
        places = places_of(self.counts, examples)
        self.pos, self.counts, self.lengths = self.pos[places], self.counts[examples], self.lengths[examples]
        self.numbers = self.numbers[examples]
        return places


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


def check_graph(graph: Graph, num_examples: int) -> tuple[int, ...]:
    """How many nodes are the prefix of each example of a graph that can be written over."""
    if not isinstance(graph, Graph) or any(num_queries != num_keys for num_queries, num_keys in graph.sizes):
        raise ValueError(f"'graph' must be one Graph over the nodes of the longest example (got {graph!r})")
    if any(start != AT_ZERO for start in graph.starts):
        raise ValueError(
            f"'graph' joins nodes to keys of their own, beside which they start at an offset (got {graph!r}); make the band"
            " without 'num_keys'"
        )
    prefixes = prefix_of(graph)
    if prefixes is None:
        raise ValueError(
            f"'graph' must be causal: no node may attend to a later one, but in the prefix of a PrefixGraph (got {graph!r})"
        )
    if graph.num_examples != (num_examples if any(prefixes) and graph.num_examples > 1 else 1):
        raise ValueError(
            f"'graph' must be one Graph over the nodes of the longest example, or a PrefixGraph with one example for each of"
            f" {num_examples} (got {graph!r})"
        )
    return prefixes


def last_queries(graph: Graph, device: torch.device | None = None) -> Tensor:
    """The last node, inside the example, that attends to each node, or one a little later; -1 if none does: [num_nodes]."""
    counts = torch.tensor([size for size, _ in graph.sizes], device=device)
    if isinstance(graph, (PrefixGraph, CompleteGraph)):
        return (counts - 1).repeat_interleave(counts)
    if isinstance(graph, BandedGraph):
        reach = graph.before * graph.dilation - torch.tensor(graph.offsets, device=device)
        last = index_inside(counts, device) + reach.repeat_interleave(counts)
        return last.minimum((counts - 1).repeat_interleave(counts))
    csr = graph.by_key(device)
    last = torch.full((graph.num_keys,), -1, dtype=torch.int64, device=device)
    is_seen = csr.rowptr.diff() > 0
    last[is_seen] = csr.col[csr.rowptr[1:][is_seen].long() - 1].long()
    firsts = torch.tensor(graph.query_ptr[:-1], device=device).repeat_interleave(counts)
    return torch.where(is_seen, last - firsts, last)


def first_rows(graph: Graph, counts: list[int], numbers: list[int]) -> Graph:
    """The graph over the first `counts` nodes, for each example; `numbers` says by which example of the graph."""
    if isinstance(graph, BandedGraph):
        offsets = [graph.offsets[number] for number in numbers]
        return BandedGraph(counts, graph.before, graph.after, graph.dilation, offset=offsets)
    if isinstance(graph, PrefixGraph):
        return PrefixGraph(counts, [graph.prefix[number] for number in numbers])
    if isinstance(graph, CompleteGraph):
        return CompleteGraph(counts)
    examples = graph.examples()
    return batch_graphs([examples[number].subgraph(torch.arange(count)) for number, count in zip(numbers, counts)])


def places_of(counts: Tensor, examples: Tensor) -> Tensor:
    """Places of the nodes of `examples` where examples of so many nodes lie end to end.

    >>> places_of(torch.tensor([2, 1, 3]), torch.tensor([2, 0, 2]))
    tensor([3, 4, 5, 0, 1, 3, 4, 5])
    """
    starts = (counts.cumsum(0) - counts)[examples]
    chosen = counts[examples]
    return starts.repeat_interleave(chosen) + index_inside(chosen, chosen.device)
