"""Attention over any edges on CPU: loops in C over rows of equal work, in as many threads as torch has."""

import torch
from torch import Tensor

from graphattn.formulas.scores import Additive
from graphattn.graphs import Graph
from graphattn.kernels.facts import PER_EDGE
from graphattn.kernels.kernel import Gradients, Inputs, Kernel, Needed, Partial, edge_dim_last
from graphattn.kernels.native.arrays import empty, zeros
from graphattn.kernels.native.border import hand_over, let_read, readable
from graphattn.kernels.native.edges import (
    DOT,
    LEAKY,
    Call,
    as_loops_read,
    backward_calls,
    forward_call,
    let_read_inputs,
    with_vector,
)
from graphattn.kernels.native.library import why_not_native
from graphattn.kernels.native.rows import Rows


class EdgesCpu(Kernel):
    """Fused loops: each edge reads its key and value once; O(num_nodes * heads * dim + num_edges * heads) memory."""

    name, family = "edges_cpu", "edges"
    graphs, devices = (Graph,), ("cpu",)
    score_names, normalizer_names = ("dot", "additive"), ("softmax", "relu", "sigmoid")
    per_edge = PER_EDGE
    takes_dropout = takes_numbers = takes_grouped_heads = takes_other_value_dim = True
    numbers_kept = 2  # weight and gradient of the score

    def why_not_here(self, plan, inputs):
        features, score = inputs.edge_features, plan.score
        if (
            isinstance(score, Additive)
            and score.edge_weight is not None
            and features is not None
            and features.dim() == 3
        ):
            return (
                "'edges_cpu' maps features that all heads share by an edge_weight, [num_edges, edge_dim] (got"
                f" {list(features.shape)}); map those of each head before, and say so by adds_features=True"
            )
        return why_not_native()

    def forward(self, plan, inputs, total: Tensor | None = None):
        """Also adds the result to `total` [num_queries, heads * value_dim] where one is given, in the dtype of sums."""
        call = forward_call(plan, inputs)
        rows, sizes = call.rows, call.sizes
        shape = rows.num_rows, sizes.heads
        out, lse = empty((*shape, sizes.value_dim), call.dtype_of("out")), empty(shape, call.real)
        has_edge_out = inputs.edge_features is not None and plan.has_edge_sum
        edge_out = empty((*shape, sizes.edge_dim), call.real) if has_edge_out else None
        struct = call.struct(plan)
        let_read_inputs(call, struct, inputs)
        is_whole = rows.row_of is None
        hand_over(struct, call.real, out=out, lse=lse, edge_out=edge_out, total=total if is_whole else None)
        call.run("edges_forward", struct)
        result = Partial(out, lse, edge_out)
        if is_whole:
            return result
        result = self.join_pieces(plan, result, rows, inputs.query.size(0))
        if total is not None:
            total.add_(result.out.flatten(1))
        return result

    @staticmethod
    def join_pieces(plan, pieces: Partial, rows: Rows, num_queries: int) -> Partial:
        """Results of the pieces of heavy rows, merged into one result for each query."""

        def add_up(x: Tensor) -> Tensor:
            return rows.add_up(x, num_queries)

        row_of = rows.row_of
        if plan.normalizer.merge == "sum" or row_of is None:
            return pieces.each(add_up)
        index = row_of[:, None].expand_as(pieces.lse)
        top = pieces.lse.new_full((num_queries, pieces.lse.size(1)), -torch.inf)
        top = top.scatter_reduce_(0, index, pieces.lse, "amax")
        share = (pieces.lse - top.masked_fill(top == -torch.inf, 0.0)[row_of]).exp()
        total = add_up(share)
        share = share / total.masked_fill(total == 0, 1.0)[row_of]
        edge_out = None if pieces.edge_out is None else add_up(share[..., None] * pieces.edge_out)
        lse = total.log() + top.masked_fill(top == -torch.inf, 0.0)
        return Partial(add_up(share[..., None] * pieces.out), lse, edge_out)

    def backward(self, plan, inputs, merged, grad):
        call, over_keys = backward_calls(plan, inputs, grad.out)
        real, rows, in_one_pass = call.real, call.rows, over_keys is None
        columns = None if over_keys is None else over_keys.rows
        # A tensor that is given twice has one gradient, to which loops add both; one of halves is rounded where it is written.
        adds_to_query = plan.edge_query_is_query and inputs.query.dtype is real
        adds_to_key = plan.value_is_key and inputs.key.dtype is real and not in_one_pass
        asked = gradients_asked(plan, inputs, adds_to_query, adds_to_key)
        grads = empty_gradients(asked, inputs, rows, columns, call, (over_keys or call).dtype_of("grad_key"))
        struct = call.struct(plan)
        let_read_inputs(call, struct, inputs)
        grad_out = readable(grad.out, call.dtype_of("grad_out"))
        handed, signs = (None, None) if in_one_pass else handed_on(call, inputs, grads)
        vector, edge_weight = (*with_vector(call, grads.parameters), None, None)[:2]
        grad_edge_out = grad.edge_out
        if grad_edge_out is None and merged.edge_out is not None:
            grad_edge_out = torch.zeros_like(merged.edge_out)
        let_read(struct, real, lse=merged.lse, out=merged.out, edge_out=merged.edge_out, grad_edge_out=grad_edge_out)
        of_keys = {"grad_key": grads.key, "grad_value": grads.key if adds_to_key else grads.value}
        hand_over(
            struct, real, grad_out=grad_out, grad_query=grads.query, grad_bias=grads.bias, grad_edge_features=grads.edge_features,
            grad_edge_query=grads.query if adds_to_query else grads.edge_query, grad_vector=vector, grad_edge_weight=edge_weight,
            handed=handed, signs=signs, **(of_keys if in_one_pass else {}),
        )  # fmt: skip
        call.run("edges_backward_queries", struct)
        if grads.parameters:
            call.add_pieces(struct)
        if over_keys is not None and not (grads.key is None and grads.value is None):
            over_keys.run("edges_backward_keys", hand_over(over_keys.struct_after(struct), real, **of_keys))
        num_queries, num_keys = inputs.query.size(0), inputs.key.size(0)
        return grads._replace(
            query=rows.add_up(grads.query, num_queries),
            edge_query=rows.add_up(grads.edge_query, num_queries),
            key=grads.key if columns is None else columns.add_up(grads.key, num_keys),
            value=grads.value if columns is None else columns.add_up(grads.value, num_keys),
            parameters=parameters_of(call, grads) or (None,) * len(inputs.parameters),
        )


def parameters_of(call: Call, grads: Gradients) -> tuple[Tensor, ...]:
    """The gradients of parameters that all pieces come to, laid out as the parameters are."""
    found = edge_dim_last(with_vector(call, [x[0] for x in grads.parameters if x is not None]))
    return found[1:] if call.template.score == DOT else found


def handed_on(call: Call, inputs: Inputs, grads: Gradients) -> tuple[Tensor | None, Tensor | None]:
    """Room for what the pass over queries leaves for the pass over keys."""
    if grads.key is None and grads.value is None:
        return None, None
    entries, heads = call.template.entries, inputs.query.size(1)
    has_signs = call.template.score == LEAKY and grads.key is not None
    signs = empty((call.expected["signs"][1],), torch.uint8) if has_signs else None
    return empty((entries, 2, heads), call.real), signs


def gradients_asked(plan, inputs: Inputs, adds_to_query: bool, adds_to_key: bool) -> Needed:
    """Those that are written: of a tensor that is given twice one, for both."""
    needed = plan.needed or Needed(parameters=(True,) * len(inputs.parameters))
    # The pass over queries always writes those of queries.
    needed = needed._replace(query=True, edge_query=not adds_to_query)
    return needed._replace(key=needed.key or needed.value, value=False) if adds_to_key else needed


def empty_gradients(
    needed: Needed, inputs: Inputs, rows: Rows, columns: Rows | None, call: Call, of_keys_dtype: torch.dtype
) -> Gradients:
    """Room for the gradients that are asked for, None for others; one row for each piece of a heavy query or key.

    Without `columns` each key has a query at most, whose pass writes its gradients; where all have one, they need no zeros.
    """
    of_keys = zeros if columns is None and rows.col.numel() < inputs.key.size(0) else empty

    def new(
        x, is_needed: bool, pieces: Rows | None = None, make=empty, dtype: torch.dtype = call.real
    ) -> Tensor | None:
        if x is None or not is_needed:
            return None
        return make((x.size(0) if pieces is None else pieces.num_rows, *x.shape[1:]), dtype)

    asked = inputs.parameters if any(needed.parameters) else ()
    parameters = [x for x in as_loops_read(call, asked) if x is not None] if asked else ()
    return Gradients(
        new(inputs.query, True, rows, dtype=call.dtype_of("grad_query")),
        new(inputs.key, needed.key, columns, of_keys, of_keys_dtype),
        new(inputs.value, needed.value, columns, of_keys, of_keys_dtype),
        new(inputs.bias, needed.bias),
        new(inputs.edge_features, needed.edge_features),
        new(inputs.edge_query, needed.edge_query, rows),
        tuple(zeros((call.num_pieces, *x.shape), call.real) for x in parameters),
    )
