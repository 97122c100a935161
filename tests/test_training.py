"""What training asks of every layer: mixed precision, checkpoints, processes, torch.func, copies; and export."""

import copy
import io
import os
import pickle
import time

import pytest
import torch
from torch.export import Dim
from torch.func import functional_call, grad, hessian, jvp, vmap
from torch.utils.checkpoint import checkpoint

from graphattn import CompleteGraph, causal
from graphattn.nn import (
    ALiBi,
    AttentionReadout,
    DecoderLayer,
    EncoderLayer,
    GATConv,
    GATv2Conv,
    GPSConv,
    GraphAttention,
    GraphTransformer,
    LinearAttention,
    RotaryPositions,
    TransformerConv,
)
from graphattn.testing.layouts import LAYOUTS


def features(num_rows, channels=8):
    return torch.randn(num_rows, channels)


def edges(num_nodes):
    return torch.randint(num_nodes, (2, 3 * num_nodes))


def on_edges(n):
    return features(n), edges(n)


def with_features(n):
    return features(n), edges(n), features(3 * n, 3)


def on_causal(n):
    return features(n), causal([n - 2, 2])


ON_EDGES = {
    "GraphAttention": (lambda: GraphAttention(8, 4, 2, edge_dim=3, dropout=0.4), with_features),
    "TransformerConv": (lambda: TransformerConv(8, 4, 2, edge_dim=3, dropout=0.4), with_features),
    "GATConv": (lambda: GATConv(8, 4, 2, dropout=0.4), on_edges),
    "GATv2Conv": (lambda: GATv2Conv(8, 4, 2, edge_dim=3, dropout=0.4), with_features),
    "GPSConv": (lambda: GPSConv(8, TransformerConv(8, 8), heads=2, dropout=0.4), on_edges),
    "EncoderLayer": (lambda: EncoderLayer(8, 2, edge_bias=ALiBi(2), dropout=0.3), on_edges),
    "GraphTransformer": (lambda: GraphTransformer(8, 2, 2, positions=RotaryPositions()), on_edges),
}
LAYERS = ON_EDGES | {
    **{
        score: (lambda score=score: GraphAttention(8, 4, 2, score=score, edge_dim=3, sink=True), with_features)
        for score in ("additive", "gatv2", "cosine", "gaussian", "bilinear")
    },
    "sparsemax": (lambda: GraphAttention(8, 4, 2, normalizer="sparsemax", gate=True), on_edges),
    "DecoderLayer": (
        lambda: DecoderLayer(8, 2, dropout=0.3, drop_path=0.2),
        lambda n: (features(n), features(n + 1), causal(n), CompleteGraph(n, n + 1)),
    ),
    "AttentionReadout": (lambda: AttentionReadout(8, 2, 3), on_causal),
    "LinearAttention": (lambda: LinearAttention(8, 4, 2), on_causal),
    "Performer": (lambda: GPSConv(8, GATConv(8, 8), heads=2, attn_type="performer"), on_edges),
}


@pytest.fixture(params=LAYERS)
def case(request):
    make, arguments_of = LAYERS[request.param]
    torch.manual_seed(0)
    return make(), arguments_of(9)


def gradients(layer, x, rest, run=None):
    """The output for dropout from seed 3, and the gradients of the features and parameters for a random cotangent."""
    x = x.clone().requires_grad_()
    torch.manual_seed(3)
    out = (run or layer)(x, *rest)
    cotangent = torch.randn(out.shape, generator=torch.Generator().manual_seed(5)).to(out.dtype)
    layer.zero_grad()
    out.backward(cotangent)
    return [out.detach(), x.grad, *(parameter.grad for parameter in layer.parameters())]


def assert_all_close(found, expected, **tolerance):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, **tolerance)


@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 0.15), (torch.float16, 2e-2)])
def test_autocast_with_a_scaler(case, dtype, tolerance):
    layer, (x, *rest) = case
    expected = gradients(layer, x, rest)
    scaler, optimizer = torch.amp.GradScaler("cpu", init_scale=256.0), torch.optim.SGD(layer.parameters(), lr=0.1)
    before = [parameter.detach().clone() for parameter in layer.parameters()]

    def run(x, *rest):
        with torch.amp.autocast("cpu", dtype=dtype):
            out = layer(x, *rest)
        return scaler.scale(out.float())

    found = gradients(layer, x, rest, run)
    scale = scaler.get_scale()
    assert_all_close([y / scale for y in found], expected, atol=tolerance, rtol=tolerance)
    scaler.step(optimizer)
    steps = [(old - new) / 0.1 for old, new in zip(before, layer.parameters())]
    assert_all_close(steps, expected[2:], atol=tolerance, rtol=tolerance)


LOSSES = {"sum": torch.sum, "mean": torch.mean, "squares": lambda x: x.square().mean()}


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_of_users(case, loss):
    """What `.sum()` and `.mean()` send back is one number for all places: it gives what numbers side by side give."""
    layer, (x, *rest) = case
    layer.eval()
    found = []
    for send in (
        lambda out: LOSSES[loss](out).backward(),
        lambda out: out.backward(what_comes_back(LOSSES[loss], out)),
    ):
        x = x.detach().clone().requires_grad_()
        layer.zero_grad()
        send(layer(x, *rest))
        found.append([x.grad, *(parameter.grad for parameter in layer.parameters())])
    assert all(gradient.isfinite().all() for gradient in found[0])
    assert_all_close(*found)


def what_comes_back(loss, out):
    """The gradient of `loss`, each number of it in memory of its own."""
    leaf = out.detach().clone().requires_grad_()
    loss(leaf).backward()
    return leaf.grad.clone(memory_format=torch.contiguous_format)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_features_may_lie_in_any_way(case, layout):
    layer, (x, *rest) = case
    layer.eval()
    x = LAYOUTS[layout](x)
    rest = [LAYOUTS[layout](y) if isinstance(y, torch.Tensor) and y.is_floating_point() else y for y in rest]
    plain = [y.contiguous().clone() if isinstance(y, torch.Tensor) else y for y in (x, *rest)]
    cotangent = torch.randn(layer(*plain).shape)
    assert_all_close(*(run_with(layer, given, cotangent) for given in ((x, *rest), plain)))


def run_with(layer, given, cotangent):
    x, *rest = given
    x = x.detach().requires_grad_()
    layer.zero_grad()
    out = layer(x, *rest)
    out.backward(cotangent)
    return [out.detach(), x.grad, *(parameter.grad for parameter in layer.parameters())]


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_a_checkpoint_repeats_the_dropout(case, use_reentrant):
    layer, (x, *rest) = case
    expected = gradients(layer, x, rest)
    found = gradients(layer, x, rest, lambda *arguments: checkpoint(layer, *arguments, use_reentrant=use_reentrant))
    assert_all_close(found, expected)


def test_functional_call_and_its_gradient(case):
    layer, (x, *rest) = case
    layer.eval()
    parameters = {name: x.detach().clone() for name, x in layer.named_parameters()}
    for x_of_layer in layer.parameters():
        torch.nn.init.zeros_(x_of_layer)  # so that only those given can give the result
    cotangent = torch.randn(layer(x, *rest).shape)

    def loss(parameters, *arguments):
        return (functional_call(layer, parameters, arguments) * cotangent).sum()

    leaves = {name: x.requires_grad_() for name, x in parameters.items()}
    expected = torch.autograd.grad(loss(leaves, x, *rest), list(leaves.values()))
    as_new = [y.clone() if isinstance(y, torch.Tensor) else y for y in (x, *rest)]
    found = grad(loss)({name: y.detach() for name, y in parameters.items()}, *as_new)
    assert_all_close(found.values(), expected, atol=1e-5, rtol=1e-4)


def test_forward_mode(case):
    """<cotangent, J tangent> by forward mode is <Jᵀ cotangent, tangent> by the kernels."""
    layer, (x, *rest) = case
    layer.double().eval()  # the graph is new: it is read and sorted inside the transform
    x, rest = (
        x.double().requires_grad_(),
        [y.double() if isinstance(y, torch.Tensor) and y.is_floating_point() else y for y in rest],
    )
    tangent = torch.randn_like(x)
    out, out_tangent = jvp(lambda x: layer(x, *rest), (x.detach(),), (tangent,))
    cotangent = torch.randn_like(out)
    (by_x,) = torch.autograd.grad(layer(x, *rest), x, cotangent)
    torch.testing.assert_close((cotangent * out_tangent).sum(), (by_x * tangent).sum())


@pytest.mark.parametrize("name", ["GraphAttention", "GATv2Conv", "GPSConv", "EncoderLayer"])
def test_batches_by_vmap_and_hessians(name):
    make, arguments_of = ON_EDGES[name]
    torch.manual_seed(0)
    layer, (x, *rest) = make().double().eval(), arguments_of(5)
    x, rest = x.double(), [y.double() if y.is_floating_point() else y for y in rest]
    batch = torch.stack([x, x.flip(0)])
    torch.testing.assert_close(vmap(lambda y: layer(y, *rest))(batch), torch.stack([layer(y, *rest) for y in batch]))

    def energy(y):
        return layer(y, *rest).tanh().sum()

    torch.testing.assert_close(hessian(energy)(x), torch.autograd.functional.hessian(energy, x))


def test_copies(case):
    layer, arguments = case
    layer.eval()
    expected = layer(*arguments)
    state = io.BytesIO()
    torch.save(layer.state_dict(), state)
    loaded = copy.deepcopy(layer)
    for parameter in loaded.parameters():
        torch.nn.init.zeros_(parameter)
    state.seek(0)
    loaded.load_state_dict(torch.load(state, weights_only=True))
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), loaded):
        assert torch.equal(other(*arguments), expected)


EXPORTED = ON_EDGES | {
    "LinearAttention": (lambda: LinearAttention(8, 4, 2), on_edges),
    "Performer": LAYERS["Performer"],
    "a function as score": (lambda: GraphAttention(8, 4, 2, score=lambda q, k: (q - k).abs().sum(-1)), on_edges),
}


@pytest.mark.parametrize("name", EXPORTED)
def test_export_with_sizes_left_open(name):
    make, arguments_of = EXPORTED[name]
    torch.manual_seed(0)
    layer, num_edges = make().eval(), Dim("num_edges", min=2)
    sizes = ({0: Dim("num_nodes", min=2)}, {1: num_edges}, {0: num_edges})
    arguments = arguments_of(5)
    program = torch.export.export(layer, arguments, dynamic_shapes=sizes[: len(arguments)])
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    module = torch.export.load(file).module()
    for size in (5, 8):
        arguments = arguments_of(size)
        torch.testing.assert_close(module(*arguments), layer(*arguments))


def test_export_takes_no_graph_along():
    layer, graph = GraphAttention(8, 4), causal(5)

    class OnOneGraph(torch.nn.Module):
        def forward(self, x):
            return layer(x, graph)

    with pytest.raises(ValueError, match="export with an edge_index or a bool mask"):
        torch.export.export(OnOneGraph(), (features(5),), strict=False)


def train(rank, folder):
    """One of two processes: three steps on its own half of the examples."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    layer, examples = model_and_examples()
    layer = torch.nn.parallel.DistributedDataParallel(layer)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for x, graph in examples[rank::2]:
        optimizer.zero_grad()
        layer(x, graph).backward(cotangent_of(x))
        optimizer.step()
    torch.save(layer.module.state_dict(), f"{folder}/{rank}.pt")
    while not os.path.exists(f"{folder}/{1 - rank}.pt"):  # the other may still be listening
        time.sleep(0.01)
    os._exit(0)  # the end of the group may wait for a thread of its own that waits for the interpreter


def model_and_examples():
    torch.manual_seed(0)
    layer = GraphTransformer(8, 1, 2, edge_bias=ALiBi(2)).double()
    return layer, [(features(n).double(), causal(n) if n % 2 else edges(n)) for n in (4, 5, 6, 7, 8, 9)]


def cotangent_of(x):
    """The same in every process, another one for each size."""
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(len(x)), dtype=x.dtype)


def test_two_processes_train_as_one(tmp_path):
    processes, end = torch.multiprocessing.spawn(train, (str(tmp_path),), nprocs=2, join=False), time.monotonic() + 240
    while not processes.join(timeout=10):
        if time.monotonic() > end:
            for process in processes.processes:
                process.kill()
            pytest.fail("two processes did not end")
    layer, examples = model_and_examples()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for pair in zip(examples[::2], examples[1::2]):
        optimizer.zero_grad()
        for x, graph in pair:
            layer(x, graph).backward(cotangent_of(x) / 2)  # of two processes the mean is taken
        optimizer.step()
    for rank in (0, 1):
        for name, found in torch.load(tmp_path / f"{rank}.pt").items():
            torch.testing.assert_close(found, layer.state_dict()[name])
