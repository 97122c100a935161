"""What can be known of the kernel without a GPU: which windows it takes for which graphs, and shapes by fake tensors.

On a GPU it takes part in test_every_kernel.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from graphattn import BandedGraph, CompleteGraph, causal, choose_kernel
from graphattn.formulas.normalizers import Softmax
from graphattn.formulas.scores import Dot
from graphattn.kernels.cuda import flash_cuda
from graphattn.kernels.cuda.flash_cuda import FlashCuda, layout_of, sequences_of, window_of
from graphattn.kernels.kernel import Inputs, Partial, Plan
from graphattn.testing.cases import GRAPHS
from graphattn.testing.loops import loop_attention

CASES = {name: (graph, edges) for name, graph, edges in GRAPHS}
WINDOWS = {
    "complete", "complete_rectangular", "complete_ragged", "complete_ragged_rectangular", "causal", "causal_ragged",
    "band_uneven", "band_one_step_beyond_causal", "band_diagonal", "band_lower_right_causal", "band_ragged",
    "band_ragged_lower_right", "transposed_rectangular", "transposed_band", "zero_nodes", "zero_keys", "zero_queries",
    "single_node", "band_dilated",
}  # fmt: skip
HEADS, KV_HEADS, DIM, VALUE_DIM = 4, 2, 11, 9


def edges_in_windows(graph):
    """By the words of flash attention: aligned at the last query and the last key, -1 is no limit.

    (key, query) by their places in the order of the sequences.
    """
    left, right = window_of(graph)
    edges, first_query, first_key = [], 0, 0
    for queries, keys in sequences_of(graph).sizes:
        for i in range(queries):
            place = i + keys - queries
            low, high = (0 if left == -1 else place - left), (keys - 1 if right == -1 else place + right)
            edges += [(first_key + j, first_query + i) for j in range(keys) if low <= j <= high]
        first_query, first_key = first_query + queries, first_key + keys
    return edges


@pytest.mark.parametrize("name", CASES)
def test_windows_mean_the_graph(name):
    graph, edges = CASES[name]
    if window_of(graph) is None:
        return
    layout = layout_of(graph, torch.device("cpu"))
    of_query, of_key = (
        range(size) if order is None else order.tolist()
        for size, order in zip(graph.shape, (layout.query_order, layout.key_order))
    )
    assert sorted((of_key[j], of_query[i]) for j, i in edges_in_windows(graph)) == sorted(edges)
    assert layout.has_empty_rows == (len({query for _, query in edges}) < graph.num_queries)


@pytest.mark.parametrize("name", sorted(WINDOWS))
def test_no_window_is_lost(name):
    assert window_of(CASES[name][0]) is not None


def test_windows_away_from_the_query_are_refused():
    assert window_of(BandedGraph(9, 1, 1, offset=4)) is None
    assert window_of(BandedGraph([9, 9], 1, 1, offset=[0, 1])) is None


def problem(graph, dtype, device):
    plan = Plan(graph, Dot(), Softmax(), 0.3)
    shapes = ((graph.num_queries, HEADS, DIM), (graph.num_keys, KV_HEADS, DIM), (graph.num_keys, KV_HEADS, VALUE_DIM))
    generator = torch.Generator().manual_seed(0) if device == "cpu" else None
    return plan, Inputs(*(torch.randn(shape, dtype=dtype, device=device, generator=generator) for shape in shapes))


GRAPHS_OF_SHAPES = [
    lambda: CompleteGraph(5),
    lambda: causal([3, 0, 4]),
    lambda: BandedGraph([9, 4], 2, 1),
    lambda: BandedGraph(3, None, 0, num_keys=7, offset=4),
    lambda: CompleteGraph(3, 0),
]


@pytest.mark.parametrize("graph_of", GRAPHS_OF_SHAPES, ids=lambda make: repr(make()))
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_operators_take_these_arguments(graph_of, dtype):
    with FakeTensorMode():
        plan, inputs = problem(graph_of(), dtype, "cuda")
        out, lse, _ = FlashCuda().forward(plan, inputs)
        assert out.shape == (plan.graph.num_queries, HEADS, VALUE_DIM) and out.dtype == dtype
        assert lse.shape == (plan.graph.num_queries, HEADS) and lse.dtype == torch.float32
        merged, grad = Partial(out.float(), lse), Partial(out.float(), None)
        gradients = FlashCuda().backward(plan, inputs, merged, grad)
        assert [x.shape for x in gradients[:3]] == [x.shape for x in inputs[:3]]


def attention_in_windows(graph):
    """What the operator says it does, by plain tensors: +inf for a query without keys."""

    def operator(query, key, value, lengths, window, scale):
        assert not query.size(2) % flash_cuda.CHANNELS and query.shape[1:] == key.shape[1:] == value.shape[1:]
        assert lengths.query_ptr.diff().tolist() == [queries for queries, _ in sequences_of(graph).sizes]
        assert lengths.key_ptr.diff().tolist() == [keys for _, keys in sequences_of(graph).sizes]
        mask = torch.zeros(query.size(0), key.size(0), dtype=torch.bool)
        for j, i in edges_in_windows(graph):
            mask[i, j] = True
        scores = (torch.einsum("ihc,jhc->hij", query, key) * scale).masked_fill(~mask, -torch.inf)
        lse = scores.logsumexp(-1)
        weights = scores.softmax(-1)  # NaN for a query without keys, as whatever the operator leaves there
        return torch.einsum("hij,jhc->ihc", weights, value), lse.masked_fill(lse == -torch.inf, torch.inf)

    return operator


@pytest.mark.parametrize(
    "name", ["causal_ragged", "band_uneven", "band_dilated", "complete_ragged_rectangular", "zero_keys"]
)
def test_forward_around_the_operator(name, monkeypatch):
    graph, edges = CASES[name]
    monkeypatch.setattr(flash_cuda, "flash_varlen", attention_in_windows(graph))
    plan, inputs = problem(graph, torch.float64, "cpu")
    out, lse, _ = FlashCuda().forward(plan, inputs)
    wanted, _, _, wanted_lse = loop_attention(*inputs[:3], edges, scale=0.3)
    torch.testing.assert_close(out, wanted)
    torch.testing.assert_close(lse.double(), wanted_lse)


def test_refusals():
    x = torch.randn(4, 1, 8)
    with pytest.raises(ValueError, match="'flash_cuda' runs on CUDA"):
        choose_kernel(CompleteGraph(4), x, kernel="flash_cuda")
    with FakeTensorMode():
        half = torch.randn(4, 1, 8, device="cuda", dtype=torch.float16)
        for inputs, words in (
            (Inputs(half.float(), half.float(), half.float()), "float16 and bfloat16 (got torch.float32)"),
            (Inputs(half, half, half.repeat(1, 1, 40)), "256 channels (got 320)"),
            (Inputs(half, half, half, bias=half.squeeze(1)), "nothing per edge"),
        ):
            assert words in FlashCuda().why_not(Plan(CompleteGraph(4), Dot(), Softmax(), 1.0), inputs)
        huge = Plan(CompleteGraph(2**31), Dot(), Softmax(), 1.0)
        assert "in 32 bits (got 2147483648)" in FlashCuda().why_not(huge, Inputs(half, half, half))
        moved = Plan(BandedGraph(4, 0, 0, offset=2), Dot(), Softmax(), 1.0)
        assert "around the query" in FlashCuda().why_not(moved, Inputs(half, half, half))
