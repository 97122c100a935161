"""What models of the next token share: graphs that must not show it, and a memory of those that they were trained on."""

import warnings
import weakref
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor

from graphattn.graphs import Graph
from graphattn.graphs.ahead import prefix_of
from graphattn.graphs.exported import exported_edges, is_exporting
from graphattn.graphs.per_head import PerHead, as_graph_or_heads, once_for_each
from graphattn.graphs.rule import CAUSAL, Rule, follows, graph_of_rule, of_any_prefix, rule_of
from graphattn.graphs.spread import SpreadGraph
from graphattn.graphs.traced import TracedGraph, opened
from graphattn.nn.transformer import PerLayer

# Compiled code names memories by number, as it does graphs; no number of a graph gets this far.
_NUMBERS = count(2**50)
_MEMORIES: weakref.WeakValueDictionary[int, "GraphMemory"] = weakref.WeakValueDictionary()

UNKNOWN = "unknown"  # the rule of a graph that has none, beside what it looks like


class GraphMemory:
    """The graphs that a model was last trained on, as rules for texts of any length: one for all layers or one for each.

    It is kept in pickles of the model and beside the weights of a `state_dict`; a dict that was made of its entries has lost
    it, and loading that warns.
    """

    def __init__(self, rules: Sequence[Rule] = ()):
        self.rules = tuple(rules)
        self.graphs: tuple[weakref.ref[Graph | PerHead], ...] = ()
        self.number = next(_NUMBERS)
        _MEMORIES[self.number] = self

    def __getstate__(self) -> tuple[Rule, ...]:
        return self.rules

    def __setstate__(self, rules: tuple[Rule, ...]) -> None:
        GraphMemory.__init__(self, rules)

    def note(self, graphs: Sequence[Graph | PerHead]) -> None:
        """The graph of all layers, or of each; short texts, which follow many rules, leave the one that is known."""
        known = self.rules if len(self.rules) == len(graphs) else [CAUSAL] * len(graphs)
        self.rules = tuple(map(rule_after, known, graphs))
        self.graphs = tuple(weakref.ref(graph) for graph in graphs)

    def grow(self, max_length: int, prefixes: list[int]) -> Graph | PerLayer:
        """The graph over texts of up to `max_length` tokens: one for all of them, or, with prefixes, one for each.

        Args:
            prefixes: Length of each text that is given, the longest prefix it may have.
        """
        made: dict[Rule, Graph] = {}  # layers of one rule share a graph
        graphs = []
        for place, rule in enumerate(self.rules or (CAUSAL,)):
            if rule[0] == UNKNOWN:
                graphs.append(self.given_graph(place, max_length))
                continue
            num_examples = len(prefixes) if "prefix" in names(rule) else 1
            if rule not in made:
                made[rule] = graph_of_rule(rule, [max_length] * num_examples, prefixes)
            graphs.append(made[rule])
        return graphs[0] if len(graphs) == 1 else PerLayer(graphs)

    def given_graph(self, place: int, max_length: int) -> Graph:
        """The very graph that a layer was trained on, which has no rule, if it is still there and long enough."""
        graph = self.graphs[place]() if self.graphs else None
        if isinstance(graph, Graph) and graph.num_examples == 1 and graph.num_queries >= max_length:
            return graph
        raise ValueError(
            f"the model was trained on {self.rules[place][1]}, which does not say who sees whom in any text of {max_length}"
            " tokens; give 'graph'"
        )


def rule_after(known: Rule, graph: Graph | PerHead) -> Rule:
    """The rule of a graph, or the known one where the graph follows that too, with another prefix if need be."""
    if isinstance(graph, PerHead):
        return (UNKNOWN, repr(graph))
    if known[0] != UNKNOWN:
        for rule in (known, of_any_prefix(known)):
            if follows(graph, rule):
                return rule
    found = rule_of(graph)
    return (UNKNOWN, repr(graph)) if found is None else found


def names(rule: Rule) -> Iterator[str]:
    yield rule[0]
    for argument in rule[1:]:
        if isinstance(argument, tuple):
            yield from names(argument)


class NextTokenModel(torch.nn.Module):
    """A module that remembers what it was trained on; `forward` calls `check_graph`."""

    def __init__(self) -> None:
        super().__init__()
        self.trained_on = GraphMemory()

    def check_graph(self, tokens: Tensor, graph: Any) -> tuple[Tensor, Graph | PerHead | PerLayer, Graph]:
        """The tokens and the graph of all layers or of each, none of which shows the next token; and the first of them.

        Raises:
            ValueError: if a node sees a later one outside of the prefix of a `PrefixGraph`.
        """
        given = graph.graphs if isinstance(graph, PerLayer) else [graph]
        of_layers = once_for_each(lambda one: as_graph_or_heads(one, tokens.size(0)), given)
        graphs = [one for layer in of_layers for one in (layer.graphs if isinstance(layer, PerHead) else (layer,))]
        for one in graphs:
            if isinstance(one, SpreadGraph):
                raise ValueError(
                    f"{type(self).__name__} asks the whole graph what comes next (got {one!r}); give the sharded one to a module"
                    " of TokenEmbedding, GraphTransformer (behind a source GraphTransformerDecoder) and Linear, and the embedding"
                    " positions_of(graph)[1] of graphattn.nn.positions.coordinates"
                )
        if isinstance(graphs[0], TracedGraph):
            notes = self.training and len(graphs) == len(of_layers)
            tensors = [one.tensor for one in graphs if isinstance(one, TracedGraph)]  # all are
            if is_exporting():
                assert_no_next_tokens(tensors)
            else:
                tokens = traced_check(tokens, tensors, self.trained_on.number if notes else 0)
        else:
            refuse_next_tokens(graphs)
            if self.training:
                self.trained_on.note(of_layers)
        return tokens, PerLayer(of_layers) if isinstance(graph, PerLayer) else of_layers[0], graphs[0]

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        metadata = getattr(destination, "_metadata", None)
        if metadata is not None and self.trained_on.rules:
            metadata[prefix[:-1]]["trained_on"] = self.trained_on.rules

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)
        if "trained_on" in local_metadata:
            self.trained_on = GraphMemory(local_metadata["trained_on"])
        elif not local_metadata and any(name.startswith(prefix) for name in state_dict):  # torch's own has a version
            kept = "causal" if not self.trained_on.rules else f"the rule that the model has, {self.trained_on.rules}"
            warnings.warn(
                "these weights do not say which graphs they were trained on, which a state_dict keeps beside its entries and a"
                f" dict made of them loses; the model writes over {kept}, unless 'graph' says otherwise. Load the state_dict"
                " itself; torch.nn.modules.utils.consume_prefix_in_state_dict_if_present renames inside it",
                stacklevel=4,
            )


def refuse_next_tokens(graphs: Sequence[Graph]) -> None:
    for graph in graphs:
        if any(num_queries != num_keys for num_queries, num_keys in graph.sizes):
            raise ValueError(f"tokens attend to tokens of their own text: as many keys as queries (got {graph!r})")
        if prefix_of(graph) is None:
            raise ValueError(
                f"a graph of tokens must not show them what comes next (got {graph!r}, where a node sees a later one); give"
                " causal(num_nodes), `graph & causal(num_nodes)`, or PrefixGraph(num_nodes, prefix) for a given text that is"
                " read as a whole"
            )


def assert_no_next_tokens(graphs: Sequence[Tensor]) -> None:
    """The same of each edge_index or mask of an exported program, when that runs; ONNX leaves it out."""
    for graph in graphs:
        key, query = exported_edges(graph)
        torch._assert_async((key <= query).all(), "a graph of tokens must not show them what comes next")


@torch.library.custom_op("graphattn::check_next_tokens", mutates_args=())
def traced_check(tokens: Tensor, graphs: list[Tensor], memory: int) -> Tensor:
    """The tokens, once the graphs are checked and noted; nothing of it where they show the next token."""
    known = [opened(graph, tokens.size(0), tokens.size(0)) for graph in graphs]
    refuse_next_tokens(known)
    if memory in _MEMORIES:
        _MEMORIES[memory].note(known)
    return tokens.clone()


@traced_check.register_fake
def _(tokens, graphs, memory):
    return torch.empty_like(tokens)
