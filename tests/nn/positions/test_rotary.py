import cmath

import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, GridGraph, causal
from graphattn.nn import GraphAttention, RotaryPositions


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def test_equals_complex_rotation_on_every_axis():
    torch.manual_seed(0)
    x, pos = random(5, 2, 14), 10 * random(5, 3)
    turned = RotaryPositions(max_period=300.0)(x, pos)
    for node in range(5):
        for head in range(2):
            for axis in range(3):
                for pair in range(2):
                    place = axis * 4 + 2 * pair
                    number = complex(*x[node, head, place : place + 2].tolist())
                    number *= cmath.exp(1j * pos[node, axis].item() / 300.0 ** (pair / 2))
                    wanted = torch.tensor([number.real, number.imag], dtype=torch.float64)
                    torch.testing.assert_close(turned[node, head, place : place + 2], wanted)
    assert torch.equal(turned[..., 12:], x[..., 12:])


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_scores_do_not_change_when_all_nodes_move(axes):
    torch.manual_seed(0)
    layer = GraphAttention(8, 6, heads=2, positions=RotaryPositions()).double()
    x, pos, shift = random(7, 8), 5 * random(7, axes), random(axes)
    graph = EdgeListGraph(torch.randint(7, (2, 20)), 7)
    out = layer(x, graph, pos=pos)
    torch.testing.assert_close(layer(x, graph, pos=pos + shift), out, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(layer(x, graph, pos=pos * 1.5), out)


def test_positions_count_inside_each_example():
    torch.manual_seed(0)
    layer = GraphAttention(8, 6, heads=2, positions=RotaryPositions()).double()
    x = random(9, 8)
    parts = [layer(x[:4], causal(4)), layer(x[4:], causal(5))]
    torch.testing.assert_close(layer(x, causal([4, 5])), torch.cat(parts), rtol=1e-10, atol=1e-10)


def test_a_path_graph_equals_the_sequence():
    torch.manual_seed(0)
    layer = GraphAttention(8, 6, heads=2, positions=RotaryPositions()).double()
    x, order = random(6, 8), torch.randperm(6)
    graph = EdgeListGraph(order[causal(6).edge_index()], 6)  # node order[i] is the i-th of the path
    there = torch.empty_like(x).index_copy(0, order, x)
    pos = torch.empty_like(order).index_copy(0, order, torch.arange(6))
    out = layer(there, graph, pos=pos)
    torch.testing.assert_close(out[order], layer(x, causal(6)), rtol=1e-10, atol=1e-10)


def test_grids_turn_by_their_coordinates():
    torch.manual_seed(0)
    layer = GraphAttention(8, 8, positions=RotaryPositions()).double()
    x, graph = random(12, 8), GridGraph((3, 4), 1)
    pos = torch.tensor([[i, j] for i in range(3) for j in range(4)])
    torch.testing.assert_close(layer(x, graph), layer(x, EdgeListGraph(graph.edge_index(), 12), pos=pos))


def test_only_positions_tell_nodes_apart():
    torch.manual_seed(0)
    x, order = random(6, 8), torch.tensor([3, 0, 5, 1, 2, 4])
    plain = GraphAttention(8, 6, heads=2).double()
    torch.testing.assert_close(plain(x[order], CompleteGraph(6)), plain(x, CompleteGraph(6))[order])
    turned = GraphAttention(8, 6, heads=2, positions=RotaryPositions()).double()
    assert not torch.allclose(turned(x[order], CompleteGraph(6)), turned(x, CompleteGraph(6))[order], atol=1e-3)


def test_gradients():
    torch.manual_seed(0)
    x, pos = random(3, 2, 6).requires_grad_(), random(3, 1).requires_grad_()
    assert torch.autograd.gradcheck(RotaryPositions(), (x, pos))


def test_far_positions_in_half_precision():
    x = torch.randn(2, 1, 4).bfloat16()
    pos = torch.tensor([300, 301])
    wanted = RotaryPositions()(x.float(), pos)
    torch.testing.assert_close(RotaryPositions()(x, pos).float(), wanted, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_angles_are_never_half_precision(dtype):
    x, pos = torch.randn(2, 1, 8).to(dtype), torch.tensor([1000, 1016])  # both are numbers of half precision
    assert torch.equal(RotaryPositions()(x, pos.to(dtype)), RotaryPositions()(x, pos))
    assert torch.equal(RotaryPositions()(x, pos), RotaryPositions()(x.float(), pos).to(dtype))


@pytest.mark.parametrize("offset", [0, 4])
def test_queries_beside_a_cache_start_at_the_offset(offset):
    torch.manual_seed(0)
    layer = GraphAttention((8, 8), 6, heads=2, positions=RotaryPositions()).double()
    x = random(9 + offset, 8)
    graph = BandedGraph([3 + offset, 2], None, 0, num_keys=[4 + offset, 5], offset=[1, 3])
    found = layer((x, torch.cat([x[1 : 4 + offset], x[-2:]])), graph)
    wanted = layer((x, x), causal([4 + offset, 5]))
    torch.testing.assert_close(found, torch.cat([wanted[1 : 4 + offset], wanted[-2:]]), rtol=1e-10, atol=1e-10)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"'pos' must be \[4\] .*got \[3, 1\]"):
        RotaryPositions()(torch.zeros(4, 1, 6), torch.zeros(3))
    with pytest.raises(ValueError, match="two channels for each of the 3 axes .got 4"):
        RotaryPositions()(torch.zeros(4, 1, 4), torch.zeros(4, 3))
    with pytest.raises(ValueError, match="above 1 .got 1"):
        RotaryPositions(1)


def test_a_graph_is_not_turned():
    with pytest.raises(
        TypeError, match=r"'x' must be a tensor of queries or keys \[num_nodes, heads, dim\] .got BandedGraph"
    ):
        RotaryPositions()(causal(3), torch.arange(3))
