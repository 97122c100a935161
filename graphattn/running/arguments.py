"""The arguments of `attend`, checked once and brought into the form that kernels take."""

import math
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from graphattn.formulas.normalizers import Normalizer, as_normalizer
from graphattn.formulas.offsets import table_of
from graphattn.formulas.scores import Dot, Score, as_score, widened
from graphattn.graphs import Graph, as_graph
from graphattn.graphs.convert import GraphLike
from graphattn.graphs.local import LocalGraph
from graphattn.graphs.recording import refuse_recording
from graphattn.graphs.spread import SpreadGraph
from graphattn.kernels.budget import current_budget
from graphattn.kernels.kernel import Inputs, Nodes, Plan

BiasLike = Tensor | Callable[[Graph], Tensor] | None
ScoreLike = str | Score | Callable[[Tensor, Tensor], Tensor]
NormalizerLike = str | Normalizer | Callable[[Tensor], Tensor]


class Options(NamedTuple):
    """What `attend` is told beside tensors of nodes and a graph, and says the meaning of.

    Beside a `PerHead`, `bias` and `edge_features` may be sequences with one entry for each head. Fields are of any type until
    they are checked.
    """

    bias: Any = None  # BiasLike
    edge_features: Any = None  # Tensor
    edge_query: Any = None  # Tensor
    scale: Any = None  # float
    dropout: Any = 0.0
    score: Any = "dot"  # ScoreLike
    normalizer: Any = "softmax"  # NormalizerLike
    kernel: str | None = None
    edge_sum: bool = True  # whether the weighted sum of edge features is wanted
    draw: "Draw | None" = None  # where the caller of a process is told what all processes draw


class Draw(NamedTuple):
    """What dropout is drawn by where one call is shared by several processes."""

    seed: int
    first_head: int = 0  # of the heads of this process


DEFAULTS = Options()


class Problem(NamedTuple):
    plan: Plan
    inputs: Inputs
    batch: int | None = None


class Checked(NamedTuple):
    """What checking the arguments of a call came to, as far as it holds for all calls of the same facts."""

    graph: Graph | None  # in normal form; None: as it is given
    score: Score | None  # that a name stands for; None: as it is given
    normalizer: Normalizer
    scale: float  # where none is given
    memory: dict[Hashable, Any]  # of the plan


def prepare(query: Tensor, key: Tensor, value: Tensor, graph: GraphLike, options: Options = DEFAULTS) -> Problem:
    """Checked arguments in the form that kernels take; a leading batch dimension becomes more heads.

    What was found for the facts of a call, the graph remembers: nothing is checked nor chosen twice.
    """
    refuse_recording()
    if torch.compiler.is_compiling() or not isinstance(graph, Graph):
        return prepare_anew(query, key, value, graph, options)
    facts = facts_of_call(query, key, value, options)
    checked = None if facts is None else graph.known(facts)
    if checked is not None:
        return prepare_again(query, key, value, graph, options, checked)
    problem = prepare_anew(query, key, value, graph, options)
    if facts is None or not is_as_given(problem, query, key, value, options):
        return problem
    plan = problem.plan
    own_graph = None if plan.graph is graph else plan.graph
    score = plan.score if isinstance(options.score, str) else None
    scale = plan.score.default_scale(query.size(-1))
    checked = graph.remember(facts, lambda: Checked(own_graph, score, plan.normalizer, scale, {}))
    return problem._replace(plan=plan._replace(memory=checked.memory))


def is_as_given(problem: Problem, query: Tensor, key: Tensor, value: Tensor, options: Options) -> bool:
    """Whether kernels are given the caller's tensors and score, and nothing that was made of them."""
    plan, inputs, batch = problem
    given = (inputs.query, query), (inputs.key, key), (inputs.value, value), (inputs.edge_query, options.edge_query)
    is_score = isinstance(options.score, str) or plan.score is options.score
    return batch is None and is_score and inputs.bias_by_offset is None and all(own is x for own, x in given)


def facts_of_call(query: Tensor, key: Tensor, value: Tensor, options: Options) -> tuple | None:
    """All that checks and kernels look at beside the graph; None where it is more than can be said in short."""
    bias, edge_features, edge_query, scale, dropout, score, normalizer, _, edge_sum, _ = options
    if type(score) is not str:
        score = score.facts if isinstance(score, Score) else None
    if type(normalizer) is not str:
        normalizer = normalizer.facts if isinstance(normalizer, Normalizer) else None
    # The numbers themselves are no facts: they may change with every call.
    has_scale = scale is None or (type(scale) in (float, int) and 0 < scale < math.inf)
    has_rate = type(dropout) in (float, int) and 0 <= dropout <= 1
    if score is None or normalizer is None or not has_scale or not has_rate:
        return None
    try:
        return (
            "call", query.shape, key.shape, value.shape, query.dtype, key.dtype, value.dtype,
            query.device, key.device, value.device,
            None if bias is None else (bias.shape, bias.dtype, bias.device),
            None if edge_features is None else (edge_features.shape, edge_features.dtype, edge_features.device),
            None if edge_query is None else (edge_query.shape, edge_query.dtype, edge_query.device),
            scale is None, dropout > 0, score, normalizer, edge_sum,
        )  # fmt: skip
    except AttributeError:  # something is no tensor: a rule for the bias, or a mistake
        return None


def prepare_again(
    query: Tensor, key: Tensor, value: Tensor, graph: Graph, options: Options, checked: Checked
) -> Problem:
    """`prepare_anew` where its checks have passed before."""
    bias, edge_features, edge_query, scale, dropout, score, _, _, edge_sum, _ = options
    score = score if checked.score is None else checked.score
    plan = Plan(
        graph if checked.graph is None else checked.graph,
        score,
        checked.normalizer,
        checked.scale if scale is None else float(scale),
        float(dropout),
        new_seed(query.device, options.draw) if dropout else None,
        current_budget(),
        has_edge_sum=edge_sum,
        edge_query_is_query=edge_query is query,
        value_is_key=value is key,
        memory=checked.memory,
        nodes=nodes_of(graph, options.draw) if dropout else None,
    )
    bias = bias[:, None] if bias is not None and bias.dim() == 1 else bias
    return Problem(plan, Inputs(query, key, value, bias, edge_features, edge_query, score.parameters))


def prepare_anew(query: Tensor, key: Tensor, value: Tensor, graph: GraphLike, options: Options) -> Problem:
    """`prepare` with all checks."""
    bias, edge_features, edge_query, scale, dropout, score, normalizer, _, edge_sum, _ = options
    check_node_tensors(query, key, value)
    batch = query.size(0) if query.dim() == 4 else None
    num_queries, num_keys = query.size(-3), key.size(-3)
    given = as_graph(graph, num_queries, num_keys)
    graph = normal_form(given)
    table = table_of(bias, graph, given, query.size(-2), query.device)
    bias = bias_of(bias, given) if table is None else None
    check_graph(graph, query, num_queries, num_keys)
    score, normalizer = as_score(score), as_normalizer(normalizer)
    score.check(query.size(-2), query.size(-1), None if edge_features is None else edge_features.size(-1))
    normalizer.check(query.size(-2))
    bias, edge_features = check_edge_tensors(graph, query, bias, edge_features, edge_query)
    score.check_features(query.size(-2), query.size(-1), edge_features)
    dropout = check_dropout(dropout)
    scale = score.default_scale(query.size(-1)) if scale is None else check_scale(scale)
    if score.wants_width:
        query, key, value = (widened(x) for x in (query, key, value))  # results are rounded at the door
    query, key, score = score.reduce(query, key)
    query, edge_query, scale = with_positive_scale(score, query, edge_query, scale)
    inputs = Inputs(query, key, value, bias, edge_features, edge_query, score.parameters, table)
    if batch is not None:
        score, normalizer = score.for_batch(batch), normalizer.of_sink(lambda sink: sink.repeat(batch))
        inputs = fold(inputs)._replace(parameters=score.parameters)
    seed = new_seed(query.device, options.draw) if dropout else None
    nodes = nodes_of(given, options.draw) if dropout else None
    budget = None if torch.compiler.is_compiling() else current_budget()
    plan = Plan(
        graph, score, normalizer, scale, dropout, seed, budget, has_edge_sum=edge_sum,
        edge_query_is_query=inputs.edge_query is inputs.query, value_is_key=inputs.value is inputs.key,
        nodes=nodes,
    )  # fmt: skip
    return Problem(plan, inputs, batch)


def nodes_of(graph: Graph, draw: Draw | None = None) -> Nodes | None:
    """What dropout numbers nodes and heads by, None for the numbers of the graph itself."""
    first_head = 0 if draw is None else draw.first_head
    if isinstance(graph, LocalGraph):
        return Nodes(graph.query_numbers, graph.key_numbers, first_head)
    return Nodes(first_head=first_head) if first_head else None


def with_keys(query: Tensor, key: Tensor, graph: GraphLike) -> tuple[Tensor, GraphLike]:
    """The keys and the graph to score edges with: those of other processes are fetched."""
    if not isinstance(graph, SpreadGraph):
        return key, graph
    graph.agree("the scores of edges", [key], [query])
    return graph.fetch(key)[0], graph.local()


def new_seed(device: torch.device, draw: Draw | None = None) -> Tensor:
    """Of the dropout of one call."""
    if draw is not None:
        return torch.tensor(draw.seed, device=device)
    return torch.randint(2**32, (), device=device)


def bias_of(bias, graph: Graph) -> Tensor | None:
    """The bias of the edges of `graph`: a rule such as `ALiBi` is asked for it, a tensor is it."""
    return bias(graph) if callable(bias) and not isinstance(bias, Tensor) else bias


def with_positive_scale(
    score: Score, query: Tensor, edge_query: Tensor | None, scale: float
) -> tuple[Tensor, Tensor | None, float]:
    """The same products with a scale above 0: fused kernels hide keys by scores of -inf, and find the largest score unscaled."""
    if scale > 0 or score.name != Dot.name:
        return query, edge_query, scale
    sign = -1.0 if scale < 0 else 0.0
    return sign * query, None if edge_query is None else sign * edge_query, abs(scale) or 1.0


def normal_form(graph: Graph) -> Graph:
    """`graph.normal_form()`, always the same object, so that its CSR is built once."""

    def build() -> Graph | None:
        normal = graph.normal_form()
        return None if normal is graph else normal  # a graph that held itself would wait for the garbage collector

    return graph.remember("normal form", build) or graph


def fold(inputs: Inputs) -> Inputs:
    """[batch, nodes, heads, dim] -> [nodes, batch * heads, dim]: one graph, so a batch is more heads."""
    batch, features = inputs.query.size(0), inputs.edge_features

    def join(x: Tensor) -> Tensor:
        return x.transpose(0, 1).flatten(1, 2)

    def of_more_heads(bias: Tensor | None) -> Tensor | None:
        return bias.repeat(1, batch) if bias is not None and bias.size(1) > 1 else bias

    return Inputs(
        join(inputs.query),
        join(inputs.key),
        join(inputs.value),
        of_more_heads(inputs.bias),
        features if features is None or features.dim() == 2 else features.repeat(1, batch, 1),
        None if inputs.edge_query is None else join(inputs.edge_query),
        bias_by_offset=of_more_heads(inputs.bias_by_offset),
    )


def unfold(x: Tensor, batch: int) -> Tensor:
    return x.unflatten(1, (batch, -1)).transpose(0, 1)


def check_node_tensors(query: Tensor, key: Tensor, value: Tensor) -> None:
    tensors = {"query": query, "key": key, "value": value}
    for name, x in tensors.items():
        if not isinstance(x, Tensor):
            raise TypeError(f"'{name}' must be a torch.Tensor (got {type(x).__name__})")
        if x.dim() not in (3, 4) or x.dim() != query.dim():
            raise ValueError(
                f"'{name}' must be [num_nodes, heads, dim], or [batch, num_nodes, heads, dim] in all three"
                f" (got {list(x.shape)} beside query {list(query.shape)})"
            )
        if not x.is_floating_point() or x.dtype != query.dtype:
            raise TypeError(
                f"'query', 'key' and 'value' must share one floating dtype (got '{name}' {x.dtype} beside"
                f" query {query.dtype}); convert with .to(dtype)"
            )
        if x.device != query.device:
            raise ValueError(f"'{name}' is on {x.device}, 'query' on {query.device}; move them to one device")
    if key.shape[:-1] != value.shape[:-1]:
        raise ValueError(
            f"'key' and 'value' must share nodes and heads (got {list(key.shape)} and {list(value.shape)})"
        )
    if query.size(-1) != key.size(-1) or query.shape[:-3] != key.shape[:-3]:
        raise ValueError(f"'query' and 'key' must share batch and dim (got {list(query.shape)} and {list(key.shape)})")
    heads, kv_heads = query.size(-2), key.size(-2)
    if not heads or not kv_heads or heads % kv_heads:
        raise ValueError(f"heads of 'query' must be a multiple of heads of 'key' (got {heads} and {kv_heads})")


def check_no_batch(function: str, query) -> None:
    """`attend` alone takes a batch of queries under one graph."""
    if isinstance(query, Tensor) and query.dim() == 4:
        raise ValueError(f"'{function}' takes query [num_queries, heads, dim] (got {list(query.shape)})")


def check_graph(graph: Graph, query: Tensor, num_queries: int, num_keys: int) -> None:
    if graph.shape != (num_queries, num_keys):
        advice = (
            "pass the rows of this process, x[graph.rows] and key[graph.key_rows]"
            if isinstance(graph, SpreadGraph)
            else "nodes may have been dropped or added (Data.subgraph) after the graph was made: use graph.subgraph(nodes)"
        )
        raise ValueError(
            f"'graph' joins {graph.num_queries} queries to {graph.num_keys} keys (got {num_queries} queries and {num_keys}"
            f" keys); {advice}"
        )
    if graph.device is not None and graph.device != query.device:
        raise ValueError(
            f"'graph' is on {graph.device}, 'query' on {query.device}; move it with graph.to({query.device})"
        )


def check_edge_tensors(
    graph: Graph, query: Tensor, bias, edge_features, edge_query
) -> tuple[Tensor | None, Tensor | None]:
    """The bias as [num_edges, heads or 1] and the features, both floating and of the graph's edges."""
    heads = query.size(-2)
    for name, x in {"bias": bias, "edge_features": edge_features, "edge_query": edge_query}.items():
        if x is not None and not (isinstance(x, Tensor) and x.is_floating_point()):
            raise TypeError(f"'{name}' must be a floating tensor (got {getattr(x, 'dtype', type(x).__name__)})")
        if x is not None and x.device != query.device:
            raise ValueError(f"'{name}' is on {x.device}, 'query' on {query.device}; move them to one device")
    if bias is not None:
        bias = bias[:, None] if bias.dim() == 1 else bias
        if bias.dim() != 2 or not graph.may_have_edges(bias.size(0)) or (bias.size(1) != 1 and bias.size(1) != heads):
            raise ValueError(
                f"'bias' must be [num_edges] or [num_edges, heads] = [{graph.num_edges}, {heads}] in the order"
                f" of graph.edge_index() (got {list(bias.shape)})"
            )
    if edge_features is not None:
        is_of_heads = edge_features.dim() == 3 and edge_features.size(1) == heads
        if not (edge_features.dim() == 2 or is_of_heads) or not graph.may_have_edges(edge_features.size(0)):
            raise ValueError(
                f"'edge_features' must be [num_edges, edge_dim] or [num_edges, heads, edge_dim] with {graph.num_edges} edges"
                f" in the order of graph.edge_index() and {heads} heads (got {list(edge_features.shape)})"
            )
    if edge_query is not None:
        if edge_features is None:
            raise ValueError("'edge_query' needs 'edge_features' beside it (got None)")
        expected = (*query.shape[:-1], edge_features.size(-1))
        if edge_query.shape != expected:
            raise ValueError(f"'edge_query' must be {list(expected)} (got {list(edge_query.shape)})")
    return bias, edge_features


def check_places(places: Any, num_edges: int) -> Tensor:
    """Edges by their place: integers [num_chosen], or a bool for each edge."""
    if not isinstance(places, Tensor) or places.dim() != 1 or places.is_floating_point() or places.is_complex():
        got = f"{places.dtype} {list(places.shape)}" if isinstance(places, Tensor) else type(places).__name__
        raise ValueError(f"'edges' must be a tensor of integers [num_chosen], places in graph.edge_index() (got {got})")
    if places.dtype == torch.bool:
        if len(places) != num_edges:
            raise ValueError(f"'edges' as bools must be [num_edges] = [{num_edges}] (got {list(places.shape)})")
        return places
    # A GPU would have to be waited for.
    if places.device.type == "cpu" and len(places) and not torch.compiler.is_compiling():
        low, high = (int(x) for x in places.aminmax())
        if low < -num_edges or high >= num_edges:
            raise ValueError(
                f"'edges' must name places 0 ... {num_edges - 1} (got {low if low < -num_edges else high})"
            )
    return places.long()


def check_dropout(dropout: float, name: str = "dropout") -> float:
    if isinstance(dropout, bool) or not isinstance(dropout, (int, float, np.number)) or not 0 <= dropout <= 1:
        raise ValueError(f"'{name}' must be a probability in 0 .. 1 (got {dropout!r})")
    return float(dropout)


def check_scale(scale: float) -> float:
    if isinstance(scale, bool) or not isinstance(scale, (int, float, np.number)) or not math.isfinite(scale):
        raise ValueError(f"'scale' must be a finite number (got {scale!r})")
    return float(scale)
