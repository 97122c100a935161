"""GPSConv against PyG's."""

import copy
import pickle

import pytest
import torch
import torch_geometric.nn as pyg

from graphattn import BandedGraph, CompleteGraph
from graphattn.graphs import bigbird
from graphattn.nn import GATConv, GPSConv, gps_conv
from tests.nn.peer import TOLERANCE, assert_same_layers, random_graph

OPTIONS = [
    {},
    {"norm": None},
    {"norm": "layer_norm", "act": "gelu"},
    {"norm": "graph_norm"},
    {"attn_kwargs": {"bias": False}},
    {"attn_kwargs": {"add_bias_kv": True}},
    {"attn_kwargs": {"add_zero_attn": True}},
    {"attn_type": "performer", "attn_kwargs": {"head_channels": 4}},
]
BATCH = torch.tensor([0, 0, 0, 1, 3, 3, 3, 3])  # a single node, and an example without nodes


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def gps_twins(dtype=torch.float64, conv=pyg.GATConv, **options):
    own_conv = {pyg.GATConv: GATConv}.get(conv, conv)
    peer = pyg.GPSConv(8, None if conv is None else conv(8, 8, edge_dim=3), heads=2, **options).to(dtype)
    own = GPSConv(8, None if conv is None else own_conv(8, 8, edge_dim=3), heads=2, **options).to(dtype)
    own.load_state_dict(peer.state_dict())
    return peer, own


def inputs_of(dtype=torch.float64):
    edge_index = torch.cat([random_graph(3, 3, 6), random_graph(4, 4, 8) + 4], 1)
    return torch.randn(8, 8, dtype=dtype), edge_index, torch.randn(edge_index.size(1), 3, dtype=dtype)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_equals_pyg_on_one_graph(options, dtype):
    peer, own = gps_twins(dtype, **options)
    x, edge_index, edge_attr = inputs_of(dtype)
    for mode in (True, False):
        peer.train(mode), own.train(mode)
        assert_same_layers(peer, own, x, edge_index, edge_attr=edge_attr, tolerance=TOLERANCE[dtype])


@pytest.mark.parametrize("options", [x for x in OPTIONS if x.get("attn_type") != "performer"], ids=str)
def test_equals_pyg_on_a_batch(options):
    peer, own = gps_twins(**options)
    x, edge_index, edge_attr = inputs_of()
    assert_same_layers(peer, own, x, edge_index, BATCH, edge_attr=edge_attr)
    peer, own = gps_twins(conv=None, **options)
    assert_same_layers(peer, own, x, edge_index, BATCH)


def test_performer_gives_a_graph_in_a_batch_what_it_has_alone():
    peer, own = gps_twins(attn_type="performer", norm=None)
    x, edge_index, edge_attr = inputs_of()
    out = own(x, edge_index, BATCH, edge_attr=edge_attr)
    last = edge_index[0] >= 4
    alone = peer(x[4:], edge_index[:, last] - 4, edge_attr=edge_attr[last])
    torch.testing.assert_close(out[4:], alone)
    leaky = peer(x, edge_index, BATCH, edge_attr=edge_attr)
    assert not torch.allclose(leaky[:4], out[:4])  # PyG's padding is in the result


def test_other_global_graphs():
    _, own = gps_twins()
    x, edge_index, edge_attr = inputs_of()
    whole = own(x, edge_index, edge_attr=edge_attr)
    torch.testing.assert_close(own(x, edge_index, graph=CompleteGraph(8), edge_attr=edge_attr), whole)
    band = own(x, edge_index, graph=BandedGraph(8, 1, 1), edge_attr=edge_attr)
    assert not torch.allclose(band, whole)
    assert own(x, edge_index, graph=bigbird(8, 2, 1, 1), edge_attr=edge_attr).shape == (8, 8)
    with pytest.raises(ValueError, match="complete or causal .got BandedGraph"):
        gps_twins(attn_type="performer")[1](x, edge_index, graph=BandedGraph(8, 1, 1), edge_attr=edge_attr)


def test_forces_can_be_trained():
    """The gradient by the input is differentiated again, by the parameters; PyG raises here."""
    peer, own = gps_twins(norm="layer_norm")
    x, edge_index, edge_attr = inputs_of()
    x.requires_grad_()
    (force,) = torch.autograd.grad(own(x, edge_index, BATCH, edge_attr=edge_attr).tanh().sum(), x, create_graph=True)
    cotangent = torch.randn_like(force)
    force.backward(cotangent)
    assert own.attn.in_proj_weight.grad.abs().sum() > 0
    (force,) = torch.autograd.grad(peer(x, edge_index, BATCH, edge_attr=edge_attr).tanh().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="derivative"):
        force.backward(cotangent)
    assert torch.autograd.gradgradcheck(lambda x: own(x, edge_index, BATCH, edge_attr=edge_attr).tanh(), x)


@pytest.mark.parametrize("norm", [None, "batch_norm", "layer_norm", "graph_norm"])
@pytest.mark.parametrize("attn_type", ["multihead", "performer"])
def test_zero_nodes(attn_type, norm):
    _, own = gps_twins(attn_type=attn_type, norm=norm)
    empty = torch.empty(2, 0, dtype=torch.long)
    for batch in (None, torch.empty(0, dtype=torch.long)):
        x = torch.empty(0, 8, dtype=torch.float64, requires_grad=True)
        out = own(x, empty, batch, edge_attr=torch.empty(0, 3).double())
        out.backward(torch.randn_like(out))
        assert out.shape == x.grad.shape == (0, 8)
    assert all(buffer.isfinite().all() for buffer in own.buffers())


def test_hooks_on_the_attention_run():
    _, own = gps_twins()
    x, edge_index, edge_attr = inputs_of()
    wanted, seen = own(x, edge_index, BATCH, edge_attr=edge_attr), []
    handle = own.attn.register_forward_hook(lambda module, inputs, out: seen.append(out))
    torch.testing.assert_close(own(x, edge_index, BATCH, edge_attr=edge_attr), wanted)
    assert seen
    handle.remove()


def test_hooks_see_attention_as_pyg_calls_it():
    peer, own = gps_twins()
    x, edge_index, edge_attr = inputs_of()
    batch, seen = torch.tensor([0, 0, 0, 1, 2, 2, 2, 2]), {peer: [], own: []}
    for layer in (peer, own):
        layer.attn.register_forward_pre_hook(
            lambda module, inputs, given, layer=layer: seen[layer].append((*inputs, given["key_padding_mask"])),
            with_kwargs=True,
        )
        layer.attn.register_forward_hook(lambda module, inputs, out: (out[0].tanh(), out[1]))
    assert_same_layers(peer, own, x, edge_index, batch, edge_attr=edge_attr)
    for found, wanted in zip(seen[own][0], seen[peer][0], strict=True):
        assert torch.equal(found, wanted)
    out = own(x, edge_index, BATCH, edge_attr=edge_attr)  # an example without nodes: NaN for PyG
    assert all(x.isfinite().all() for x in torch.autograd.grad(out.sum(), list(own.parameters())))


def test_hooks_on_gradients_of_the_attention_run():
    _, own = gps_twins()
    x, edge_index, edge_attr = inputs_of()
    seen = []
    own.attn.register_full_backward_hook(lambda *_: seen.append(1))
    own(x.requires_grad_(), edge_index, BATCH, edge_attr=edge_attr).sum().backward()
    assert seen


class Doubled(torch.nn.MultiheadAttention):
    def forward(self, query, key, value, key_padding_mask=None, **options):
        out, weights = super().forward(query, key, value, key_padding_mask=key_padding_mask, **options)
        return out * (1 + key_padding_mask.sum(1))[:, None, None], weights


def of_a_subclass(attention):
    attention.__class__ = Doubled


def with_another_last_map(attention):
    """torch reads its weights and never calls it."""
    attention.out_proj.register_forward_hook(lambda *_: 1 / 0)


@pytest.mark.parametrize("change", [of_a_subclass, with_another_last_map])
def test_attention_with_a_forward_pass_of_its_own(change):
    peer, own = gps_twins()
    change(peer.attn), change(own.attn)
    x, edge_index, edge_attr = inputs_of()
    batch = torch.tensor([0, 0, 0, 1, 2, 2, 2, 2])
    assert_same_layers(peer, own, x, edge_index, batch, edge_attr=edge_attr)


def test_a_forward_pass_set_on_the_attention():
    peer, own = gps_twins()
    x, edge_index, edge_attr = inputs_of()
    for layer in (peer, own):
        layer.attn.forward = lambda query, key, value, **_: (value.tanh(), None)
    assert_same_layers(peer, own, x, edge_index, edge_attr=edge_attr)


def test_a_projection_of_performer_with_a_forward_pass_of_its_own():
    peer, own = gps_twins(attn_type="performer", attn_kwargs={"head_channels": 4})
    x, edge_index, edge_attr = inputs_of()
    for layer in (peer, own):
        layer.attn.fast_attn.forward = lambda q, k, v: v.tanh()
    assert_same_layers(peer, own, x, edge_index, edge_attr=edge_attr)


def test_dropout_of_weights_repeats_by_seed():
    _, own = gps_twins(norm=None, attn_kwargs={"dropout": 0.5})
    x, edge_index, edge_attr = inputs_of()
    outs = []
    for _ in range(2):
        torch.manual_seed(3)
        outs.append(own(x, edge_index, BATCH, edge_attr=edge_attr))
    torch.testing.assert_close(*outs)
    assert not torch.allclose(own.eval()(x, edge_index, BATCH, edge_attr=edge_attr), outs[0])


def test_state_dict_both_ways_copies_and_text():
    peer, own = gps_twins()
    assert list(peer.state_dict()) == list(own.state_dict())
    peer.load_state_dict(own.state_dict())
    assert repr(own) == repr(peer)
    x, edge_index, edge_attr = inputs_of()
    for copied in (copy.deepcopy(own), pickle.loads(pickle.dumps(own))):
        torch.testing.assert_close(copied(x, edge_index, edge_attr=edge_attr), own(x, edge_index, edge_attr=edge_attr))
    own.reset_parameters()


def test_a_batch_is_counted_once_and_again_when_it_is_written(monkeypatch):
    counted, count = [], gps_conv.count_examples
    monkeypatch.setattr(gps_conv, "count_examples", lambda batch: (counted.append(1), count(batch))[1])
    _, own = gps_twins(norm="layer_norm")
    x, edge_index, edge_attr = inputs_of()
    batch = BATCH.clone()
    outs = [own(x, edge_index, batch, edge_attr=edge_attr) for _ in range(3)]
    assert len(counted) == 1 and torch.equal(outs[0], outs[2])
    batch[2] = 1
    written = own(x, edge_index, batch, edge_attr=edge_attr)
    assert len(counted) == 2 and torch.equal(written, own(x, edge_index, batch.clone(), edge_attr=edge_attr))
    batch[2] = 4
    with pytest.raises(ValueError, match="must ascend"):
        own(x, edge_index, batch, edge_attr=edge_attr)


def test_bad_input():
    _, own = gps_twins()
    x, edge_index, edge_attr = inputs_of()
    with pytest.raises(ValueError, match="'batch' must ascend"):
        own(x, edge_index, BATCH.flip(0), edge_attr=edge_attr)
    with pytest.raises(ValueError, match=r"\[8\] \(got torch.int64 \[7\]\)"):
        own(x, edge_index, BATCH[1:], edge_attr=edge_attr)


@pytest.mark.parametrize("batch", [CompleteGraph(8), [0] * 8])
def test_a_batch_that_is_no_tensor(batch):
    _, own = gps_twins(conv=None)
    with pytest.raises(TypeError, match=rf"'batch' must be a tensor .* \(got {type(batch).__name__}\).*as 'graph'"):
        own(inputs_of()[0], None, batch=batch)
