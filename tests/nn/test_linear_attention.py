import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, causal
from graphattn.nn.linear_attention import LinearAttention, linear_attend, linear_attend_step
from graphattn.testing.cases import complete_edges

RAGGED = [5, 0, 1, 9]


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def tensors(num_queries, num_keys=None):
    torch.manual_seed(0)
    num_keys = num_queries if num_keys is None else num_keys
    return [random(num_queries, 3, 4), random(num_keys, 3, 4), random(num_keys, 3, 5)]


def by_loops(query, key, value, edges):
    """Katharopoulos et al. 2020, eq. 3, one query and one head at a time."""

    def feature(x):
        return torch.where(x > 0, x + 1, x.exp())

    out = []
    for i in range(query.size(0)):
        seen = [j for j, target in edges if target == i]
        for h in range(query.size(1)):
            weights = [feature(query[i, h]) @ feature(key[j, h]) for j in seen]
            terms = [weight * value[j, h] for weight, j in zip(weights, seen)]
            out.append(sum(terms) / sum(weights) if seen else value.new_zeros(value.size(2)))
    return torch.stack(out).view(query.size(0), query.size(1), -1)


def causal_edges(sizes):
    starts = [sum(sizes[:n]) for n in range(len(sizes))]
    return [(start + j, start + i) for start, size in zip(starts, sizes) for i in range(size) for j in range(i + 1)]


def check(graph, edges, num_queries, num_keys=None, **options):
    inputs = [x.requires_grad_() for x in tensors(num_queries, num_keys)]
    out, wanted = linear_attend(*inputs, graph, **options), by_loops(*inputs, edges)
    torch.testing.assert_close(out, wanted, rtol=1e-10, atol=1e-10)
    cotangent = random(*out.shape)
    for found, expected in zip(
        torch.autograd.grad(out, inputs, cotangent), torch.autograd.grad(wanted, inputs, cotangent)
    ):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("form, chunk", [("matrix", 64), ("chunks", 1), ("chunks", 4), ("chunks", 64), ("steps", 64)])
def test_causal_forms_equal_the_loops(form, chunk):
    check(causal(RAGGED), causal_edges(RAGGED), sum(RAGGED), form=form, chunk=chunk)


@pytest.mark.parametrize("form", ["matrix", "chunks", None])
def test_complete_forms_equal_the_loops(form):
    edges = complete_edges(3, 2) + [(j + 2, i + 3) for j, i in complete_edges(4, 6)]
    check(CompleteGraph([3, 4, 2, 0], [2, 6, 0, 1]), edges, 9, 9, form=form)


def test_any_graph_by_the_matrix():
    edges = [(0, 1), (2, 1), (3, 0), (1, 4), (0, 1)]
    check(EdgeListGraph(torch.tensor(edges).t(), 5, 4), edges, 5, 4)


def test_step_by_step_equals_the_whole():
    query, key, value = tensors(12)
    wanted = linear_attend(query, key, value, causal([6, 6]))
    state = None
    for node in range(6):
        rows = [node, node + 6]
        out, state = linear_attend_step(query[rows], key[rows], value[rows], state)
        torch.testing.assert_close(out, wanted[rows], rtol=1e-10, atol=1e-10)
    assert state.shape == (2, 3, 4, 6)


@pytest.mark.parametrize("form", ["matrix", "chunks", "steps"])
def test_nothing_leaks_from_later_nodes_or_other_examples(form):
    query, key, value = tensors(9)
    before = linear_attend(query, key, value, causal([4, 5]), form=form)
    value[2] = torch.nan
    key[3] = torch.inf
    query[3] = 7.0
    after = linear_attend(query, key, value, causal([4, 5]), form=form)
    assert torch.equal(before[:2], after[:2]) if form != "chunks" else torch.allclose(before[:2], after[:2], 1e-12)
    assert torch.equal(before[4:], after[4:])
    assert after[2].isnan().all()
    alone = linear_attend(query[4:], key[4:], value[4:], causal(5), form=form)
    torch.testing.assert_close(alone, before[4:], rtol=1e-12, atol=1e-12)


def test_takes_other_features_that_give_no_weight():
    query, key, value = tensors(3)
    out = linear_attend(query, key, value, causal(3), feature_map=lambda x: torch.zeros_like(x[..., :2]))
    assert torch.equal(out, torch.zeros(3, 3, 5, dtype=torch.float64))
    squares = linear_attend(query, key, value, causal(3), feature_map=torch.square)
    torch.testing.assert_close(squares[0], value[0], rtol=1e-10, atol=1e-10)


def test_half_precision_adds_up_in_float32():
    x = torch.zeros(1000, 1, 1, dtype=torch.bfloat16)  # features of 1: the mean
    value = (torch.arange(1000) >= 500).to(torch.bfloat16).view(-1, 1, 1)
    out = linear_attend(x, x, value, causal(1000), form="steps")
    assert out.dtype == torch.bfloat16 and out[-1].item() == 0.5  # in bfloat16 both sums would end at 256


@pytest.mark.parametrize("concat", [True, False])
def test_layer_equals_its_steps(concat):
    torch.manual_seed(0)
    layer = LinearAttention(6, 4, heads=3, concat=concat).double()
    x = random(10, 6)
    out, state = layer(x, causal([5, 5])), None
    assert out.shape == (10, 12 if concat else 4)
    for node in range(5):
        rows = [node, node + 5]
        step, state = layer.step(x[rows], state)
        torch.testing.assert_close(step, out[rows], rtol=1e-10, atol=1e-10)
    assert repr(layer) == "LinearAttention(6, 4, heads=3)"


def test_long_sequences_have_no_edges():
    x = torch.randn(200_000, 1, 2)
    for graph in (causal(200_000), CompleteGraph(200_000)):  # 2 or 4 x 10^10 edges
        assert linear_attend(x, x, x, graph, chunk=512).isfinite().all()


def test_bad_input():
    query, key, value = tensors(4)
    with pytest.raises(ValueError, match=r"needs a graph that is causal \(got CompleteGraph"):
        linear_attend(query, key, value, CompleteGraph(4), form="steps")
    with pytest.raises(ValueError, match=r"complete or causal \(got BandedGraph"):
        linear_attend(query, key, value, BandedGraph(4, 1, 0), form="chunks")
    with pytest.raises(ValueError, match="one of .* or None .got 'rnn'"):
        linear_attend(query, key, value, causal(4), form="rnn")
    with pytest.raises(ValueError, match="joins 5 queries"):
        linear_attend(query, key, value, causal(5))
    with pytest.raises(ValueError, match="equal heads"):
        linear_attend(query, key[:, :1], value[:, :1], causal(4))
    with pytest.raises(ValueError, match="'heads' must be at least 1"):
        LinearAttention(4, 4, heads=0)
