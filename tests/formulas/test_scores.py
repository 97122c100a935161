import numpy as np
import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, attend, causal, choose_kernel, memory_budget
from graphattn.kernels.budget import current_budget
from graphattn.nn import Additive, Bilinear, Cosine, Custom, Dot, Gat, Gaussian, Score, Softmax


def test_additive_by_its_formula():
    torch.manual_seed(0)
    query, key, vector = torch.randn(5, 2, 3), torch.randn(5, 2, 3), torch.randn(2, 3)
    features, weight = torch.randn(5, 4), torch.randn(2, 3, 4)
    scores = Additive(vector, weight, "leaky_relu").between(query, key, features)
    for edge in range(5):
        for head in range(2):
            hidden = [
                float(query[edge, head, c] + key[edge, head, c] + weight[head, c] @ features[edge]) for c in range(3)
            ]
            wanted = sum(float(vector[head, c]) * (h if h > 0 else 0.2 * h) for c, h in enumerate(hidden))
            assert float(scores[edge, head]) == pytest.approx(wanted, abs=1e-5)


def test_default_scales():
    assert Dot().default_scale(16) == 0.25
    assert Additive(torch.ones(1, 1)).default_scale(16) == 1


def test_unknown_activation_is_named():
    with pytest.raises(ValueError, match="got 'gelu'"):
        Additive(torch.ones(1, 1), activation="gelu")


def test_edge_weight_must_fit():
    with pytest.raises(ValueError, match=r"\[1, 2, 3\] .got \[2, 3\]"):
        Additive(torch.ones(1, 2), torch.ones(2, 3)).check(1, 2, 3)


@pytest.mark.parametrize("shape", [(36, 4), (36, 2, 3), None], ids=str)
def test_features_that_are_added_are_of_each_head(shape):
    features = None if shape is None else torch.ones(shape, dtype=torch.float64)
    score = Additive(torch.ones(2, 4, dtype=torch.float64), adds_features=True)
    with pytest.raises(ValueError, match=r"\[num_edges, 2, 4\] .got"):
        attend(*pairs(), CompleteGraph(6), score=score, edge_features=features)


CLOSED_OVER = torch.ones(4, requires_grad=True)


def pairs(dim=4):
    torch.manual_seed(0)
    return [torch.randn(6, 2, dim, dtype=torch.float64).requires_grad_() for _ in range(3)]


@pytest.mark.parametrize("slope", [0.0, 0.05, 0.2, 1.0])
def test_any_slope_on_every_kernel(slope):
    query, key, value = pairs()
    vector = torch.randn(2, 4, dtype=torch.float64)
    hidden = torch.nn.functional.leaky_relu(query[:, None] + key, slope)
    wanted = torch.einsum("qkh,khc->qhc", (hidden * vector).sum(-1).softmax(1), value)
    score = Additive(vector, activation="leaky_relu", negative_slope=slope)
    for kernel in ("edges_cpu", "edges_torch"):
        torch.testing.assert_close(attend(query, key, value, CompleteGraph(6), score=score, kernel=kernel), wanted)


@pytest.mark.parametrize("score", ["cosine", "gaussian", Bilinear(torch.ones(2, 4, 4, dtype=torch.float64))])
def test_a_dot_product_in_disguise_runs_on_the_fastest_kernel(score):
    query, *_ = pairs()
    nodes = query.new_ones(100, 2, 4)
    assert choose_kernel(CompleteGraph(100), nodes, score=score).kernel == "sdpa"  # in float64
    assert choose_kernel(BandedGraph(4096, 64, 64), query.new_ones(4096, 2, 4), score=score).kernel == "banded_torch"


def test_cosine_of_a_zero_vector_is_zero_with_a_gradient():
    zero = torch.zeros(1, 1, 3, requires_grad=True)
    query, key, _ = Cosine(0.5).reduce(zero, torch.ones(1, 1, 3))
    (gradient,) = torch.autograd.grad((query * key).sum(), zero)
    assert query.eq(0).all() and gradient.isfinite().all()


def test_a_function_is_a_score():
    query, key, value = pairs()
    weights = (query[:, None] - key).abs().sum(-1).neg().softmax(1)
    out = attend(query, key, value, CompleteGraph(6), score=lambda query, key: -(query - key).abs().sum(-1))
    torch.testing.assert_close(out, torch.einsum("qkh,khc->qhc", weights, value))
    batch = [torch.stack([x, 2 * x]) for x in (query, key, value)]
    scale = torch.tensor([1.0, 3.0], dtype=torch.float64)
    score = Custom(lambda query, key, scale: -scale * (query - key).abs().sum(-1), (scale,))
    both = attend(*batch, CompleteGraph(6), score=score)
    torch.testing.assert_close(both[1], attend(*(x[1] for x in batch), CompleteGraph(6), score=score))


class TwoLayers(torch.nn.Module):
    """A score by a small network of query and key."""

    def __init__(self):
        super().__init__()
        self.hidden, self.out = torch.nn.Linear(8, 5).double(), torch.nn.Linear(5, 1).double()

    def forward(self, query, key):
        return self.out(self.hidden(torch.cat([query, key], -1)).tanh()).squeeze(-1)


def test_a_module_is_a_score_with_gradients_for_its_parameters():
    query, key, value = pairs()
    module = TwoLayers()
    scores = module(*torch.broadcast_tensors(query[:, None], key))
    wanted = torch.einsum("qkh,khc->qhc", scores.softmax(1), value)
    out = attend(query, key, value, CompleteGraph(6), score=module)
    torch.testing.assert_close(out, wanted)
    leaves, cotangent = [query, key, value, *module.parameters()], torch.randn_like(out)
    for a, b in zip(torch.autograd.grad(out, leaves, cotangent), torch.autograd.grad(wanted, leaves, cotangent)):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("score", "words"),
    [
        ("cosinus", "got 'cosinus'"),
        (Cosine(torch.ones(3)), r"\[heads\] = \[2\] .got \[3\]"),
        (Bilinear(torch.ones(2, 4, 3)), r"\[2, 4, 4\] .got \[2, 4, 3\]"),
        (Gat(torch.ones(1, 4), torch.ones(2, 4)), r"\[kv_heads, dim\] = \[2, 4\] .got \[1, 4\]"),
        (lambda query, key: (query * key).sum(), r"must give \[..., heads\] .*got \[\]"),
        (lambda query, key: (query * key * CLOSED_OVER).sum(-1), "closes over a tensor"),
    ],
)
def test_scores_that_do_not_fit_are_named(score, words):
    with pytest.raises(ValueError, match=words):
        attend(*pairs(), CompleteGraph(6), score=score)


@pytest.mark.parametrize("number", [0, -1.0, True, float("inf")])
def test_widths_and_temperatures_are_positive(number):
    with pytest.raises(ValueError, match="above 0"):
        Gaussian(number)
    with pytest.raises(ValueError, match="above 0"):
        Cosine(number)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", ["tiny", "least", "usual", "large"])
def test_cosine_of_vectors_of_any_length(dtype, size):
    info = torch.finfo(dtype)
    length = {"tiny": info.smallest_normal * 4, "least": info.tiny**0.5, "usual": 1.0, "large": info.max / 8}[size]
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(6, 2, 5, generator=generator).clamp(-2, 2).to(dtype) for _ in range(2))
    wanted = torch.cosine_similarity(query.double()[:, None], key.double(), -1)
    short = (query.double() * length).to(dtype)
    reduced = Cosine().reduce(short, key)
    found = torch.einsum("qhd,khd->qkh", *(x.double() for x in reduced[:2]))
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5}.get(dtype, 2e-2)
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


def test_gradients_of_the_cosine_of_short_vectors():
    query = (torch.tensor([[[3.0, 4.0]]]) * 1e-30).requires_grad_()
    unit, _, _ = Cosine().reduce(query, query.detach())
    unit[..., 0].sum().backward()
    torch.testing.assert_close(query.grad / 1e30, torch.tensor([[[16.0, -12.0]]]) / 125)  # (I - u uᵀ) / |q|
    zero = torch.zeros(1, 1, 2, requires_grad=True)
    Cosine().reduce(zero, zero.detach())[0].sum().backward()
    assert zero.grad.isfinite().all()


@pytest.mark.parametrize("size, bandwidth", [(1e-3, 2e-3), (200.0, 600.0), (1e-4, 1e-4)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gaussian_of_half_precision(dtype, size, bandwidth):
    """1 / bandwidth² and |x|² / 2 leave the range of float16."""
    generator = torch.Generator().manual_seed(0)
    x = (size * torch.randn(8, 1, 64, generator=generator)).to(dtype)
    exact = x.double()
    leaf, right = x.clone().requires_grad_(), exact.clone().requires_grad_()
    out = attend(leaf, leaf, leaf, CompleteGraph(8), score=Gaussian(bandwidth))
    wanted = attend(right, right, right, CompleteGraph(8), score=Gaussian(bandwidth))
    assert out.dtype == dtype
    torch.testing.assert_close(out.double() / size, wanted / size, rtol=2e-2, atol=2e-2)
    gradients = torch.autograd.grad(out.sum(), leaf)[0], torch.autograd.grad(wanted.sum(), right)[0]
    scale = gradients[1].abs().max()
    torch.testing.assert_close(gradients[0].double() / scale, gradients[1] / scale, rtol=5e-2, atol=5e-2)


def test_numbers_of_numpy_are_numbers():
    assert Gaussian(np.float32(2)).bandwidth == 2 and Cosine(np.float64(0.5)).temperature == 0.5
    assert Softmax(np.float32(1)).sink == 1 and Softmax(np.int64(0)).sink == 0
    with memory_budget(np.int64(1000)):
        assert current_budget() == 1000


def test_a_score_of_ones_own_has_a_name_of_its_own():
    """Kernels know scores by their names, and would compute another one."""

    class Twice(Score):
        name = "dot"

        def between(self, query, key, edge_features):
            return 2 * (query * key).sum(-1)

    x = torch.randn(3, 1, 2)
    with pytest.raises(ValueError, match="Twice needs a 'name' of its own, other than .*got 'dot'"):
        attend(x, x, x, causal(3), score=Twice())
    Twice.name = "twice"
    torch.testing.assert_close(attend(x, x, x, causal(3), score=Twice()), attend(x, x, x, causal(3), scale=2.0))


def test_a_class_is_no_score():
    x = torch.randn(3, 1, 4)
    with pytest.raises(ValueError, match="'score' must be one of .*got <class .*Bilinear"):
        attend(x, x, x, CompleteGraph(3), score=torch.nn.Bilinear)
