import pytest
import torch

from graphattn.kernels.normalizers import Relu, Sigmoid, Softmax, as_normalizer


@pytest.mark.parametrize("normalizer", [Softmax(), Relu(), Sigmoid()], ids=lambda x: x.name)
def test_gradient_of_scores_is_that_of_the_weights(normalizer):
    torch.manual_seed(0)
    scores = torch.randn(5, 2, dtype=torch.float64).requires_grad_()  # five edges of one query

    def weights_of(scores):
        return normalizer.weights(scores, scores.logsumexp(0))

    weights = weights_of(scores)
    grad_weights = torch.randn_like(weights)
    wanted = torch.autograd.grad(weights, scores, grad_weights)[0]
    delta = (weights * grad_weights).sum(0)
    torch.testing.assert_close(normalizer.grad_scores(weights, grad_weights, delta), wanted)


def test_an_empty_row_has_weight_zero():
    minus_infinity = torch.tensor([-torch.inf])
    for normalizer in (Softmax(), Relu(), Sigmoid()):
        assert normalizer.weights(minus_infinity, minus_infinity) == 0


def test_names_and_objects():
    assert as_normalizer("relu") == Relu()
    assert as_normalizer(Sigmoid(scale_by_degree=True)).scale_by_degree
    with pytest.raises(ValueError, match="got 'hardmax'"):
        as_normalizer("hardmax")
