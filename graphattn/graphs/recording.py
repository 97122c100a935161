"""torch.jit.trace and make_fx: what they record would hold for their example alone, so they are refused."""

import torch
from torch.fx.experimental.proxy_tensor import get_proxy_mode

# The key that torch switches on for modes of make_fx(pre_dispatch=True), which are on no stack of modes.
PRE_DISPATCH = torch._C.DispatchKey.PreDispatch
dispatches_before = torch._C._dispatch_tls_is_dispatch_key_included


def may_record() -> bool:
    """Whether anything that could record what runs is at work: a mode of torch, torch.jit.trace. Else nobody has to ask further."""
    has_modes = torch._C._len_torch_dispatch_stack() > 0
    return has_modes or dispatches_before(PRE_DISPATCH) or torch._C._get_tracing_state() is not None


def refuse_recording() -> None:
    """Raise RuntimeError while eager code is recorded: the edges of the example would be constants of the record, and so would
    the results of compiled kernels."""
    if not (torch.compiler.is_compiling() or may_record()):
        return
    if torch.jit.is_tracing():
        raise RuntimeError(
            "torch.jit.trace would keep the edges of its example for every input (got a call while it traces); use"
            " torch.export or torch.compile, or call graphattn.restore(model) before, which gives PyG's layers back"
        )
    refuse_make_fx()


def refuse_make_fx() -> None:
    """Raise RuntimeError while make_fx records eager code; torch.compile and torch.export, which use it too, may go on."""
    if not torch.compiler.is_compiling() and get_proxy_mode() is not None:
        raise RuntimeError(
            "make_fx would keep the edges and the results of its example for every input (got a call while it traces); use"
            " torch.export or torch.compile, or call graphattn.restore(model) before, which gives PyG's layers back"
        )
