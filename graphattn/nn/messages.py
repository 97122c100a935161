"""When a layer must go through PyG's message passing instead of a kernel."""

from torch.nn import Module
from torch_geometric.nn.conv import MessagePassing
from torch_geometric.nn.dense import Linear

HOOKS = ("propagate", "message", "aggregate", "edge_update")


def is_watched(conv: MessagePassing) -> bool:
    """Explainers and hooks look into the messages; nobody else pays for them."""
    hooks = (getattr(conv, f"_{name}_forward{kind}_hooks") for name in HOOKS for kind in ("", "_pre"))
    return bool(conv.explain) or any(hooks)


def adds_up(conv: MessagePassing) -> bool:
    """Messages run from source to target and are summed, which is what kernels do."""
    return conv.flow == "source_to_target" and conv.aggr in ("add", "sum")


def is_plain(linear: Module | None) -> bool:
    """Nothing but x W^T: no hooks (a lazy map has one until its first call), no wrapper, no parametrization."""
    return linear is None or (type(linear) is Linear and not linear._forward_hooks and not linear._forward_pre_hooks)


def needs_messages(conv: MessagePassing) -> bool:
    """True where a drop-in gives its kernel up; the numbers are the same."""
    return is_watched(conv) or not adds_up(conv) or not is_plain(conv.lin_edge)
