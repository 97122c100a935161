"""What a graph says of examples of any length: a rule of names and numbers, which makes such graphs again."""

from collections.abc import Callable
from functools import partial
from typing import Any

from graphattn.graphs.algebra import ComplementGraph, IntersectionGraph, UnionGraph, complement, intersection, union
from graphattn.graphs.banded import BandedGraph
from graphattn.graphs.batched import BatchedGraph
from graphattn.graphs.complete import CompleteGraph
from graphattn.graphs.global_ import GlobalGraph
from graphattn.graphs.graph import Graph
from graphattn.graphs.grid import GridGraph
from graphattn.graphs.prefix import PrefixGraph
from graphattn.graphs.rule_graph import RuleGraph
from graphattn.graphs.starts import AT_ZERO

Rule = tuple[Any, ...]  # the name of a kind, and its arguments: numbers, None, a function, or the rules of its members

CAUSAL: Rule = ("band", None, 0, 1, 0)
ANY_PREFIX: Rule = ("prefix", None)  # another one in each example


def rule_of(graph: Graph) -> Rule | None:
    """The rule of a graph over nodes of one set; None where it says nothing of other lengths, as given edges do.

    A window that reaches the first (or last) node of the longest example is taken for one without an end.

    >>> from graphattn.graphs import causal
    >>> rule_of(BandedGraph([9, 7], 3, 0)), rule_of(causal([9, 7]))
    (('band', 3, 0, 1, 0), ('band', None, 0, 1, 0))
    """
    return graph.remember("rule", partial(find_rule, graph))


def find_rule(graph: Graph) -> Rule | None:
    if any(queries != keys for queries, keys in graph.sizes) or any(start != AT_ZERO for start in graph.starts):
        return None
    graph = graph.normal_form() if isinstance(graph, GridGraph) else graph  # along one axis it is a band
    if isinstance(graph, CompleteGraph):
        return ("complete",)
    if isinstance(graph, BandedGraph):
        return rule_of_band(graph)
    if isinstance(graph, PrefixGraph):
        length = max(graph.prefix)
        is_one = graph == PrefixGraph([size for size, _ in graph.sizes], length)
        return ("prefix", length) if is_one else ANY_PREFIX
    if isinstance(graph, RuleGraph):
        return ("function", graph.rule)
    if isinstance(graph, GlobalGraph):
        return rule_of_global(graph)
    if isinstance(graph, (UnionGraph, IntersectionGraph)):
        members = [rule_of(member) for member in graph.graphs]
        name = "union" if isinstance(graph, UnionGraph) else "intersection"
        return None if None in members else (name, *members)
    if isinstance(graph, ComplementGraph):
        member = rule_of(graph.graph)
        return None if member is None else ("complement", member)
    if isinstance(graph, BatchedGraph):
        rule = rule_of(max(graph.examples(), key=lambda example: example.num_queries))
        candidates = [] if rule is None else [rule, of_any_prefix(rule)]
        return next((candidate for candidate in candidates if follows(graph, candidate)), None)
    return None


def rule_of_band(graph: BandedGraph) -> Rule | None:
    if len(set(graph.offsets)) > 1 or not graph.num_edges:
        return None
    furthest, offset, dilation = max(size for size, _ in graph.sizes) - 1, graph.offsets[0], graph.dilation
    before = None if offset - dilation * (graph.before + 1) < -furthest else graph.before
    after = None if offset + dilation * (graph.after + 1) > furthest else graph.after
    return ("band", before, after, dilation, offset)


def rule_of_global(graph: GlobalGraph) -> Rule | None:
    examples = [example for example in graph.examples() if isinstance(example, GlobalGraph)]  # all are
    nodes = max(examples, key=lambda example: example.num_queries).nodes
    is_one = all(example.nodes == tuple(n for n in nodes if n < example.num_queries) for example in examples)
    return ("global", *nodes) if is_one else None


def graph_of_rule(rule: Rule, counts: list[int], prefixes: list[int]) -> Graph:
    """The graph of a rule over examples of so many nodes; `prefixes` are theirs, where the rule knows no number.

    >>> graph_of_rule(rule_of(BandedGraph([9, 7], 3, 0)), [50], prefixes=[4])
    BandedGraph(50, before=3, after=0)
    """
    name, *arguments = rule
    if name == "complete":
        return CompleteGraph(counts)
    if name == "band":
        before, after, dilation, offset = arguments
        return BandedGraph(counts, before, after, dilation, offset=offset)
    if name == "prefix":
        length = arguments[0]
        return PrefixGraph(counts, prefixes if length is None else [min(length, prefix) for prefix in prefixes])
    if name == "function":
        return RuleGraph(counts, rule=arguments[0])
    if name == "global":
        firsts = [sum(counts[:number]) for number in range(len(counts))]
        return GlobalGraph(counts, [first + n for first, count in zip(firsts, counts) for n in arguments if n < count])
    joins: dict[str, Callable[..., Graph]] = {"union": union, "intersection": intersection, "complement": complement}
    return joins[name](*(graph_of_rule(member, counts, prefixes) for member in arguments))


def of_any_prefix(rule: Rule) -> Rule:
    """The rule with another prefix in each example wherever it knows a number.

    >>> of_any_prefix(("intersection", ("prefix", 3), ("band", 4, 4, 1, 0)))
    ('intersection', ('prefix', None), ('band', 4, 4, 1, 0))
    """
    if rule[0] == "prefix":
        return ANY_PREFIX
    return tuple(of_any_prefix(part) if isinstance(part, tuple) else part for part in rule)


def stated_prefixes(graph: Graph) -> tuple[int, ...] | None:
    """The prefixes of the examples, as the first `PrefixGraph` in a graph states them; None if there is none."""
    if isinstance(graph, PrefixGraph):
        return graph.prefix
    if isinstance(graph, BatchedGraph):
        examples = graph.examples()
        members = [member for member in map(stated_prefixes, examples) if member is not None]
        return tuple(length for member in members for length in member) if len(members) == len(examples) else None
    parts: tuple[Graph, ...] = (graph.graph,) if isinstance(graph, ComplementGraph) else ()
    parts = graph.graphs if isinstance(graph, (UnionGraph, IntersectionGraph)) else parts
    return next((prefixes for prefixes in map(stated_prefixes, parts) if prefixes is not None), None)


def follows(graph: Graph, rule: Rule) -> bool:
    """Whether the rule makes this graph."""
    return graph.remember(("follows", rule), partial(find_follows, graph, rule))


def find_follows(graph: Graph, rule: Rule) -> bool:
    if rule == ANY_PREFIX:
        return isinstance(graph, PrefixGraph)
    counts = [size for size, _ in graph.sizes]
    prefixes = stated_prefixes(graph) if of_any_prefix(rule) == rule else None
    made = graph_of_rule(rule, counts, counts if prefixes is None else list(prefixes))
    if isinstance(graph, BatchedGraph):
        return all(one.normal_form() == other.normal_form() for one, other in zip(made.examples(), graph.examples()))
    return made.normal_form() == graph.normal_form()
