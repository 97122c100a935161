import pytest
import torch
from torch_geometric.nn import GCNConv, MaxAggregation, SimpleConv

from graphattn import BandedGraph, EdgeListGraph
from graphattn.nn.equivalences.averaging import AveragingAttention
from graphattn.testing.cases import REPEATED, SQUARE, banded_edges
from tests.nn.peer import LOSSES
from tests.nn.spoiled import WAYS


def close(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def inputs(edges, num_nodes=5):
    torch.manual_seed(0)
    x = torch.randn(num_nodes, 4, dtype=torch.float64, requires_grad=True)
    weight = (torch.rand(len(edges), dtype=torch.float64) + 0.1).requires_grad_()
    return x, weight, torch.tensor(edges).t()


@pytest.mark.parametrize("add_self_loops", [True, False])
@pytest.mark.parametrize("is_weighted", [True, False])
@pytest.mark.parametrize("edges", [SQUARE, [edge for edge in REPEATED if edge[0] != edge[1]]])
def test_equals_gcn_there_and_back(edges, is_weighted, add_self_loops):
    x, weight, edge_index = inputs(edges)
    conv = GCNConv(4, 3, add_self_loops=add_self_loops).double()
    torch.nn.init.normal_(conv.bias)
    layer = AveragingAttention.from_gcn(conv)
    given = weight if is_weighted else None
    found, wanted = layer(x, edge_index, given), conv(x, edge_index, given)
    close(found, wanted)
    close(layer.to_gcn()(x, edge_index, given), wanted)
    leaves = [x, weight] if is_weighted else [x]
    for loss in LOSSES.values():
        for one, other in zip(*(torch.autograd.grad(loss(out), leaves, retain_graph=True) for out in (found, wanted))):
            close(one, other)


@pytest.mark.parametrize("is_weighted", [True, False])
def test_of_several_self_loops_gcn_keeps_the_last(is_weighted):
    x, weight, edge_index = inputs([(0, 1), (1, 1), (1, 2), (3, 3), (1, 1), (1, 1), (2, 0), (2, 0)])
    conv = GCNConv(4, 3).double()
    given = weight.detach() if is_weighted else None
    found, wanted = AveragingAttention.from_gcn(conv)(x, edge_index, given), conv(x, edge_index, given)
    close(found, wanted)
    close(*(torch.autograd.grad(out.square().sum(), x)[0] for out in (found, wanted)))


def test_dtypes_frozen_weights_and_modes_are_kept_both_ways():
    conv = GCNConv(4, 3).bfloat16().eval()
    conv.lin.requires_grad_(False)
    conv.bias.data = conv.bias.data.float()
    for layer in (AveragingAttention.from_gcn(conv), AveragingAttention.from_gcn(conv).to_gcn()):
        assert (layer.lin.weight.dtype, layer.bias.dtype) == (torch.bfloat16, torch.float32)
        assert not layer.lin.weight.requires_grad and layer.bias.requires_grad and not layer.training
        assert torch.equal(layer.lin.weight, conv.lin.weight) and layer.lin.weight is not conv.lin.weight


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("part", ["", "lin"])
def test_what_would_be_lost_is_refused(part, way):
    conv, layer = GCNConv(4, 3), AveragingAttention(4, 3)
    spoil, reason = WAYS[way]
    for module, read in ((conv, AveragingAttention.from_gcn), (layer, AveragingAttention.to_gcn)):
        spoil(module.get_submodule(part))
        with pytest.raises(ValueError, match=reason):
            read(module)


def test_convolutions_of_another_kind_are_refused():
    changes = (
        lambda conv: setattr(conv, "aggr_module", MaxAggregation()),
        lambda conv: setattr(conv, "message", lambda x_j, edge_weight: x_j),
        lambda conv: conv.register_propagate_forward_hook(lambda *_: None),
    )
    convs = [GCNConv(4, 3) for _ in changes] + [GCNConv(4, 3, aggr="mean"), GCNConv(4, 3, flow="target_to_source")]
    for conv, change in zip(convs, changes):
        change(conv)
    for conv in [*convs, GCNConv(4, 3, normalize=False), GCNConv(-1, 3)]:
        with pytest.raises(ValueError, match="'conv.*'"):
            AveragingAttention.from_gcn(conv)
    with pytest.raises(TypeError, match="'conv' must be torch_geometric's GCNConv .got SimpleConv"):
        AveragingAttention.from_gcn(SimpleConv("mean"))


def test_mean_equals_the_mean_of_the_neighbours():
    x, weight, edge_index = inputs(REPEATED)
    layer = AveragingAttention(4, 3, "mean", add_self_loops=False, bias=False).double()
    close(layer(x, edge_index), SimpleConv("mean")(layer.lin(x), edge_index))
    projected, found = layer.lin(x), layer(x, edge_index, weight)
    for node in range(5):
        into = [number for number, (_, target) in enumerate(REPEATED) if target == node]
        terms = [weight[number] * projected[REPEATED[number][0]] for number in into]
        close(found[node], sum(terms) / sum(weight[into]) if into else torch.zeros_like(found[node]))


def test_an_edge_of_weight_0_is_none_and_leaves_the_gradients_finite():
    x, weight, edge_index = inputs(SQUARE)
    weight = weight.detach().index_fill(0, torch.tensor([0]), 0.0).requires_grad_()
    layer = AveragingAttention(4, 3, "mean", add_self_loops=False).double()
    found = layer(x, edge_index, weight)
    close(found, layer(x, edge_index[:, 1:], weight[1:]))
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(found, [x, weight], torch.randn_like(found)))


def test_graphs_that_are_formulas():
    x, _, _ = inputs(banded_edges(5, 5, 1, 1))
    edge_index = torch.tensor(banded_edges(5, 5, 1, 1)).t()
    layer = AveragingAttention(4, 3).double()
    close(layer(x, BandedGraph(5, 1, 1)), layer.to_gcn()(x, edge_index))


def test_bad_input():
    x, weight, edge_index = inputs(SQUARE)
    layer = AveragingAttention(4, 3, "mean").double()
    with pytest.raises(ValueError, match=r"must be \[6\] \(got \[5\]\)"):
        layer(x, edge_index, weight[:5])
    with pytest.raises(ValueError, match="must not be negative"):
        layer(x, edge_index, weight - 5)
    with pytest.raises(ValueError, match="one of"):
        AveragingAttention(4, 3, "max")
    with pytest.raises(ValueError, match="'sym' .got 'mean'"):
        layer.to_gcn()
    with pytest.raises(ValueError, match="improved=False"):
        AveragingAttention.from_gcn(GCNConv(4, 3, improved=True))
    assert layer(x[:0], EdgeListGraph(edge_index[:, :0], 0)).shape == (0, 3)
