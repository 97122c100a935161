"""Layers and training over sharded graphs against one process: run on each process."""

import copy

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as checkpoint
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint as recomputed

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, GlobalGraph, GridGraph, PerHead, attend, causal
from graphattn.distributed import mean_of_all, shard, share_batch_norms
from graphattn.nn import (
    ALiBi,
    EncoderLayer,
    GATConv,
    GATv2Conv,
    GPSConv,
    GraphAttention,
    GraphTransformer,
    LanguageModel,
    RelativeBias,
    RotaryPositions,
    T5Bias,
    TransformerConv,
)
from graphattn.nn.positions.coordinates import positions_of
from graphattn.nn.readout import AttentionReadout, MeanReadout
from tests.distributed.against_one import small_enough
from tests.distributed.faults import words_of

NODES = 30


def graphs():
    edges = torch.randint(NODES, (2, 150), generator=torch.Generator().manual_seed(2))
    yield EdgeListGraph(edges, NODES)
    yield causal(NODES)
    yield BandedGraph(NODES, 3, 2) | GlobalGraph(NODES, [4])
    yield GridGraph((6, 5), 1, dilation=(2, 1))
    yield CompleteGraph([17, 13])


def features(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def assert_same(found, wanted, what=""):
    torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-11, msg=lambda words: f"{what}: {words}")


def layers_of(graph):
    torch.manual_seed(0)
    axes = 2 if isinstance(graph, GridGraph) else 1
    yield GraphAttention(8, 4, 2, positions=RotaryPositions(), edge_bias=RelativeBias(2, 3, axes=axes)), {}
    yield EncoderLayer(8, 2, norm_first=True, edge_bias=ALiBi(2), kv_heads=1), {}
    if axes == 1:
        yield GraphTransformer(8, 2, 2, edge_bias=T5Bias(2)), {}
    yield GraphAttention(8, 4, 2, score="gatv2", normalizer="entmax15"), {}
    yield GraphAttention(8, 4, 2, edge_dim=3, sink=True), {"edge_attr": features(graph.num_edges, 3)}
    yield GraphAttention(8, 4, 2, edge_bias=ALiBi(2)), {"pos": features(NODES)}
    yield GATConv(8, 4, 2, add_self_loops=False), {}
    yield GATv2Conv(8, 4, 2, add_self_loops=False), {}
    yield TransformerConv(8, 4, 2), {}


def check_layers(head_to_tail=False):
    x = features(NODES, 8)
    for graph in [causal(NODES)] if head_to_tail else graphs():
        sharded = shard(graph, order="head_to_tail") if head_to_tail else shard(graph)
        for layer, given in layers_of(graph):
            layer = layer.double()
            whole, own = x.clone().requires_grad_(), x[sharded.rows].clone().requires_grad_()
            at = {"edge_attr": sharded.edges, "pos": sharded.rows}
            out = layer(whole, graph, **given)
            found = layer(own, sharded, **{name: value[at[name]] for name, value in given.items()})
            assert_same(found, out[sharded.rows], (layer, graph))
            cotangent = features(*out.shape)
            parameters = [p for p in layer.parameters() if p.requires_grad]
            gradients = torch.autograd.grad(out, [whole, *parameters], cotangent, allow_unused=True)
            mine = torch.autograd.grad(found, [own, *parameters], cotangent[sharded.rows], allow_unused=True)
            assert_same(mine[0], gradients[0][sharded.rows], (layer, graph))
            for one, other, p in zip(mine[1:], gradients[1:], parameters):
                one = torch.zeros_like(p) if one is None else one.clone()
                dist.all_reduce(one)
                assert_same(one, torch.zeros_like(p) if other is None else other, (layer, graph))


def check_gps():
    """Local and global attention over all nodes, batch norms too, where the last process has no nodes."""
    edges = next(graphs())
    size, x = dist.get_world_size(), features(NODES, 8)
    ptr = [*(NODES * rank // max(size - 1, 1) for rank in range(size)), NODES]
    sharded, everything = (shard(graph, query_ptr=ptr) for graph in (edges, CompleteGraph(NODES)))
    for options in ({}, {"norm": None}):
        torch.manual_seed(0)
        layer = GPSConv(8, GATConv(8, 8, add_self_loops=False), heads=2, **options).double()
        shared = share_batch_norms(copy.deepcopy(layer), sharded)
        whole, own = x.clone().requires_grad_(), x[sharded.rows].clone().requires_grad_()
        wanted, found = layer(whole, edges), shared(own, sharded, graph=everything)
        assert_same(found, wanted[sharded.rows], options)
        wanted.square().sum().backward()
        found.square().sum().backward()
        assert_same(own.grad, whole.grad[sharded.rows], options)


def gps_refused():
    sharded, everything = shard(next(graphs())), shard(CompleteGraph(NODES))
    x = features(NODES, 8)[sharded.rows]
    layer, normed = (
        GPSConv(8, GATConv(8, 8, add_self_loops=False), heads=2, norm=n).double() for n in (None, "layer_norm")
    )
    return [
        words_of(layer, x, sharded),
        words_of(layer, x, sharded, graph=CompleteGraph(len(x))),
        words_of(layer, x, torch.zeros(2, 0, dtype=torch.long), graph=everything),
        words_of(normed, x, sharded, graph=everything),
        words_of(GPSConv(8, None, heads=2, norm=None, attn_type="performer").double(), x, None, graph=everything),
    ]


def check_recomputing():
    """A ring, and rows in two goes and hubs where graphs are small."""
    check_recomputed(causal(NODES))
    with small_enough(hubs=(-10, -10), rows_in_two_goes=(0, 0)):
        check_recomputed(BandedGraph(NODES, 2, 1))
        check_recomputed(GlobalGraph(NODES, [4]))


def check_recomputed(graph):
    sharded = shard(graph)
    x = features(NODES, 8)
    torch.manual_seed(0)
    layer = GraphTransformer(8, 2, 2, dropout=0.0, attention_dropout=0.4).double()
    torch.manual_seed(3)
    out = layer(x, graph)
    own = x[sharded.rows].clone().requires_grad_()
    torch.manual_seed(3)
    found = recomputed(layer, own, sharded, use_reentrant=False)
    assert_same(found, out[sharded.rows])
    whole = x.clone().requires_grad_()
    torch.manual_seed(3)
    layer(whole, graph).square().sum().backward()
    found.square().sum().backward()
    assert_same(own.grad, whole.grad[sharded.rows])


def check_compiled_layers():
    """Compiled between attention; outputs and gradients are those of one process."""
    for graph in (causal(NODES), EdgeListGraph(torch.arange(60).view(2, 30) % NODES, NODES)):
        sharded, x = shard(graph), features(NODES, 8)
        torch.manual_seed(0)
        layer = GraphTransformer(8, 1, 2, edge_bias=ALiBi(2)).double()
        whole, own = x.clone().requires_grad_(), x[sharded.rows].clone().requires_grad_()
        out, found = layer(whole, graph), torch.compile(layer, backend="eager")(own, sharded)
        assert_same(found, out[sharded.rows])
        out.square().sum().backward()
        found.square().sum().backward()
        assert_same(own.grad, whole.grad[sharded.rows])


def compiled_as_one_piece():
    sharded = shard(causal(NODES))
    layer = GraphAttention(8, 4, 2)
    torch.compiler.reset()  # what was compiled in pieces would run
    try:
        torch.compile(layer, backend="eager", fullgraph=True)(features(NODES, 8)[sharded.rows].float(), sharded)
    except torch._dynamo.exc.Unsupported as error:
        return str(error)
    return "no error"


def check_second_derivatives():
    """Forces: the gradient of a gradient, through the exchange of keys both ways."""
    for graph in graphs():
        sharded = shard(graph, strategy="halo")
        x = features(NODES, 2, 4)
        whole, own = x.clone().requires_grad_(), x[sharded.rows].clone().requires_grad_()
        (force,) = torch.autograd.grad(attend(whole, whole, whole, graph).square().sum(), whole, create_graph=True)
        (part,) = torch.autograd.grad(attend(own, own, own, sharded).square().sum(), own, create_graph=True)
        assert_same(part, force[sharded.rows])
        assert_same(
            torch.autograd.grad(part.square().sum(), own)[0],
            torch.autograd.grad(force.square().sum(), whole)[0][sharded.rows],
        )


def second_derivative_of_parts():
    sharded = shard(causal(NODES))
    x = features(NODES, 2, 4)[sharded.rows].requires_grad_()
    out = attend(x, x, x, sharded).square().sum()
    return words_of(torch.autograd.grad, out, x, create_graph=True)


def check_heads_of_their_own_graphs():
    graphs_of_heads = [causal(NODES), BandedGraph(NODES, 2, 2), BandedGraph(NODES, 1, 1, dilation=3)]
    sharded = [shard(graph) for graph in graphs_of_heads]
    x = features(NODES, 3, 4)
    own = x[sharded[0].rows]
    found = attend(own, own, own, PerHead(sharded))
    assert_same(found, attend(x, x, x, PerHead(graphs_of_heads))[sharded[0].rows])


def check_readouts_and_norms():
    graph = CompleteGraph([17, 0, 13])
    sharded = shard(graph)
    x = features(NODES, 8)
    whole, own = x.clone().requires_grad_(), x[sharded.rows].clone().requires_grad_()
    wanted, found = MeanReadout()(whole, graph), MeanReadout()(own, sharded)
    assert_same(found, wanted)
    wanted.square().sum().backward()
    (found.square().sum() / dist.get_world_size()).backward()  # each process has the same loss
    assert_same(own.grad, whole.grad[sharded.rows])
    try:
        AttentionReadout(8, 2).double()(own, sharded)
    except ValueError as error:
        assert "only MeanReadout reads nodes" in str(error)
    else:
        raise AssertionError("a readout of all nodes read some")
    norm = torch.nn.BatchNorm1d(8).double()
    shared = share_batch_norms(copy.deepcopy(norm), sharded)
    whole, own = x.clone().requires_grad_(), x[sharded.rows].clone().requires_grad_()
    cotangent = features(NODES, 8)
    wanted, found = norm(whole), shared(own)
    assert_same(found, wanted[sharded.rows])
    wanted.backward(cotangent)
    found.backward(cotangent[sharded.rows])
    assert_same(own.grad, whole.grad[sharded.rows])
    for name, value in norm.state_dict().items():
        assert_same(shared.state_dict()[name], value, name)
    assert_same(shared.eval()(own), norm.eval()(whole)[sharded.rows])


def check_half_precision_of_norms_and_losses(dtype):
    """Counts and sums that half precision does not hold."""
    sharded = shard(BandedGraph(6000, 1, 1))
    x = (1 + torch.randn(6000, 4, generator=torch.Generator().manual_seed(0))).to(dtype)
    norm = torch.nn.BatchNorm1d(4)
    shared = share_batch_norms(copy.deepcopy(norm), sharded)
    found = copy.deepcopy(shared)  # with the processes of the first
    assert found.group is shared.group
    torch.testing.assert_close(found(x[sharded.rows]), norm(x)[sharded.rows])
    torch.testing.assert_close(found.running_var, norm.running_var)
    losses = torch.full((50_000,), 3.0, dtype=dtype, requires_grad=True)
    mean = mean_of_all(losses, sharded)
    assert mean.dtype is dtype and mean.item() == 3.0
    mean.backward()
    torch.testing.assert_close(losses.grad, torch.full_like(losses, 1 / 50_000))


def norms_of_one_node_and_of_none():
    sharded = shard(BandedGraph(4, 1, 1))
    norm = share_batch_norms(torch.nn.BatchNorm1d(2), sharded)
    assert norm(torch.ones(0, 2)).shape == (0, 2) and norm.running_var.tolist() == [1, 1]
    return words_of(norm, torch.ones(1 if dist.get_rank() == 0 else 0, 2))


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = GraphTransformer(8, 2, 2, attention_dropout=0.2, dropout=0.0, edge_bias=RelativeBias(2, 4))
        self.out = torch.nn.Linear(8, 3)

    def forward(self, x, graph):
        return self.out(self.blocks(x, graph))


def start():
    torch.manual_seed(0)
    model = Classifier().double()
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)  # Adam makes steps of rounding errors


def problem():
    graph = BandedGraph(NODES, 3, 2) | GlobalGraph(NODES, [4])
    labels = torch.randint(3, (NODES,), generator=torch.Generator().manual_seed(4))
    has_label = torch.zeros(NODES, dtype=torch.bool)
    has_label[[0, 1, 2, 5, 9, 11]] = True  # none with the last processes
    return graph, features(NODES, 8), labels, has_label


def step(model, optimizer, x, graph, labels, mask, number):
    torch.manual_seed(number)
    optimizer.zero_grad()
    losses = torch.nn.functional.cross_entropy(model(x, graph)[mask], labels[mask], reduction="none")
    loss = losses.mean() if isinstance(graph, type(problem()[0])) else mean_of_all(losses, graph)
    loss.backward()
    optimizer.step()
    return loss.item()


def train_alone(steps):
    model, optimizer = start()
    graph, x, labels, mask = problem()
    losses = [step(model, optimizer, x, graph, labels, mask, number) for number in range(steps)]
    return losses, model


def check_three_steps(shards_parameters=False):
    """Under DistributedDataParallel or fully_shard; parameters after three steps are those of one process."""
    losses, alone = train_alone(3)
    model, optimizer = start()
    graph, x, labels, mask = problem()
    sharded = shard(graph)
    if shards_parameters:
        wrapped = fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    else:
        wrapped = DistributedDataParallel(model)
    own = [t[sharded.rows] for t in (x, labels, mask)]
    found = [step(wrapped, optimizer, own[0], sharded, *own[1:], number) for number in range(3)]
    torch.testing.assert_close(torch.tensor(found), torch.tensor(losses), rtol=0, atol=1e-12)
    for one, other in zip(model.parameters(), alone.parameters()):
        one = one.full_tensor() if shards_parameters else one
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def save_after_two(folder):
    model, optimizer = start()
    graph, x, labels, mask = problem()
    sharded = shard(graph)
    wrapped = DistributedDataParallel(model)
    own = [t[sharded.rows] for t in (x, labels, mask)]
    for number in range(2):
        step(wrapped, optimizer, own[0], sharded, *own[1:], number)
    weights, state = get_state_dict(wrapped, optimizer)
    checkpoint.save({"model": weights, "optimizer": state}, checkpoint_id=folder)


def go_on(folder):
    """Steps 2 and 3 from the checkpoint, on as many processes as there are: their losses."""
    model, optimizer = start()
    graph, x, labels, mask = problem()
    sharded = shard(graph)
    wrapped = DistributedDataParallel(model)
    weights, state = get_state_dict(wrapped, optimizer)
    checkpoint.load({"model": weights, "optimizer": state}, checkpoint_id=folder)
    set_state_dict(wrapped, optimizer, model_state_dict=weights, optim_state_dict=state)
    own = [t[sharded.rows] for t in (x, labels, mask)]
    return [step(wrapped, optimizer, own[0], sharded, *own[1:], number) for number in (2, 3)]


def refused():
    graph = PerHead([causal(NODES), BandedGraph(NODES, 2, 2)])
    sharded = shard(causal(NODES))
    own = features(NODES, 8)[sharded.rows].float()
    talking = GraphAttention(8, 4, 2, talking_heads=True)
    shown = GraphAttention(8, 4, 2)
    return [
        words_of(shard, graph),
        words_of(talking, own, sharded),
        words_of(shown, own, sharded, return_attention_weights=True),
        words_of(GATConv(8, 4, 2), own, sharded),
    ]


def check_global_attention():
    """Over the nodes of all processes, by a graph of its own; own rows alone would be another result."""
    torch.manual_seed(0)
    conv = GPSConv(8, GraphAttention(8, 4, 2), heads=2).double().eval()
    whole, every, x = BandedGraph(NODES, 2, 2), CompleteGraph(NODES), features(NODES, 8)
    local, far = shard(whole), shard(every)
    out = conv(x[local.rows], local, graph=far)
    torch.testing.assert_close(out, conv(x, whole, graph=every)[local.rows], rtol=0, atol=1e-12)
    by_node = GPSConv(8, GraphAttention(8, 4, 2), heads=2, norm="layer_norm", norm_kwargs={"mode": "node"}).double()
    out = by_node(x[local.rows], local, graph=far)
    torch.testing.assert_close(out, by_node(x, whole, graph=every)[local.rows], rtol=0, atol=1e-12)
    by_graph = GPSConv(8, GraphAttention(8, 4, 2), heads=2, norm="layer_norm").double()
    return words_of(conv, x[local.rows], local), words_of(by_graph, x[local.rows], local, graph=far)


def check_language_of_tokens():
    """What the message says in the place of a LanguageModel."""
    torch.manual_seed(0)
    model = LanguageModel(9, 8, num_layers=1, heads=2).eval()
    tokens, two_texts = torch.arange(NODES) % 9, causal([5, NODES - 5])
    graph = shard(two_texts)
    x = model.embedding(tokens[graph.rows], positions_of(graph)[1])
    out = model.lin_out(model.decoder(x, graph))
    torch.testing.assert_close(out, model(tokens, two_texts)[graph.rows], rtol=0, atol=1e-5)
    return words_of(model, tokens[graph.rows], graph)
