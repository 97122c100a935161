"""Dense masked attention: the definition written out, for tests and tiny graphs."""

import torch
from torch import Tensor

from graphattn.formulas.dropout import keep_factors
from graphattn.formulas.segments import Segments
from graphattn.graphs import Graph
from graphattn.kernels.facts import PER_EDGE
from graphattn.kernels.kernel import Inputs, Kernel, Partial, Plan, accumulation_dtype, delta_of, spread_to_heads
from graphattn.kernels.plain.edges_torch import edge_scores, plan_with, repeat_numbers


def dense_places(graph: Graph, device: torch.device) -> Tensor:
    """[num_queries, repeats, num_keys]: the place of each edge in `graph.edge_index()`, -1 where there is none."""
    key, query = graph.edge_index(device)
    order = torch.argsort(query * graph.num_keys + key, stable=True)
    repeat = torch.empty_like(query)
    repeat[order] = repeat_numbers(query[order], key[order])
    repeats = int(repeat.max()) + 1 if repeat.numel() else 1
    places = query.new_full((graph.num_queries, repeats, graph.num_keys), -1)
    places[query, repeat, key] = torch.arange(query.numel(), device=device)
    return places


def dense_scores(plan: Plan, inputs: Inputs, places: Tensor) -> Tensor:
    """[num_queries, repeats, num_keys, heads], -inf where there is no edge."""
    dtype, heads = accumulation_dtype(inputs.query.dtype), inputs.query.size(1)
    at = places.clamp(min=0)

    def of_edges(tensor):
        if tensor is None:
            return None
        return tensor.to(dtype)[at] if tensor.size(0) else tensor.new_zeros(*at.shape, *tensor.shape[1:], dtype=dtype)

    edge_query, is_edge = inputs.edge_query, (places >= 0)[..., None, None]
    # A key that a query does not see counts as 0: the derivative of its score, times NaN, would be NaN.
    key = torch.where(is_edge, spread_to_heads(inputs.key.to(dtype), heads), 0.0)
    scores = edge_scores(
        plan_with(plan, list(inputs.parameters)),
        inputs.query.to(dtype)[:, None, None],
        key,
        of_edges(inputs.bias),
        None if inputs.edge_features is None else dense_features(inputs.edge_features, places, dtype),
        None if edge_query is None else edge_query.to(dtype)[:, None, None],
    )
    return scores.expand(*places.shape, heads).masked_fill((places < 0)[..., None], -torch.inf)


def dense_weights(plan: Plan, scores: Tensor, lse: Tensor, places: Tensor) -> Tensor:
    """[num_queries, repeats, num_keys, heads], 0 where there is no edge."""
    if plan.normalizer.merge is None:
        num_queries = places.size(0)
        row = torch.arange(num_queries, device=places.device).repeat_interleave(places.size(1) * places.size(2))
        weights = plan.normalizer.row_weights(scores.flatten(0, 2), Segments(row, num_queries)).view_as(scores)
    else:
        weights = plan.normalizer.weights(scores, lse[:, None, None])
    return weights.masked_fill((places < 0)[..., None], 0.0)


def dense_dropout(plan: Plan, places: Tensor, heads: int, dtype: torch.dtype) -> Tensor | float:
    if not plan.dropout:
        return 1.0
    assert plan.seed is not None
    query, repeat, key = torch.meshgrid(*(torch.arange(n, device=places.device) for n in places.shape), indexing="ij")
    return keep_factors(plan.seed, *plan.numbered(query, key), repeat, heads, plan.dropout, dtype, plan.first_head)


def dense_features(features: Tensor, places: Tensor, dtype: torch.dtype) -> Tensor:
    features = features.to(dtype)
    if not features.size(0):
        return features.new_zeros(*places.shape, *features.shape[1:])
    is_hidden = (places < 0).view(*places.shape, *[1] * (features.dim() - 1))
    return features[places.clamp(min=0)].masked_fill(is_hidden, 0.0)


class Reference(Kernel):
    """Everything as one [num_queries, num_keys] matrix per head; its derivative is autograd's."""

    name = "reference"
    graphs = (Graph,)
    score_names = normalizer_names = None
    per_edge = PER_EDGE
    takes_dropout = takes_numbers = takes_grouped_heads = takes_other_value_dim = True

    def forward(self, plan, inputs):
        places = dense_places(plan.graph, inputs.query.device)
        scores = dense_scores(plan, inputs, places)
        lse = (
            scores.flatten(1, 2).logsumexp(1) if places.numel() else scores.new_full(inputs.query.shape[:2], -torch.inf)
        )
        # Beside a large score, the logarithm of a sum is rounded away.
        if plan.normalizer.merge == "lse" and places.numel():
            top = scores.flatten(1, 2).amax(1)
            top = top.masked_fill(top == -torch.inf, 0.0)
            shifted = scores - top[:, None, None]
            sums = self.weighted_sums(plan, inputs, places, shifted, shifted.flatten(1, 2).logsumexp(1))
            return sums._replace(lse=lse)
        return self.weighted_sums(plan, inputs, places, scores, lse)

    @staticmethod
    def weighted_sums(plan, inputs, places, scores, lse) -> Partial:
        is_edge = (places >= 0)[..., None]
        weights = dense_weights(plan, scores, lse, places)
        weights = weights * dense_dropout(plan, places, scores.size(-1), scores.dtype)
        # A product with weight 0 would carry the NaN of a key that a query does not see: such keys count as 0 instead.
        value = spread_to_heads(inputs.value.to(scores.dtype), scores.size(-1))
        seen = torch.where(is_edge[..., None], value, 0.0)  # [num_queries, repeats, num_keys, heads, value_dim]
        out = torch.einsum("qrkh,qrkhc->qhc", weights, seen)
        if inputs.edge_features is None:
            return Partial(out, lse)
        features = dense_features(inputs.edge_features, places, scores.dtype)
        axes = "qrkhd" if inputs.edge_features.dim() == 3 else "qrkd"
        edge_out = torch.einsum(f"qrkh,{axes}->qhd", weights, features)
        return Partial(out, lse, edge_out)

    def backward(self, plan, inputs, merged, grad):
        """By the contract, weights follow from the merged lse; a constant `lse` and delta make that autograd's job."""
        places = dense_places(plan.graph, inputs.query.device)
        leaves = Inputs(
            *(None if x is None else x.detach().requires_grad_() for x in inputs[:6]),
            tuple(x.detach().requires_grad_() for x in inputs.parameters),
        )
        with torch.enable_grad():
            scores = dense_scores(plan, leaves, places)
            part = self.weighted_sums(plan, leaves, places, scores, merged.lse)
            total = (part.out * grad.out).sum()
            if part.edge_out is not None:
                total = total + (part.edge_out * grad.edge_out).sum()
            if plan.normalizer.merge == "lse":
                # d lse / d score = weight, and lse enters every weight of the row with factor -1: minus delta * weight.
                weights = dense_weights(plan, scores, merged.lse, places)
                total = total - (weights * delta_of(merged, grad)[:, None, None]).sum()
        flat = [x for x in (*leaves[:6], *leaves.parameters) if x is not None]
        found = iter(torch.autograd.grad(total, flat, allow_unused=True, materialize_grads=True))
        grads = [None if x is None else next(found) for x in leaves[:6]]
        return Inputs(*grads, tuple(found))
