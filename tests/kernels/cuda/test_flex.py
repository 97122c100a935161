import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from graphattn import BandedGraph, CompleteGraph, GridGraph
from graphattn.formulas.normalizers import Softmax
from graphattn.formulas.scores import Dot
from graphattn.kernels.cuda.flex import Flex, block_mask
from graphattn.kernels.kernel import Inputs, Partial, Plan, spread_to_heads
from graphattn.kernels.policy import why_wait
from graphattn.testing.cases import GRAPHS, edge_list
from graphattn.testing.loops import loop_attention

STRUCTURED = {name: (graph, edges) for name, graph, edges in GRAPHS if min(graph.shape) and not graph.has_repeats}


def dense(counts, indices, columns):
    found = torch.zeros(counts.size(-1), columns, dtype=torch.bool)
    for row, count in enumerate(counts[0, 0].tolist()):
        found[row, indices[0, 0, row, :count].long()] = True
    return found


@pytest.mark.parametrize("block", [2, 3])
@pytest.mark.parametrize("name", STRUCTURED)
def test_blocks_are_those_with_edges(name, block):
    graph, edges = STRUCTURED[name]
    found = block_mask(graph, "cpu", block)
    rows, columns = (-(-size // block) for size in graph.shape)
    counts = torch.zeros(rows, columns)
    for key, query in edges:
        counts[query // block, key // block] += 1
    full = dense(found.full_kv_num_blocks, found.full_kv_indices, columns)
    partial = dense(found.kv_num_blocks, found.kv_indices, columns)
    assert torch.equal(full, counts == block * block) and torch.equal(partial, (counts > 0) & ~full)
    assert torch.equal(dense(found.full_q_num_blocks, found.full_q_indices, rows), full.T)
    assert torch.equal(dense(found.q_num_blocks, found.q_indices, rows), partial.T)


def problem(graph, dtype=torch.float32):
    torch.manual_seed(0)
    shapes = (graph.num_queries, 4, 16), (graph.num_keys, 2, 16), (graph.num_keys, 2, 17)
    return Plan(graph, Dot(), Softmax(), 0.3), Inputs(*(torch.randn(shape, dtype=dtype) for shape in shapes))


@pytest.mark.parametrize("name", ["grid_2d_uneven", "band_dilated", "band_negative_offset_empty_rows", "grid_shift"])
def test_forward(name):
    graph, edges = STRUCTURED[name]
    plan, inputs = problem(graph)
    out, lse, _ = Flex().forward(plan, inputs)
    wanted, _, _, wanted_lse = loop_attention(*inputs[:3], edges, scale=0.3)
    torch.testing.assert_close(out.double(), wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(lse.double(), wanted_lse, rtol=1e-5, atol=1e-5)


def plain(inputs, graph, scale):
    """Attention by tensors, where flex has no backward on CPU."""
    key, value = (spread_to_heads(x, 4) for x in inputs[1:3])
    scores = (torch.einsum("qhc,khc->qhk", inputs.query, key) * scale).masked_fill(~graph.mask()[:, None], -torch.inf)
    return torch.einsum("qhk,khc->qhc", scores.softmax(-1), value), scores.logsumexp(-1)


def test_gradients_of_parts_add_up_to_those_of_the_whole():
    left, whole = BandedGraph(7, 2, 0), BandedGraph(7, 2, 1)
    right = BandedGraph(7, 0, 0, offset=1, num_keys=7)  # the last query sees nothing in it
    _, inputs = problem(whole, torch.float64)
    leaves = Inputs(*(x.clone().requires_grad_() for x in inputs[:3]))
    out, lse = plain(leaves, whole, 0.3)
    cotangent = torch.randn_like(out)
    wanted = torch.autograd.grad(out, leaves[:3], cotangent)
    merged = Partial(out.detach(), lse.detach())

    def safe(inputs, graph, scale):
        seen = graph.degrees() > 0
        part, part_lse = plain(inputs._replace(query=inputs.query[seen]), Rows(graph.mask()[seen]), scale)
        return (
            torch.zeros_like(out).index_put((seen.nonzero()[:, 0],), part),
            torch.full_like(lse, -torch.inf).index_put((seen.nonzero()[:, 0],), part_lse),
        )

    parts = [
        Flex().backward(Plan(g, Dot(), Softmax(), 0.3), inputs, merged, Partial(cotangent, None), safe)
        for g in (left, right)
    ]
    for number, gradient in enumerate(wanted):
        torch.testing.assert_close(sum(part[number] for part in parts), gradient, rtol=1e-10, atol=1e-10)


class Rows:
    def __init__(self, mask):
        self.mask = lambda: mask


def on_cuda(inputs):
    with FakeTensorMode():
        return Inputs(*(torch.empty(x.shape, dtype=x.dtype, device="cuda") for x in inputs[:3]))


@pytest.mark.parametrize(
    "graph, words",
    [(edge_list([(0, 1)], 2), "runs a CompleteGraph or a BandedGraph or a GridGraph (got EdgeListGraph)"),
     (GridGraph([(2, 2), (1, 1)], 1), "not a batch"), (BandedGraph(3, 0, 0, offset=9), "needs edges")],
)  # fmt: skip
def test_refusals(graph, words):
    plan, inputs = problem(graph)
    assert "'flex' runs on CUDA" in Flex().why_not(plan, inputs)
    assert words in Flex().why_not(plan, on_cuda(inputs))


def test_refusals_of_tensors():
    plan, inputs = problem(CompleteGraph(3))

    def refusal(*tensors):
        return Flex().why_not(plan, on_cuda(Inputs(*tensors)))

    query, key, value = inputs[:3]
    assert refusal(query, key, value) is None
    assert "16 channels in values (got 8)" in refusal(query, key, value[..., :8])
    assert "16 channels (got dim=8)" in refusal(query[..., :8], key[..., :8], value)
    assert "bfloat16 and float32 (got torch.float64)" in refusal(query.double(), key.double(), value.double())


def test_it_waits_for_its_name():
    plan, inputs = problem(CompleteGraph(3))
    inputs = on_cuda(inputs)
    assert "only if asked for by name: others train faster" in why_wait(Flex(), plan, inputs, None)
    assert why_wait(Flex(), plan, inputs, "flex") is None
