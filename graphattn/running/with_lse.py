"""Results with the log-sum-exp of their scores, and the merge of such results over disjoint edges of the same queries."""

from collections.abc import Sequence

import torch
from torch import Tensor

from graphattn.formulas.normalizers import Normalizer
from graphattn.kernels.kernel import Inputs, Partial, Plan
from graphattn.running.execution import run_shown


def check_has_lse(normalizer: Normalizer) -> None:
    """ValueError unless the sum of the exponentials of its scores is what a row is divided by."""
    if normalizer.merge == "lse":
        return
    advice = (
        "its results over disjoint edges add up: sum them"
        if normalizer.merge == "sum"
        else "its weights depend on all edges of a row together, so that results over some of them do not merge"
    )
    raise ValueError(f"'return_lse' needs the softmax (got normalizer {normalizer.name!r}); {advice}")


def run_with_lse(plan: Plan, inputs: Inputs, kernel: str | None) -> Partial:
    """`execution.run` with the log-sum-exp [num_queries, heads], in the dtype of sums; all three differentiable."""
    check_has_lse(plan.normalizer)
    out, edge_out, lse = run_shown(plan, inputs, kernel, with_lse=True)
    dtype = inputs.query.dtype
    return Partial(out.to(dtype), lse, None if edge_out is None or not plan.has_edge_sum else edge_out.to(dtype))


def merge_attention(results: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """One softmax from several over disjoint edges of the same queries, as `attend(..., return_lse=True)` gives them.

    out = sum over results of exp(lse_r - lse) out_r with lse = log(sum of exp(lse_r)) (Milakov and Gimelshein 2018), whatever
    the graphs were: parts of a graph, chunks of its keys, shares of other machines. Differentiable; a query without edges in all
    results has out 0 and lse -inf. A sink counts as one more key of the result it was given to: give it to one of them.

    Args:
        results: Each (out [num_queries, heads, dim], lse [num_queries, heads]), or (out, edge_out, lse).

    Returns:
        The same of all edges together.

    Raises:
        ValueError: if there is none, or they differ in shape.

    Example:
        >>> import torch
        >>> from graphattn import attend, causal, merge_attention
        >>> q, k, v = torch.randn(3, 4, 2, 8).unbind()
        >>> whole = attend(q, k, v, causal(4))
        >>> parts = [attend(q, k, v, part, return_lse=True) for part in (causal(4) & ~causal(4).T, causal(4) & causal(4).T)]
        >>> torch.allclose(merge_attention(parts)[0], whole, atol=1e-6)
        True
    """
    results = [tuple(result) for result in results]
    shapes = [[list(x.shape) if isinstance(x, Tensor) else type(x).__name__ for x in result] for result in results]
    if not results or any(shape != shapes[0] for shape in shapes) or len(results[0]) not in (2, 3):
        raise ValueError(
            f"'results' are pairs (out, lse) or triples (out, edge_out, lse) of equal shapes (got {shapes})"
        )
    outs, lses = [result[:-1] for result in results], torch.stack([result[-1] for result in results])
    if any(out.shape[:-1] != lses.shape[1:] for out in outs[0]):
        raise ValueError(f"'lse' must be [num_queries, heads] beside out [num_queries, heads, dim] (got {shapes[0]})")
    top = lses.detach().amax(0)
    top = top.masked_fill(top == -torch.inf, 0.0)
    exponentials = (lses - top).exp()
    total = exponentials.sum(0)
    is_empty = total == 0
    total = total.masked_fill(is_empty, 1.0)
    lse = (top + total.log()).masked_fill(is_empty, -torch.inf)
    shares = (exponentials / total)[..., None]
    merged = [sum(share * out for share, out in zip(shares, found)).to(found[0].dtype) for found in zip(*outs)]
    return (*merged, lse)
