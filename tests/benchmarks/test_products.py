"""What is repeated are the products of a call, each with its shapes, forward and backward."""

import torch
import torch.nn.functional as F

from benchmarks.products import products_of, steps_of


def shapes_of(call):
    products_of(call)()
    return [tuple(function(*tensors).shape) for function, tensors in steps_of(call)]


def test_products_and_draws_of_a_training_step():
    weight, x = torch.randn(5, 7, requires_grad=True), torch.randn(3, 7)

    def step():
        F.dropout(x @ weight.t(), 0.5).sum().backward()

    shapes = sorted(shapes_of(step))
    assert shapes == [(3, 5), (3, 5), (5, 7)] or shapes == [(3, 5), (3, 5), (7, 5)]


def test_products_of_batches_and_with_a_bias():
    x, weight, bias = torch.randn(2, 3, 4), torch.randn(4, 5), torch.randn(5)

    def call():
        return torch.bmm(x, x.mT), torch.addmm(bias, x[0], weight), torch.baddbmm(x.new_zeros(1), x, x.mT), x + 1

    assert shapes_of(call) == [(2, 3, 3), (3, 5), (2, 3, 3)]
