"""Attention over any edges by torch operations, a chunk of edges at a time: O(E * heads) memory, never E * heads * dim."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from graphattn.formulas.dropout import keep_factors
from graphattn.formulas.normalizers import Normalizer
from graphattn.formulas.segments import Segments
from graphattn.graphs import Graph
from graphattn.graphs.csr import rows_of
from graphattn.kernels.facts import PER_EDGE
from graphattn.kernels.kernel import (
    Inputs,
    Kernel,
    Partial,
    Plan,
    accumulation_dtype,
    by_head,
    delta_of,
    spread_to_heads,
    sum_to_groups,
)

CHUNK_ELEMENTS = 2**20  # of [edges, heads, dim]: a few such tensors stay in the cache of one core


class Edges(NamedTuple):
    """Some edges, sorted by query."""

    row: Tensor  # query of each edge
    col: Tensor  # key of each edge
    edge_id: Tensor | slice  # place in graph.edge_index()
    repeat: Tensor | None = None  # number among equal edges; None where dropout does not ask

    def chunk(self, part: slice) -> "Edges":
        edge_id = self.edge_id[part] if isinstance(self.edge_id, Tensor) else part
        return Edges(self.row[part], self.col[part], edge_id, None if self.repeat is None else self.repeat[part])


def sorted_edges(graph: Graph, device: torch.device, with_repeat: bool) -> Edges:
    csr = graph.by_query(device)
    row = rows_of(csr.rowptr)
    edge_id = slice(None) if csr.edge_id is None else csr.edge_id
    return Edges(row, csr.col.long(), edge_id, repeat_numbers(row, csr.col) if with_repeat else None)


def repeat_numbers(row: Tensor, col: Tensor) -> Tensor:
    """How many equal edges stand before each edge; equal edges are neighbours."""
    place = torch.arange(row.numel(), device=row.device)
    is_first = torch.ones_like(row, dtype=torch.bool)
    is_first[1:] = (row[1:] != row[:-1]) | (col[1:] != col[:-1])
    return place - torch.where(is_first, place, 0).cummax(0).values if row.numel() else place


def chunks(graph: Graph, edges: Edges, inputs: Inputs) -> Iterator[tuple[slice, Edges]]:
    """Cut edges where a query ends, so that a result never depends on the rows beside it; only heavy rows are split."""
    heads, dim = inputs.query.shape[1:]
    limit = max(CHUNK_ELEMENTS // max(heads * max(dim, inputs.value.size(2)), 1), 1)
    ends = graph.by_query(edges.row.device).rowptr
    start, num_edges = 0, edges.row.numel()
    while start < num_edges:
        row_end = int(ends[torch.searchsorted(ends, start + limit, right=True) - 1])
        end = row_end if row_end > start else min(start + limit, int(ends[int(edges.row[start]) + 1]))
        yield slice(start, end), edges.chunk(slice(start, end))
        start = end


def edge_scores(plan: Plan, query: Tensor, key: Tensor, bias, edge_features, edge_query) -> Tensor:
    """scale * (score + edge_query . edge_features) + bias of gathered [..., heads, dim] tensors: [..., heads].

    `edge_features` are [..., edge_dim] or [..., heads, edge_dim].
    """
    scores = plan.score.between(query, key, edge_features)
    if edge_query is not None:
        features = edge_features if edge_features.dim() == edge_query.dim() else edge_features[..., None, :]
        scores = scores + (edge_query * features).sum(-1)
    scores = scores * plan.scale
    return scores if bias is None else scores + bias


class Gathered(NamedTuple):
    """What the score of a chunk of edges is made of, in the accumulation dtype."""

    query: Tensor
    key: Tensor
    bias: Tensor | None
    edge_features: Tensor | None
    edge_query: Tensor | None

    def as_leaves(self) -> "Gathered":
        """The same numbers, to be differentiated by."""

        def leaf(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.detach().requires_grad_()

        nodes = self.query.detach().requires_grad_(), self.key.detach().requires_grad_()
        return Gathered(*nodes, leaf(self.bias), leaf(self.edge_features), leaf(self.edge_query))


def gather(inputs: Inputs, edges: Edges) -> Gathered:
    dtype, heads = accumulation_dtype(inputs.query.dtype), inputs.query.size(1)

    def at(tensor, index):
        return None if tensor is None else tensor[index].to(dtype)

    return Gathered(
        at(inputs.query, edges.row),
        spread_to_heads(at(inputs.key, edges.col), heads),
        at(inputs.bias, edges.edge_id),
        at(inputs.edge_features, edges.edge_id),
        at(inputs.edge_query, edges.row),
    )


def gather_values(inputs: Inputs, edges: Edges) -> Tensor:
    """[edges, heads, value_dim] in the accumulation dtype."""
    return spread_to_heads(inputs.value[edges.col].to(accumulation_dtype(inputs.value.dtype)), inputs.query.size(1))


class LogSumExp(NamedTuple):
    """Of the scores of each row [num_rows, heads], in two numbers: beside a large one, the logarithm of a sum is rounded away."""

    top: Tensor  # the largest, 0 for rows without a finite score
    log_total: Tensor  # of the exponentials of what is left, -inf for such rows

    @property
    def value(self) -> Tensor:
        return self.top + self.log_total


def log_sum_exp(scores: Tensor, row: Tensor, num_rows: int, sink: Tensor | float | None = None) -> LogSumExp:
    """Per row of [num_edges, heads], with one more score [heads] or a number if there is a sink; differentiable."""
    index = row[:, None].expand_as(scores)
    top = scores.new_full((num_rows, scores.size(1)), -torch.inf).scatter_reduce_(0, index, scores.detach(), "amax")
    if sink is not None:
        sink = torch.as_tensor(sink, dtype=scores.dtype, device=scores.device).expand_as(top)
        top = torch.maximum(top, sink.detach())
    top = top.masked_fill(top == -torch.inf, 0.0)
    total = torch.zeros_like(top).index_add(0, row, (scores - top[row]).exp())
    total = total if sink is None else total + (sink - top).exp()
    is_empty = total == 0
    # The logarithm of an empty row is kept off the tape: its derivative is infinite.
    return LogSumExp(top, total.masked_fill(is_empty, 1.0).log().masked_fill(is_empty, -torch.inf))


def dropout_factors(plan: Plan, edges: Edges, heads: int, like: Tensor) -> Tensor | float:
    if not plan.dropout:
        return 1.0
    assert plan.seed is not None and edges.repeat is not None
    nodes = plan.numbered(edges.row, edges.col)
    return keep_factors(plan.seed, *nodes, edges.repeat, heads, plan.dropout, like.dtype, plan.first_head)


def all_scores(plan: Plan, inputs: Inputs, edges: Edges) -> Tensor:
    """[num_edges, heads] in the order of `edges`, chunk by chunk; not differentiable."""
    query = inputs.query
    scores = query.new_empty(edges.row.numel(), query.size(1), dtype=accumulation_dtype(query.dtype))
    for part, chunk in chunks(plan.graph, edges, inputs):
        scores[part] = edge_scores(plan, *gather(inputs, chunk))
    return scores


def weights_of(normalizer: Normalizer, scores: Tensor, row: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
    """(weights [num_edges, heads] before dropout, lse [num_rows, heads], 0 but for softmax) of whole rows, differentiable.

    `scores` [num_edges, heads] of the queries `row` [num_edges] in any order are all there are: a sink is counted in.
    """
    lse = scores.new_zeros(num_rows, scores.size(1))
    if normalizer.merge is None:
        return normalizer.row_weights(scores, Segments(row, num_rows)), lse
    if normalizer.merge == "lse":
        found = log_sum_exp(scores, row, num_rows, normalizer.sink)
        return normalizer.weights(scores - found.top[row], found.log_total[row]), found.value
    return normalizer.weights(scores, lse[row]), lse


def weights_by_degree(normalizer: Normalizer, scores: Tensor, row: Tensor, num_rows: int) -> Tensor:
    """The weights of `weights_of`, divided by the number of edges of their row if the normalizer scales by degree; rows of
    half precision are summed in float32."""
    weights, _ = weights_of(normalizer, scores.to(accumulation_dtype(scores.dtype)), row, num_rows)
    if normalizer.scale_by_degree:
        degree = weights.new_zeros(num_rows).index_add_(0, row, weights.new_ones(len(row)))
        weights = weights / degree[row, None]
    return weights.to(scores.dtype)


class EdgesTorch(Kernel):
    """The fallback that runs everywhere: every graph, score, normalizer and option."""

    name, family = "edges_torch", "edges"
    graphs = (Graph,)
    score_names = normalizer_names = None
    per_edge = PER_EDGE
    takes_dropout = takes_numbers = takes_grouped_heads = takes_other_value_dim = True
    numbers_kept = 4  # scores, weights, and gradients of both

    def forward(self, plan, inputs):
        query, value = inputs.query, inputs.value
        num_queries, heads = query.shape[:2]
        dtype = accumulation_dtype(query.dtype)
        edges = sorted_edges(plan.graph, query.device, plan.dropout > 0)
        scores = all_scores(plan, inputs, edges)
        normalizer, is_by_row = plan.normalizer, plan.normalizer.merge is None
        lse = log_total = scores.new_zeros(num_queries, heads)
        if is_by_row:
            row_weights = normalizer.row_weights(scores, Segments(edges.row, num_queries))
        elif normalizer.merge == "lse":
            top, log_total = lse = log_sum_exp(scores, edges.row, num_queries)
            scores, lse = scores - top[edges.row], lse.value
        out = query.new_zeros(num_queries, heads, value.size(2), dtype=dtype)
        features = inputs.edge_features
        edge_out = None if features is None else query.new_zeros(num_queries, heads, features.size(-1), dtype=dtype)
        for part, chunk in chunks(plan.graph, edges, inputs):
            weights = row_weights[part] if is_by_row else normalizer.weights(scores[part], log_total[chunk.row])
            weights = (weights * dropout_factors(plan, chunk, heads, weights))[..., None]
            out.index_add_(0, chunk.row, weights * gather_values(inputs, chunk))
            if edge_out is not None:
                edge_out.index_add_(0, chunk.row, weights * by_head(features[chunk.edge_id].to(dtype)))
        return Partial(out, lse, edge_out)

    def backward(self, plan, inputs, merged, grad):
        edges = sorted_edges(plan.graph, inputs.query.device, plan.dropout > 0)
        grads, delta = zeros_like(inputs), delta_of(merged, grad)
        grad = grad.each(lambda x: x.to(grads.query.dtype))
        by_row = row_gradients(plan, inputs, grad, edges) if plan.normalizer.merge is None else None
        for part, chunk in chunks(plan.graph, edges, inputs):
            given = None if by_row is None else [x[part] for x in by_row]
            add_chunk_gradients(plan, inputs, merged, grad, delta, chunk, grads, given)
        return grads


def zeros_like(inputs: Inputs) -> Inputs:
    dtype = accumulation_dtype(inputs.query.dtype)
    return inputs.each(lambda x: torch.zeros_like(x, dtype=dtype))


def gradient_of_weights(inputs: Inputs, grad: Partial, edges: Edges) -> Tensor:
    """How much the result would gain from the weight of each edge: [num_edges, heads]."""
    by_weight = (grad.out[edges.row] * gather_values(inputs, edges)).sum(-1)
    if inputs.edge_features is not None and grad.edge_out is not None:
        features = inputs.edge_features[edges.edge_id].to(by_weight.dtype)
        by_weight = by_weight + (grad.edge_out[edges.row] * by_head(features)).sum(-1)
    return by_weight


def row_gradients(plan: Plan, inputs: Inputs, grad: Partial, edges: Edges) -> tuple[Tensor, Tensor]:
    """(weights, gradient of the scores) of all edges, [num_edges, heads], for normalizers that need whole rows."""
    scores, rows = all_scores(plan, inputs, edges), Segments(edges.row, inputs.query.size(0))
    weights, grad_weights = plan.normalizer.row_weights(scores, rows), torch.empty_like(scores)
    for part, chunk in chunks(plan.graph, edges, inputs):
        factors = dropout_factors(plan, chunk, scores.size(1), scores)
        grad_weights[part] = gradient_of_weights(inputs, grad, chunk) * factors
    return weights, plan.normalizer.row_grad_scores(scores, weights, grad_weights, rows)


def add_chunk_gradients(plan, inputs, merged, grad, delta, edges: Edges, grads: Inputs, given=None) -> None:
    """Scores are recomputed; their derivative is autograd's, that of the weighted sum is written out.

    `given`, (weights, gradient of the scores) of these edges, is there if they do not follow edge by edge.
    """
    kv_heads, heads = inputs.key.size(1), inputs.query.size(1)
    parameters = [x.detach().to(grads.query.dtype).requires_grad_() for x in inputs.parameters]
    gathered = gather(inputs, edges).as_leaves()
    with torch.enable_grad():
        scores = edge_scores(plan_with(plan, parameters), *gathered)
    if given is None:
        weights = plan.normalizer.weights(scores.detach(), merged.lse[edges.row])
        factors = dropout_factors(plan, edges, heads, weights)
        grad_weights = gradient_of_weights(inputs, grad, edges) * factors
        grad_scores = plan.normalizer.grad_scores(weights, grad_weights, delta[edges.row])
    else:
        weights, grad_scores = given
        factors = dropout_factors(plan, edges, heads, weights)
    grad_scores = grad_scores.masked_fill(scores.detach() == -torch.inf, 0.0)  # no edge
    grads.value.index_add_(0, edges.col, sum_to_groups((weights * factors)[..., None] * grad.out[edges.row], kv_heads))
    if grads.edge_features is not None and grad.edge_out is not None:
        by_weight = (weights * factors)[..., None] * grad.edge_out[edges.row]
        by_weight = by_weight.sum(1) if grads.edge_features.dim() == 2 else by_weight
        grads.edge_features[edges.edge_id] += by_weight
    leaves = [x for x in (*gathered, *parameters) if x is not None]
    found = iter(torch.autograd.grad(scores, leaves, grad_scores, allow_unused=True))
    by_query, by_key, by_bias, by_features, by_edge_query = (None if x is None else next(found) for x in gathered)
    grads.query.index_add_(0, edges.row, zero_if_none(by_query, gathered.query))
    grads.key.index_add_(0, edges.col, sum_to_groups(zero_if_none(by_key, gathered.key), kv_heads))
    if by_bias is not None and grads.bias is not None:
        grads.bias[edges.edge_id] = by_bias
    if by_features is not None and grads.edge_features is not None:
        grads.edge_features[edges.edge_id] += by_features
    if by_edge_query is not None and grads.edge_query is not None:
        grads.edge_query.index_add_(0, edges.row, by_edge_query)
    for total, part in zip(grads.parameters, found, strict=True):
        total += zero_if_none(part, total)


def zero_if_none(gradient: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if gradient is None else gradient


def plan_with(plan: Plan, parameters: list[Tensor]) -> Plan:
    """The same plan with other tensors in its score."""
    return plan._replace(score=plan.score.replace(*parameters))
