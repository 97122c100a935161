import pytest
import torch

from graphattn.kernels.kernel import Partial
from graphattn.kernels.parts import Merger, Part, disjoint_parts
from graphattn.testing.cases import GRAPHS

CPU = torch.device("cpu")


@pytest.mark.parametrize(("name", "graph", "edges"), GRAPHS, ids=[name for name, _, _ in GRAPHS])
def test_parts_have_every_edge_once(name, graph, edges):
    found = []
    for part in disjoint_parts(graph, CPU):
        key, query = part.graph.edge_index()
        key = key if part.key_rows is None else part.key_rows[key]
        query = query if part.query_rows is None else part.query_rows[query]
        found += list(zip(key.tolist(), query.tolist()))
    assert sorted(found) == sorted(edges)


def test_merging_equals_one_softmax():
    torch.manual_seed(0)
    scores, values = torch.randn(4, 3, 9, dtype=torch.float64), torch.randn(4, 3, 9, 5, dtype=torch.float64)
    scores[2, :, :6] = -torch.inf  # an empty row in the first two parts

    def part_of(piece):
        lse = scores[..., piece].logsumexp(-1)
        weights = (scores[..., piece] - lse.masked_fill(lse.isinf(), 0)[..., None]).exp()
        return Partial((weights[..., None] * values[..., piece, :]).sum(-2), lse)

    merger = Merger("lse", 4)
    for piece in (slice(0, 4), slice(4, 6), slice(6, 9)):
        merger.add(part_of(piece), Part(None))
    whole = part_of(slice(0, 9))
    torch.testing.assert_close(merger.total.out, whole.out, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(merger.total.lse, whole.lse, rtol=1e-12, atol=1e-12)


def test_a_row_empty_in_all_parts_stays_empty():
    merger = Merger("lse", 2)
    for rows in (torch.tensor([0]), torch.tensor([1])):
        partial = Partial(torch.zeros(1, 1, 3), torch.full((1, 1), -torch.inf))
        merger.add(partial, Part(None, query_rows=rows))
    assert merger.total.out.eq(0).all() and merger.total.lse.eq(-torch.inf).all()
