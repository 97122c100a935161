"""Which nodes of a text a layer still attends to while the text is written."""

from typing import NamedTuple

import torch
from torch import Tensor

from graphattn.graphs import BandedGraph, CompleteGraph, EdgeListGraph, Graph, PrefixGraph, batch_graphs
from graphattn.graphs.ahead import prefix_of
from graphattn.graphs.starts import AT_ZERO
from graphattn.nn.positions.coordinates import index_inside


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
