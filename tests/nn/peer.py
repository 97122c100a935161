"""PyG's layers beside the drop-ins: the same weights, inputs and losses."""

import torch
from torch import Tensor
from torch_geometric.data import Data

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def random_graph(num_sources: int, num_targets: int, num_edges: int) -> Tensor:
    """Some edges are repeated, the last target has none."""
    edge_index = torch.stack(
        [torch.randint(num_sources, (num_edges,)), torch.randint(max(num_targets - 1, 1), (num_edges,))]
    )
    return torch.cat([edge_index, edge_index[:, : num_edges // 4]], 1)


def twins(peer_class, own_class, *args, dtype=torch.float64, **options):
    """PyG's layer with random offsets, and ours with its state."""
    peer = peer_class(*args, **options).to(dtype)
    for name, parameter in peer.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    own = own_class(*args, **options).to(dtype)
    own.load_state_dict(peer.state_dict())
    return peer, own


def require_grad(x):
    if isinstance(x, Tensor):
        return x.detach().clone().requires_grad_() if x.is_floating_point() else x
    if isinstance(x, dict):
        return {key: require_grad(entry) for key, entry in x.items()}
    return tuple(require_grad(entry) for entry in x) if isinstance(x, tuple) else x


def tensors_of(x) -> list[Tensor]:
    if isinstance(x, Tensor):
        return [x] if x.is_floating_point() and x.requires_grad else []
    if isinstance(x, dict):
        return [tensor for entry in x.values() for tensor in tensors_of(entry)]
    return [tensor for entry in x for tensor in tensors_of(entry)] if isinstance(x, tuple) else []


def random_loss(out: Tensor) -> Tensor:
    cotangent = torch.randn(out.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return (out * cotangent.to(out)).sum()


# A gradient of its own for each number, and what users write: one number with stride 0 for all of them.
LOSSES = {"random": random_loss, "sum": Tensor.sum, "mean": Tensor.mean}


def result_and_gradients(layer, inputs: tuple, **options) -> dict[str, Tensor | None]:
    """Output, and the gradients of every input and parameter for the random loss, by name, and for the others, by name and
    loss."""
    inputs = require_grad(inputs)
    out = layer(*inputs, **options)
    outs = list(out.values()) if isinstance(out, dict) else [out]
    named = dict(layer.named_parameters()) | {f"input {i}": x for i, x in enumerate(tensors_of(inputs))}
    found = {f"output {i}": x for i, x in enumerate(outs)}
    for loss_name, loss in LOSSES.items():
        total = sum(loss(x) for x in outs)
        gradients = torch.autograd.grad(total, list(named.values()), allow_unused=True, retain_graph=True)
        suffix = "" if loss_name == "random" else f", {loss_name}"
        found |= {f"{name}{suffix}": gradient for name, gradient in zip(named, gradients)}
    return found


def assert_same(found: dict[str, Tensor | None], wanted: dict[str, Tensor | None], tolerance: float) -> None:
    """Within `tolerance` of the largest number; a gradient of None and one of 0 are the same."""
    assert found.keys() == wanted.keys()
    for name in wanted:
        a, b = found[name], wanted[name]
        if a is None or b is None:
            assert all(x is None or not x.any() for x in (a, b)), name
            continue
        assert a.shape == b.shape and a.dtype == b.dtype, name
        scale = max(b.abs().max().item(), 1.0) if b.numel() else 1.0
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance * scale, msg=lambda text, name=name: f"{name}: {text}")


def assert_same_layers(peer, own, *inputs, tolerance=1e-10, **options) -> None:
    assert_same(result_and_gradients(own, inputs, **options), result_and_gradients(peer, inputs, **options), tolerance)


def molecule(num_nodes: int = 8, channels: int = 6, classes: int = 3) -> Data:
    return Data(
        x=torch.randn(num_nodes, channels),
        edge_index=random_graph(num_nodes, num_nodes, 2 * num_nodes),
        y=torch.randint(classes, (num_nodes,)),
    )
