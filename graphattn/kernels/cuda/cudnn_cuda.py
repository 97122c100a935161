"""Complete and causal graphs in half precision on CUDA by cuDNN's attention, the fastest that torch has on Hopper."""

import torch
from torch.backends.cuda import SDPAParams, can_use_cudnn_attention

from graphattn.kernels.fused.flash import with_adjacent_channels
from graphattn.kernels.fused.sdpa import Sdpa, is_causal, to_batch
from graphattn.kernels.kernel import Inputs, Plan, count_edges

CHANNELS = 8  # half-precision numbers in the 16 bytes that are read at a time
LEAST_SCORES = 2**27  # of all heads: cuDNN plans for every new size, which takes 40 ms; below it nobody gets them back


class CudnnCuda(Sdpa):
    """Large examples of one size in one call; for others there is 'flash_cuda'."""

    name, family = "cudnn_cuda", "cudnn"
    devices = ("cuda",)
    dtypes = (torch.float16, torch.bfloat16)
    takes_other_value_dim = False

    def why_not_here(self, plan, inputs):
        query = inputs.query
        if count_edges(plan.graph) * query.size(1) < LEAST_SCORES:
            return f"'{self.name}' is worth its plan from {LEAST_SCORES:,} scores on (got {plan.graph!r})"
        if len(set(plan.graph.sizes)) != 1:
            return f"'{self.name}' runs examples of one size (got {plan.graph!r})"
        if query.size(2) % CHANNELS:
            return f"'{self.name}' needs a multiple of {CHANNELS} channels (got {query.size(2)})"
        if torch.are_deterministic_algorithms_enabled():
            return f"'{self.name}' is not deterministic, as torch.use_deterministic_algorithms wants it"
        return self.why_not_cudnn(plan, inputs)

    def why_not_cudnn(self, plan: Plan, inputs: Inputs) -> str | None:
        """torch's own answer: it knows versions, chips and what users have switched off."""
        examples, is_grouped = len(plan.graph.sizes), inputs.query.size(1) != inputs.key.size(1)
        query, key, value = (to_batch(x, slice(0, x.size(0)), examples) for x in inputs[:3])
        if can_use_cudnn_attention(SDPAParams(query, key, value, None, 0.0, is_causal(plan.graph), is_grouped)):
            return None
        return f"'{self.name}' is refused by torch.backends.cuda.can_use_cudnn_attention (it says why with debug=True)"

    def attend(self, query, key, value, scale, is_causal):
        query, key, value = map(with_adjacent_channels, (query, key, value))
        out, lse, *_ = torch.ops.aten._scaled_dot_product_cudnn_attention(
            query, key, value, None, True, 0.0, is_causal, scale=scale
        )
        return out, lse.view(query.shape[:3])

    def differentiate(self, grad_out, query, key, value, out, lse, scale, is_causal):
        grad_out, query, key, value, out = map(with_adjacent_channels, (grad_out, query, key, value, out))
        lse = lse.contiguous().unsqueeze(-1)
        state = torch.zeros((), dtype=torch.long, device=query.device)  # of the dropout that there is not
        ragged = None, None, query.size(2), key.size(2)  # where examples would begin, and the longest
        return torch.ops.aten._scaled_dot_product_cudnn_attention_backward(
            grad_out, query, key, value, out, lse, state, state, None, *ragged, 0.0, is_causal, scale=scale
        )
