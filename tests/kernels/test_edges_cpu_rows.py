"""The compiled forward pass, called as the kernel calls it, against plain loops of NumPy in float64."""

import numpy as np
import pytest
import torch

from graphattn import EdgeListGraph
from graphattn.arguments import prepare
from graphattn.kernels.edges_cpu import EdgesCpu, Sizes
from graphattn.kernels.edges_cpu_rows import forward_rows

HEADS, DIM, KEYS = 2, 3, 150
DEGREES = [0, 70, 3, 65]  # a row of no edges, and rows longer than a block


def problem():
    """A graph in which no key has two queries, and what the loops want of it."""
    torch.manual_seed(0)
    query = torch.repeat_interleave(torch.arange(len(DEGREES)), torch.tensor(DEGREES))
    key = torch.randperm(KEYS)[: query.numel()]
    graph = EdgeListGraph(torch.stack([key, query]), len(DEGREES), KEYS)
    tensors = [torch.randn(n, HEADS, DIM, dtype=torch.float64) for n in (len(DEGREES), KEYS, KEYS)]
    plan, inputs, _ = prepare(*tensors, graph, scale=0.7)
    arguments = EdgesCpu.arguments(plan, inputs, Sizes.of(inputs), torch.float64)
    keys_of = [key[query == n].numpy() for n in range(len(DEGREES))]
    return arguments, [x.numpy() for x in tensors], keys_of, graph


def weights_of(q, k):
    """[edges, heads] and their log-sum-exp [heads]"""
    scores = 0.7 * np.einsum("hc,ehc->eh", q, k)
    lse = np.log(np.exp(scores).sum(0)) if len(scores) else np.full(HEADS, -np.inf)
    return np.exp(scores - lse), lse


@pytest.mark.parametrize(("first", "last"), [(0, 4), (1, 3), (2, 2)])
def test_forward_fills_its_rows_and_no_others(first, last):
    arguments, (q, k, v), keys_of, _ = problem()
    out, lse = np.zeros((len(DEGREES), HEADS, DIM)), np.zeros((len(DEGREES), HEADS))
    wanted_out, wanted_lse = out.copy(), lse.copy()
    forward_rows(first, last, *arguments, out.reshape(-1), lse.reshape(-1), np.empty(0))
    for n in range(first, last):
        weights, wanted_lse[n] = weights_of(q[n], k[keys_of[n]])
        wanted_out[n] = np.einsum("eh,ehc->hc", weights, v[keys_of[n]])
    np.testing.assert_allclose(out, wanted_out, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(lse, wanted_lse, rtol=1e-12, atol=1e-12)
