"""Attention over a bool mask in plain torch operations, for programs that torch.export takes elsewhere."""

import torch
from torch import Tensor

from graphattn.formulas.normalizers import NAMED, EdgeNormalizer
from graphattn.formulas.scores import Dot
from graphattn.graphs.exported import is_exporting
from graphattn.graphs.traced import TracedGraph
from graphattn.kernels.kernel import Inputs, Plan, accumulation_dtype, spread_to_heads


def mask_to_run(plan: Plan, inputs: Inputs) -> Tensor | None:
    """The mask [num_queries, num_keys] of an exported program whose result needs num_queries * num_keys * heads numbers; None
    where something is given for each edge, so that its edges must be listed."""
    graph, normalizer = plan.graph, plan.normalizer
    if not is_exporting() or not isinstance(graph, TracedGraph) or graph.tensor.dtype != torch.bool:
        return None
    is_per_edge = inputs.bias is not None or inputs.edge_features is not None or plan.dropout > 0
    is_known = type(plan.score) is Dot and type(normalizer) in NAMED and isinstance(normalizer, EdgeNormalizer)
    return graph.tensor if is_known and not is_per_edge else None


def attend_by_mask(plan: Plan, inputs: Inputs, mask: Tensor) -> Tensor:
    """[num_queries, heads, value_dim] in the accumulation dtype; what the mask hides does not show, whatever it holds."""
    dtype, heads = accumulation_dtype(inputs.query.dtype), inputs.query.size(1)
    query = inputs.query.to(dtype).transpose(0, 1)
    key, value = (spread_to_heads(x.to(dtype), heads).transpose(0, 1) for x in (inputs.key, inputs.value))
    scores = (plan.scale * (query @ key.mT)).masked_fill(~mask, -torch.inf)  # [heads, num_queries, num_keys]
    log_total = scores.new_zeros(scores.shape[:2])
    if plan.normalizer.merge == "lse":
        scores, log_total = from_top(scores, plan.normalizer.sink)
    weights = plan.normalizer.weights(scores, log_total[..., None])
    # 0 times NaN is NaN: values that are not finite are taken out, and make NaN of the queries that see them.
    is_finite = value.isfinite()
    sees_others = mask.to(dtype) @ (~is_finite).to(dtype) > 0
    out = weights @ value.masked_fill(~is_finite, 0.0)
    return out.masked_fill(sees_others, torch.nan).transpose(0, 1)


def from_top(scores: Tensor, sink: Tensor | float | None) -> tuple[Tensor, Tensor]:
    """Scores [heads, num_queries, num_keys] less the largest of their row, and the log-sum-exp [heads, num_queries] of these."""
    top = scores.detach().amax(-1)
    if sink is not None:
        sink = torch.as_tensor(sink, dtype=scores.dtype, device=scores.device).expand(scores.size(0))[:, None]
        top = torch.maximum(top, sink.detach())
    top = top.masked_fill(top == -torch.inf, 0.0)
    scores = scores - top[..., None]
    total = scores.exp().sum(-1)
    total = total if sink is None else total + (sink - top).exp()
    is_empty = total == 0
    # The logarithm of an empty row is kept off the tape: its derivative is infinite.
    return scores, total.masked_fill(is_empty, 1.0).log().masked_fill(is_empty, -torch.inf)
