import pytest
import torch
from torch.func import vmap

from graphattn.kernels.plain import edgewise
from graphattn.kernels.plain.edgewise import products, sums


def inputs():
    torch.manual_seed(0)
    left, right = torch.randn(4, 4, 3, dtype=torch.float64), torch.randn(5, 2, 3, dtype=torch.float64)
    at_left, at_right = torch.randint(3, (9,)), torch.randint(5, (9,))  # the last row of `left` has no edge
    weights = torch.randn(9, 4, dtype=torch.float64)
    return [x.requires_grad_() for x in (left, right, weights)] + [at_left, at_right]


def test_products_edge_by_edge():
    left, right, _, at_left, at_right = inputs()
    out = products(left, right, at_left, at_right)
    for edge, (i, j) in enumerate(zip(at_left.tolist(), at_right.tolist())):
        for head in range(4):
            torch.testing.assert_close(out[edge, head], left[i, head] @ right[j, head // 2])


def test_sums_edge_by_edge():
    _, values, weights, at_rows, at_values = inputs()
    wanted = torch.zeros(4, 4, 3, dtype=torch.float64)
    for edge, (i, j) in enumerate(zip(at_rows.tolist(), at_values.tolist())):
        for head in range(4):
            wanted[i, head] += weights[edge, head] * values[j, head // 2]
    torch.testing.assert_close(sums(weights, values, at_values, at_rows, 4), wanted)


def test_derivatives_of_two_orders_and_forward_mode(monkeypatch):
    monkeypatch.setattr(edgewise, "CHUNK_ELEMENTS", 24)  # two edges at a time
    left, right, weights, at_left, at_right = inputs()
    for function, given in (
        (lambda a, b: products(a, b, at_left, at_right), (left, right)),
        (lambda a, b: sums(a, b, at_right, at_left, 4), (weights, right)),
    ):
        assert torch.autograd.gradcheck(function, given, check_forward_ad=True)
        assert torch.autograd.gradgradcheck(function, given)


def test_a_batch_by_vmap():
    left, right, weights, at_left, at_right = (x.detach() for x in inputs())
    rows = torch.stack([left, 2 * left, -left])
    found = vmap(lambda x: products(x, right, at_left, at_right))(rows)
    torch.testing.assert_close(found, torch.stack([products(x, right, at_left, at_right) for x in rows]))
    pairs = torch.stack([weights, weights.flip(0)], 2), torch.stack([right, -right])
    found = vmap(lambda w, x: sums(w, x, at_right, at_left, 4), in_dims=(2, 0))(*pairs)
    wanted = [sums(w, x, at_right, at_left, 4) for w, x in zip(pairs[0].unbind(2), pairs[1])]
    torch.testing.assert_close(found, torch.stack(wanted))
    with pytest.raises(ValueError, match="one graph for the whole batch"):
        vmap(lambda at: products(left, right, at_left, at))(torch.stack([at_right, at_right]))


def test_no_edges():
    left, right, weights, *_ = inputs()
    none = torch.empty(0, dtype=torch.long)
    assert products(left, right, none, none).shape == (0, 4)
    out = sums(weights[:0], right, none, none, 4)
    (gradient,) = torch.autograd.grad(out, right, torch.ones_like(out))
    assert out.abs().max() == 0 and gradient.abs().max() == 0


def test_hidden_edges_count_as_none():
    left, right, weights, at_left, at_right = (x.detach() for x in inputs())
    hidden, broken = torch.rand(9, 4) < 0.5, at_right == at_right[0]
    hidden[broken] = True

    def results(right):
        def total(left, right, weights):
            numbers = products(left, right, at_left, at_right, hidden)
            return sums(numbers * weights, right, at_right, at_left, 4, hidden).square().sum()

        numbers = products(left, right, at_left, at_right, hidden)
        totals = sums(weights, right, at_right, at_left, 4, hidden)
        of_two = vmap(products, (0, None, None, None, 0))
        by_heads = of_two(torch.stack([left] * 2), right, at_left, at_right, torch.stack([hidden] * 2))
        return numbers, totals, by_heads, *torch.func.grad(total, (0, 1, 2))(left, right, weights)

    found = results(right.index_fill(0, at_right[:1], torch.nan))
    for actual, wanted in zip(found, results(right), strict=True):
        torch.testing.assert_close(actual, wanted)
    everything = products(left, right, at_left, at_right).masked_fill(hidden, 0.0)
    torch.testing.assert_close(found[0], everything)
    torch.testing.assert_close(found[2], torch.stack([everything] * 2))
    torch.testing.assert_close(found[1], sums(weights.masked_fill(hidden, 0.0), right, at_right, at_left, 4))
