"""accelerate: PyG's layers in a model become graphattn's, in place; restore: the way back."""

from dataclasses import dataclass, field
from typing import Any

import torch
import torch_geometric.nn
from torch.nn import Module, MultiheadAttention
from torch_geometric.nn.attention import PerformerAttention
from torch_geometric.nn.conv import MessagePassing

from graphattn.nn.dropout import Dropout
from graphattn.nn.gat_conv import GATConv
from graphattn.nn.gatv2_conv import GATv2Conv
from graphattn.nn.gps_conv import GPSConv
from graphattn.nn.messages import adds_up, is_compiled, own_method
from graphattn.nn.plain import home, is_home
from graphattn.nn.transformer_conv import TransformerConv

DROP_INS: dict[type[Module], type[Module]] = {
    torch_geometric.nn.TransformerConv: TransformerConv,
    torch_geometric.nn.GATConv: GATConv,
    torch_geometric.nn.GATv2Conv: GATv2Conv,
    torch_geometric.nn.GPSConv: GPSConv,
}
SWAPPED = {**DROP_INS, torch.nn.Dropout: Dropout}
FROM_TORCH = {  # what is made anew, by `from_torch` of these classes
    torch.nn.TransformerEncoder: "GraphTransformer",
    torch.nn.TransformerDecoder: "GraphTransformerDecoder",
    torch.nn.TransformerEncoderLayer: "EncoderLayer",
    torch.nn.TransformerDecoderLayer: "DecoderLayer",
}
MARK = "_was_accelerated"  # an attribute of a swapped module: it survives deepcopy and pickle, and no state_dict has it
ATTENTION = (MultiheadAttention, PerformerAttention)
SLOTS = ("__dict__", "__weakref__")  # which every class makes for itself
PERFORMER = "graphs of a batch of unequal sizes get what they get alone; PyG's Performer attention lets padding in"


@dataclass(frozen=True)
class Acceleration:
    """What `accelerate` did: names as in `model.named_modules()`, '' for the model itself.

    Args:
        swapped: Name of each swapped layer -> its class.
        left: Name of each other graph layer -> why it was left.
        changed: Name of each swapped layer whose numbers are not PyG's -> where they differ.
        dropouts: How many `torch.nn.Dropout` became graphattn's.
    """

    swapped: dict[str, str]
    left: dict[str, str]
    changed: dict[str, str] = field(default_factory=dict)
    dropouts: int = 0

    def __repr__(self) -> str:
        lines = [f"swapped {len(self.swapped)}, left {len(self.left)}"]
        notes = {name: f"; {note}" for name, note in self.changed.items()}
        lines += [f"  {name or '(model)'}: {kind}{notes.get(name, '')}" for name, kind in self.swapped.items()]
        lines += [f"  and {self.dropouts} Dropout{'s' * (self.dropouts > 1)}"] if self.dropouts else []
        lines += [f"  {name or '(model)'} left: {reason}" for name, reason in self.left.items()]
        return "\n".join(lines)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raises: a model is changed in place, and `model = accelerate(model)` has lost its name."""
        raise TypeError(
            "'accelerate' changes a model in place and gives a report, which cannot be called; write accelerate(model) alone"
            " and go on with the model"
        )


def accelerate(model: Module) -> Acceleration:
    """Puts graphattn's kernels under PyG's TransformerConv, GATConv, GATv2Conv and GPSConv, wherever they are in `model`, and its
    `Dropout` in the place of torch's.

    Each layer keeps its identity: the object stays the same and changes its class, so that parameters (and the optimizers
    that hold them), buffers, hooks, training mode, device and sharing between parts of the model are untouched. Outputs and
    gradients stay the same up to rounding, but for what the drop-ins do better than PyG (see their docstrings): Performer
    attention in GPSConv no longer depends on the padding of a batch, which the report says. Layers whose numbers would
    change otherwise are left: subclasses, methods or aggregations of their own, self loops between two sets of nodes. What is
    put on or into a layer later (hooks, methods, wrapped maps) is honoured, by PyG's message passing. Dropout draws from another
    generator than torch's: other numbers are dropped, equally often. torch.nn.functional.dropout in a `forward` stays, and so do
    Dropouts that write over their input or have methods of their own, and those of torch's Transformer.

    Example:
        >>> import torch
        >>> import torch_geometric.nn as pyg
        >>> from graphattn import accelerate
        >>> model = torch.nn.ModuleList([pyg.GATConv(8, 4, heads=2), pyg.GCNConv(8, 3)])
        >>> accelerate(model)
        swapped 1, left 1
          0: GATConv
          1 left: graphattn has no drop-in for GCNConv
    """
    if not isinstance(model, Module):
        raise TypeError(f"'model' must be a torch.nn.Module (got {type(model).__name__})")
    swapped: dict[str, str] = {}
    left: dict[str, str] = {}
    changed: dict[str, str] = {}
    dropouts = 0
    torchs_own: list[str] = []  # beginnings of the names of parts that need no line of their own
    for name, module in model.named_modules():
        if isinstance(module, tuple(DROP_INS.values())) or name.startswith(tuple(torchs_own)):
            continue
        if type(module) is torch.nn.Dropout and not (module.inplace or own_methods(module, torch.nn.Dropout)):
            dropouts += 1
            swap(module)
        if isinstance(module, tuple(FROM_TORCH)):
            torchs_own.append(f"{name}." if name else "")
        reason = why_not(module)
        if reason is not None:
            left[name] = reason
        elif type(module) in DROP_INS:
            swapped[name] = type(module).__name__
            changed |= {name: PERFORMER} if depends_on_padding(module) else {}
            swap(module)
    return Acceleration(swapped, left, changed, dropouts)


def swap(module: Module) -> None:
    module.__class__ = SWAPPED[type(module)]
    setattr(module, MARK, True)


def restore(model: Module) -> int:
    """Undoes `accelerate`: PyG's classes again, and nothing else changed. Returns how many graph layers it gave back.

    Layers that were made as graphattn's stay as they are. Parametrizations and the like that were put on a layer since stay
    on it.

    Example:
        >>> import torch_geometric.nn as pyg
        >>> from graphattn import accelerate, restore
        >>> model = pyg.GATConv(8, 4)
        >>> _ = accelerate(model)
        >>> restore(model), type(model) is pyg.GATConv
        (1, True)
    """
    if not isinstance(model, Module):
        raise TypeError(
            f"'model' must be a torch.nn.Module (got {type(model).__name__}); give the one that `accelerate` got"
        )
    marked = [module for module in model.modules() if MARK in vars(module)]
    classes = [restored(type(module)) for module in marked]
    for module, kind in zip(marked, classes):
        delattr(module, MARK)
        is_ours = isinstance(module, MessagePassing) and holds_compiled(module)
        module.__class__ = kind
        if is_ours and not holds_compiled(module):
            del module.propagate  # PyG set it when an explainer left; the class has its own
    return len([module for module in marked if not isinstance(module, torch.nn.Dropout)])


def holds_compiled(module: MessagePassing) -> bool:
    """Whether the object itself has a `propagate` that PyG compiled for its class."""
    return "propagate" in vars(module) and is_compiled(type(module), "propagate", home(module.propagate))


def restored(kind: type[Module]) -> type[Module]:
    """PyG's class for a drop-in; a class that torch derived from a drop-in (parametrizations) is derived from PyG's anew."""
    originals = {ours: original for original, ours in SWAPPED.items()}
    if kind in originals:
        return originals[kind]
    bases = tuple(restored(base) for base in kind.__bases__)
    if bases == kind.__bases__:
        return kind
    return type(kind.__name__, bases, {key: value for key, value in vars(kind).items() if key not in SLOTS})


def depends_on_padding(module: Module) -> bool:
    """Whether PyG's layer gives a graph other numbers beside larger ones."""
    return isinstance(module, torch_geometric.nn.GPSConv) and isinstance(module.attn, PerformerAttention)


def why_not(module: Module) -> str | None:
    """The sentence that says why a graph layer is left; None for one to swap, and for what is no graph layer."""
    kind = type(module)
    if kind not in DROP_INS:
        return why_not_kind(module)
    own = own_methods(module, kind)
    if own:
        return f"this {kind.__name__} has {', '.join(map(repr, own))} of its own"
    if isinstance(module, MessagePassing) and not adds_up(module):
        aggregation = type(module.aggr_module).__name__
        return (
            f"kernels sum over the sources of a target (got {aggregation}, aggr={module.aggr!r}, flow={module.flow!r}, "
            f"node_dim={module.node_dim})"
        )
    if isinstance(module, torch_geometric.nn.GPSConv) and not isinstance(module.attn, ATTENTION):
        return f"PyG's GPSConv goes on without attention for a {type(module.attn).__name__}, graphattn's refuses it"
    if getattr(module, "add_self_loops", False) and not isinstance(module.in_channels, int):
        return (
            f"PyG's {kind.__name__} with in_channels={module.in_channels} adds edges i -> i between two sets of nodes,"
            " graphattn's does not; set add_self_loops=False if these edges are not wanted"
        )
    return None


def own_methods(module: Module, kind: type[Module]) -> list[str]:
    """What PyG's class has otherwise: set on the object, or put into the class."""
    shadowing = {name: value for name, value in vars(module).items() if callable(getattr(kind, name, None))}
    own: list[str | None] = [name for name, value in shadowing.items() if not is_pygs(module, name, value)]
    if not is_home(kind.forward, kind):
        own.append("forward")
    if isinstance(module, MessagePassing):
        own.append(own_method(module, kind))
    return list(dict.fromkeys(name for name in own if name))


def is_pygs(module: Module, name: str, value: Any) -> bool:
    """PyG itself sets `propagate` on an object that was explained."""
    return name == "propagate" and (
        home(value) == MessagePassing.__module__ or is_compiled(type(module), name, home(value))
    )


def why_not_kind(module: Module) -> str | None:
    kind = type(module).__name__
    for original, ours in FROM_TORCH.items():
        if isinstance(module, original):
            return (
                f"torch's {kind} takes padded batches, graphattn's takes nodes and a graph: graphattn.nn.{ours}.from_torch makes"
                " that of it, and graphattn.from_padded makes those of a batch"
            )
    for original in DROP_INS:
        if isinstance(module, original):
            return f"{kind} is a subclass of {original.__name__} and may rely on its insides"
    return f"graphattn has no drop-in for {kind}" if isinstance(module, MessagePassing) else None
