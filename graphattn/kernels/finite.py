"""Whether tensors are free of NaN and infinity, asked before the answer is needed."""

import math
from functools import reduce
from operator import add

import torch
from torch import Tensor


class NotFinite(Exception):
    """A kernel met NaN or infinity that it would spread."""


class AreFinite:
    """The question; `answer()` is the answer. What a GPU is given in between runs while it comes back.

    While a CUDA graph is captured nothing can be read: the answer is True.
    """

    def __init__(self, *tensors: Tensor):
        self.tensors, self.total, self.has_come = tensors, None, None
        is_cuda = tensors[0].is_cuda
        if is_cuda and torch.cuda.is_current_stream_capturing():
            return
        # A finite sum proves it in one pass; one that is not may be an overflow.
        total = reduce(add, (x.detach().sum(dtype=torch.promote_types(x.dtype, torch.float32)) for x in tensors))
        self.total = total.to("cpu", non_blocking=is_cuda)
        if is_cuda:
            self.has_come = torch.cuda.current_stream(tensors[0].device).record_event()

    def answer(self) -> bool:
        if self.has_come is not None:
            self.has_come.synchronize()
        is_known = self.total is None or math.isfinite(self.total)
        return is_known or all(bool(x.isfinite().all()) for x in self.tensors)
