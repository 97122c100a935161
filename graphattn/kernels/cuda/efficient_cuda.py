"""Complete and causal graphs in float32 on CUDA, whose flash attention is for half precision only."""

import torch

from graphattn.kernels.fused.flash import with_adjacent_channels
from graphattn.kernels.fused.sdpa import Sdpa

LSE_BLOCK = 32  # the operators keep log-sum-exp for so many queries, or a multiple; +inf where there is none


class EfficientCuda(Sdpa):
    """torch's memory-efficient attention (Rabe and Staats 2021), examples of one size in one call."""

    name, family = "efficient_cuda", "efficient"
    devices = ("cuda",)
    dtypes = (torch.float32,)
    aligned_channels = 4  # float32 numbers in the 16 bytes that are read at a time

    def attend(self, query, key, value, scale, is_causal):
        query, key, value = map(with_adjacent_channels, (query, key, value))
        out, lse, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
            query, key, value, None, True, 0.0, is_causal, scale=scale
        )
        return out, lse.narrow(2, 0, query.size(2))

    def differentiate(self, grad_out, query, key, value, out, lse, scale, is_causal):
        grad_out, query, key, value, out = map(with_adjacent_channels, (grad_out, query, key, value, out))
        lse = torch.nn.functional.pad(lse, (0, -lse.size(-1) % LSE_BLOCK), value=torch.inf)
        state = torch.zeros((), dtype=torch.long, device=query.device)  # of the dropout that there is not
        wanted = [True, True, True, False]  # query, key, value, bias
        *gradients, _ = torch.ops.aten._scaled_dot_product_efficient_attention_backward(
            grad_out, query, key, value, None, out, lse, state, state, 0.0, wanted, is_causal, scale=scale
        )
        return gradients
