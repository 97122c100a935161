import pytest
import torch

from graphattn import CompleteGraph, EdgeListGraph, attend, attention_weights, causal, choose_kernel
from graphattn.formulas.normalizers import NORMALIZERS, Relu, RowNormalizer, Sigmoid, as_normalizer
from graphattn.formulas.segments import Segments
from graphattn.nn import Softmax, TopK


def softplus_shares(scores):
    """A user's normalizer: shares of log(1 + exp(score))."""
    weights = torch.nn.functional.softplus(scores)
    return weights / weights.sum(-1, keepdim=True)


ALL = [*(kind() for kind in NORMALIZERS.values()), TopK(3), as_normalizer(softplus_shares)]


def weights_of(normalizer, scores):
    """Weights of one query's edges from scores [num_edges, heads]."""
    if isinstance(normalizer, RowNormalizer):
        return normalizer.row_weights(scores, Segments(torch.zeros(len(scores), dtype=torch.long), 1))
    return normalizer.weights(scores, scores.logsumexp(0))


@pytest.mark.parametrize("normalizer", ALL, ids=lambda x: x.name)
def test_gradient_of_scores_is_that_of_the_weights(normalizer):
    torch.manual_seed(0)
    scores = torch.randn(5, 2, dtype=torch.float64).requires_grad_()
    weights = weights_of(normalizer, scores)
    grad_weights = torch.randn_like(weights)
    wanted = torch.autograd.grad(weights, scores, grad_weights)[0]
    if isinstance(normalizer, RowNormalizer):
        found = normalizer.row_grad_scores(scores, weights, grad_weights, Segments(torch.zeros(5, dtype=torch.long), 1))
    else:
        found = normalizer.grad_scores(weights, grad_weights, (weights * grad_weights).sum(0))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("normalizer", ALL, ids=lambda x: x.name)
def test_an_empty_row_has_weight_zero(normalizer):
    assert weights_of(normalizer, torch.full((2, 1), -torch.inf)).eq(0).all()


@pytest.mark.parametrize("normalizer", ["sparsemax", "entmax15", TopK(4)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_are_a_distribution_also_over_many_edges(normalizer, dtype):
    torch.manual_seed(0)
    scores = 3 * torch.randn(20_000, 2, dtype=dtype)
    scores[::3] = 0  # many ties
    weights = weights_of(as_normalizer(normalizer), scores)
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(0), torch.ones(2, dtype=dtype))


@pytest.mark.parametrize("normalizer", ["sparsemax", "entmax15", TopK(1)], ids=str)
def test_a_clear_winner_takes_all_and_equals_share(normalizer):
    normalizer = as_normalizer(normalizer)
    torch.testing.assert_close(
        weights_of(normalizer, torch.tensor([[9.0], [1.0], [2.0]])), torch.tensor([[1.0], [0], [0]])
    )
    torch.testing.assert_close(weights_of(normalizer, torch.full((4, 1), 0.7)), torch.full((4, 1), 0.25))


def test_edges_equal_to_the_last_of_the_top_are_kept():
    weights = weights_of(TopK(2), torch.tensor([[1.0], [3.0], [1.0], [0.0]]))
    torch.testing.assert_close(weights, weights_of(Softmax(), torch.tensor([[1.0], [3.0], [1.0], [-torch.inf]])))


def test_a_sink_is_one_more_key_of_value_zero():
    torch.manual_seed(0)
    query, key, value = (torch.randn(4, 2, 8, dtype=torch.float64) for _ in range(3))
    sink = torch.tensor([0.3, -2.0], dtype=torch.float64)
    scores = torch.einsum("qhc,khc->hqk", query, key) * 8**-0.5
    more = torch.cat([scores, sink[:, None, None].expand(2, 4, 1)], -1).softmax(-1)[..., :-1]
    wanted = torch.einsum("hqk,khc->qhc", more, value)
    for graph in (CompleteGraph(4), causal(4) | EdgeListGraph(CompleteGraph(4).edge_index(), 4)):
        torch.testing.assert_close(attend(query, key, value, graph, normalizer=Softmax(sink)), wanted)
    weights = attention_weights(query, key, CompleteGraph(4), normalizer=Softmax(sink))
    torch.testing.assert_close(weights, more.permute(1, 2, 0).flatten(0, 1))


def test_a_sink_keeps_the_kernel_and_enters_once_over_parts():
    union = causal(30) | EdgeListGraph(torch.tensor([[29, 28], [0, 3]]), 30)
    query = torch.randn(30, 2, 4, dtype=torch.float64, requires_grad=True)
    sink = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    assert choose_kernel(union, query, normalizer=Softmax(sink)).kernel == choose_kernel(union, query).kernel
    found = []
    for kernel in (None, "reference"):
        out = attend(query, query, query, union, normalizer=Softmax(sink), kernel=kernel)
        torch.manual_seed(1)
        found.append([out, *torch.autograd.grad(out, [query, sink], torch.randn_like(out))])
    for actual, wanted in zip(*found, strict=True):
        torch.testing.assert_close(actual, wanted)


def test_a_sink_of_a_batch_of_heads_and_as_a_number():
    torch.manual_seed(0)
    query = torch.randn(3, 5, 2, 4)
    sink = torch.tensor([1.0, -1.0])
    together = attend(query, query, query, causal(5), normalizer=Softmax(sink))
    torch.testing.assert_close(together[1], attend(*[query[1]] * 3, causal(5), normalizer=Softmax(sink)))
    number = attend(query, query, query, causal(5), normalizer=Softmax(1.0))
    torch.testing.assert_close(number[..., 0, :], together[..., 0, :])


def test_names_and_objects():
    assert as_normalizer("relu") == Relu()
    assert as_normalizer(Sigmoid(scale_by_degree=True)).scale_by_degree
    with pytest.raises(ValueError, match="got 'hardmax'"):
        as_normalizer("hardmax")
    with pytest.raises(ValueError, match="got 0"):
        TopK(0)
    with pytest.raises(ValueError, match="got inf"):
        Softmax(float("inf"))
    with pytest.raises(ValueError, match=r"\[2\] .got \[3\]"):
        attend(*[torch.ones(4, 2, 3)] * 3, causal(4), normalizer=Softmax(torch.zeros(3)))


# Functions of the user ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["edges_torch", "reference"])
def test_a_function_sees_the_scores_of_a_row(kernel):
    """Degrees 0, 1, 2 and 4, a repeated edge, an edge that a bias takes away in one head; against a loop."""
    torch.manual_seed(0)
    edges = [(0, 1), (2, 2), (1, 2), (3, 4), (0, 4), (3, 4), (2, 4)]
    graph = EdgeListGraph(torch.tensor(edges).T, 5)
    query, key, value = (torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(3))
    bias = torch.randn(7, 2, dtype=torch.float64)
    bias[4, 1] = bias[0, 0] = -torch.inf
    bias.requires_grad_()
    out = attend(query, key, value, graph, bias=bias, normalizer=softplus_shares, kernel=kernel)
    rows = []
    for node in range(5):
        for head in range(2):
            seen = [n for n, (_, to) in enumerate(edges) if to == node and bias[n, head] > -torch.inf]
            total = value.new_zeros(3)
            if seen:
                scores = [query[node, head] @ key[edges[n][0], head] * 3**-0.5 + bias[n, head] for n in seen]
                weights = softplus_shares(torch.stack(scores))
                total = sum(weight * value[edges[n][0], head] for weight, n in zip(weights, seen))
            rows.append(total)
    wanted = torch.stack(rows).view(5, 2, 3)
    torch.testing.assert_close(out, wanted)
    inputs, grad = (query, key, value, bias), torch.randn_like(out)
    for found, expected in zip(torch.autograd.grad(out, inputs, grad), torch.autograd.grad(wanted, inputs, grad)):
        torch.testing.assert_close(found, expected)


def test_a_function_is_differentiated_twice():
    query, key, value = (torch.randn(4, 1, 2, dtype=torch.float64, requires_grad=True) for _ in range(3))
    run = lambda *tensors: attend(*tensors, causal(4), normalizer=softplus_shares)  # noqa: E731
    assert torch.autograd.gradcheck(run, (query, key, value)) and torch.autograd.gradgradcheck(run, (query, key, value))


def test_softmax_as_a_function_is_softmax_everywhere():
    from graphattn.nn import GraphAttention

    torch.manual_seed(0)
    x, graph = torch.randn(9, 6), EdgeListGraph(torch.randint(9, (2, 30)), 9)
    layer = GraphAttention(6, 4, heads=2)
    other = GraphAttention(6, 4, heads=2, normalizer=lambda scores: scores.softmax(-1))
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(other(x, graph), layer(x, graph))
    found, expected = (each(x, graph, return_attention_weights=True)[1][1] for each in (other, layer))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.compile(other, backend="aot_eager")(x, graph), layer(x, graph))


def test_a_function_must_give_a_weight_for_each_score():
    x = torch.randn(3, 1, 2)
    with pytest.raises(ValueError, match=r"a weight for each score \[1, 2\] \(got \[1\]\)"):
        attend(x, x, x, causal(3), normalizer=lambda scores: scores.sum(-1))
    with pytest.raises(ValueError, match="'normalizer' must be one of"):
        attend(x, x, x, causal(3), normalizer=Softmax)
    temperature = torch.ones((), requires_grad=True)
    with pytest.raises(ValueError, match="closes over a tensor that needs a gradient"):
        attend(x, x, x, causal(3), normalizer=lambda scores: (scores / temperature).softmax(-1))


def test_a_normalizer_of_ones_own_has_a_name_and_says_how_parts_merge():
    x = torch.randn(3, 1, 2)

    class Own(RowNormalizer):
        def row_weights(self, scores, rows):
            return scores

    with pytest.raises(ValueError, match="Own needs a 'name' of its own, .*got None"):
        attend(x, x, x, causal(3), normalizer=Own())
    Own.name = "softmax"
    with pytest.raises(ValueError, match="got 'softmax'"):
        attend(x, x, x, causal(3), normalizer=Own())
    Own.name, Own.merge = "own", "add"
    with pytest.raises(ValueError, match=r"'merge' of Own must be one of \['lse', 'sum', None\] \(got 'add'\)"):
        attend(x, x, x, causal(3), normalizer=Own())
