import pytest
import torch
from torch_geometric.nn import MaxAggregation

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, attend, causal
from graphattn.nn import GraphAttention, Softmax
from graphattn.nn.equivalences.multihead import from_attn_mask, from_multihead, to_multihead
from graphattn.testing.cases import banded_edges
from tests.nn.peer import LOSSES
from tests.nn.spoiled import WAYS


def close(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def make(**options):
    torch.manual_seed(0)
    mha = torch.nn.MultiheadAttention(24, 4, batch_first=True, **options).double().eval()
    for parameter in mha.parameters():  # its biases start at 0
        torch.nn.init.normal_(parameter, std=0.3)
    return mha


def blocked_off(edges, num_queries, num_keys):
    """torch's mask: True where there is no edge."""
    mask = torch.ones(num_queries, num_keys, dtype=torch.bool)
    for key, query in edges:
        mask[query, key] = False
    return mask


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kdim", [24, 10])
def test_equals_multihead_attention_there_and_back(bias, kdim):
    mha = make(bias=bias, kdim=kdim, vdim=kdim, dropout=0.3)
    layer = from_multihead(mha)
    query, memory = (torch.randn(n, size, dtype=torch.float64, requires_grad=True) for n, size in ((7, 24), (9, kdim)))
    found = layer((memory, query), CompleteGraph(7, 9))
    wanted = mha(query[None], memory[None], memory[None])[0][0]
    close(found, wanted)
    for loss in LOSSES.values():
        grads = (torch.autograd.grad(loss(out), [query, memory], retain_graph=True) for out in (found, wanted))
        for one, other in zip(*grads):
            close(one, other)
    back = to_multihead(layer)
    assert back.dropout == 0.3 and not back.training
    for name, parameter in mha.state_dict().items():
        assert torch.equal(parameter, back.state_dict()[name]), name


@pytest.mark.parametrize("kdim", [24, 10])
def test_dtypes_frozen_weights_and_modes_are_kept_both_ways(kdim):
    mha = torch.nn.MultiheadAttention(24, 4, 0.25, kdim=kdim, vdim=kdim).bfloat16().requires_grad_(False)
    mha.out_proj.float().requires_grad_(True)
    layer = from_multihead(mha)
    back = to_multihead(layer)
    for name, parameter in mha.named_parameters():
        again = back.get_parameter(name)
        assert torch.equal(again, parameter) and again.dtype == parameter.dtype, name
        assert again.requires_grad == parameter.requires_grad, name
    assert layer.training and back.training and layer.dropout == back.dropout == 0.25
    assert layer.lin_out.weight.requires_grad and not layer.lin_key.weight.requires_grad


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("part", ["", "out_proj"])
def test_what_would_be_lost_is_refused(part, way):
    mha = make()
    spoil, reason = WAYS[way]
    spoil(mha.get_submodule(part))
    with pytest.raises(ValueError, match=f"'mha.*' {reason}"):
        from_multihead(mha)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("part", ["", "lin_query", "lin_key", "lin_value", "lin_out"])
def test_what_would_be_lost_on_the_way_back_is_refused(part, way):
    layer = from_multihead(make())
    spoil, reason = WAYS[way]
    spoil(layer.get_submodule(part))
    with pytest.raises(ValueError, match=f"'{part or 'layer'}' {reason}"):
        to_multihead(layer)


def test_one_parameter_of_torch_cannot_be_frozen_in_part():
    layer = from_multihead(make())
    layer.lin_key.weight.requires_grad_(False)
    with pytest.raises(ValueError, match="weights of queries, keys and values are one parameter"):
        to_multihead(layer)
    layer = from_multihead(make())
    layer.lin_key.weight = layer.lin_query.weight
    with pytest.raises(ValueError, match="share their weights"):
        to_multihead(layer)
    layer = from_multihead(make())
    layer.lin_key.bias = None
    with pytest.raises(ValueError, match="only some of its queries, keys and values have an offset"):
        to_multihead(layer)


def test_messages_of_another_kind_are_no_multihead():
    for change in (
        lambda layer: layer.register_message_forward_hook(lambda *_: None),
        lambda layer: setattr(layer, "aggr_module", MaxAggregation()),
        lambda layer: setattr(layer, "flow", "target_to_source"),
    ):
        layer = from_multihead(make())
        change(layer)
        with pytest.raises(ValueError, match="messages are watched or changed"):
            to_multihead(layer)


@pytest.mark.parametrize("before, after", [(2, 0), (1, 3), (8, 8)])
def test_truncated_attention_is_a_band_of_the_complete_graph(before, after):
    mha = make()
    x = torch.randn(9, 24, dtype=torch.float64)
    mask = blocked_off(banded_edges(9, 9, before, after), 9, 9)
    wanted = mha(x[None], x[None], x[None], attn_mask=mask)[0][0]
    layer, band = from_multihead(mha), BandedGraph(9, before, after)
    assert from_attn_mask(mask) == band.normal_form()
    close(layer(x, band), wanted)
    bias = torch.zeros(81, dtype=torch.float64).masked_fill(mask.flatten(), -torch.inf)
    close(layer(x, CompleteGraph(9), edge_bias=bias), wanted)
    query, key, value = layer.project(x, x)
    close(attend(query, key, value, band), attend(query, key, value, CompleteGraph(9), bias=bias))


def test_masks_become_the_plainest_graph():
    assert from_attn_mask(torch.zeros(3, 5)) == CompleteGraph(3, 5)
    assert from_attn_mask(torch.ones(6, 6, dtype=torch.bool).triu(1)) == causal(6).normal_form()
    lower_right = blocked_off(banded_edges(4, 7, 2, 0, offset=3), 4, 7)
    assert from_attn_mask(lower_right) == BandedGraph(4, 2, 0, num_keys=7, offset=3).normal_form()
    edges = [(2, 0), (0, 1), (3, 1)]
    for mask in (blocked_off(edges, 3, 4), torch.zeros(3, 4).masked_fill(blocked_off(edges, 3, 4), -torch.inf)):
        graph = from_attn_mask(mask)
        assert isinstance(graph, EdgeListGraph)
        assert torch.equal(graph.mask(), ~blocked_off(edges, 3, 4))
    assert from_attn_mask(torch.ones(2, 3, dtype=torch.bool)).num_edges == 0


def test_bad_input():
    with pytest.raises(TypeError, match="got Linear"):
        from_multihead(torch.nn.Linear(3, 3))
    with pytest.raises(ValueError, match="kdim=24 and vdim=8"):
        from_multihead(make(vdim=8))
    with pytest.raises(ValueError, match="no nodes"):
        from_multihead(make(add_zero_attn=True))
    for mask in (None, CompleteGraph(3), [[True]]):
        with pytest.raises(TypeError, match=rf"'attn_mask' must be a tensor .* \(got {type(mask).__name__}\)"):
            from_attn_mask(mask)
    with pytest.raises(TypeError, match="bool or floating.*got torch.int64"):
        from_attn_mask(torch.zeros(2, 2, dtype=torch.long))
    with pytest.raises(ValueError, match="0 and -inf only"):
        from_attn_mask(torch.full((2, 2), 0.5))
    with pytest.raises(ValueError, match=r"got \[2, 2, 2\]"):
        from_attn_mask(torch.zeros(2, 2, 2))


@pytest.mark.parametrize(
    "options, reason",
    [
        ({"score": "additive"}, "score is 'additive'"),
        ({"normalizer": "relu"}, "normalizer"),
        ({"scale": 1.0}, "scale is 1.0"),
        ({"kv_heads": 2}, "2 key heads for 4"),
        ({"edge_dim": 3}, "edge features"),
        ({"edge_bias": torch.nn.Identity()}, "bias of its own"),
        ({"project_out": False}, "no 'project_out'"),
        ({"concat": False}, "mean of its heads"),
        ({"in_channels": 9}, "9 features, not 24"),
        ({"sink": True}, "has a sink"),
        ({"normalizer": Softmax(sink=0.0)}, "normalizer is Softmax"),
        ({"gate": True}, "has a gate"),
        ({"talking_heads": True}, "has talking heads"),
        ({"share_weights": True}, "share their weights"),
    ],
)
def test_why_a_layer_is_no_multihead(options, reason):
    options = {"in_channels": 24, "out_channels": 6, "heads": 4, "project_out": True} | options
    with pytest.raises(ValueError, match=reason):
        to_multihead(GraphAttention(**options))
