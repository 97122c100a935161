import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, GridGraph, attend, causal
from graphattn.kernels.fused.sdpa import equal_sizes, is_causal


@pytest.mark.parametrize(
    ("graph", "wanted"),
    [
        (causal(4), True),
        (causal([3, 1, 7]), True),
        (BandedGraph(4, 3, 0), True),
        (BandedGraph(4, 2, 0), False),
        (BandedGraph(4, None, 1), False),
        (BandedGraph(4, None, 0, num_keys=6), False),
        (BandedGraph(4, None, 0, num_keys=6, offset=2), False),
        (BandedGraph(9, None, 0, dilation=2), False),
        (causal(4).T, False),
        (CompleteGraph(4), False),
        (GridGraph((2, 2), 1, 0), False),
    ],
    ids=str,
)
def test_is_causal(graph, wanted):
    assert is_causal(graph) == wanted


def test_equal_sizes_cover_every_example_with_edges():
    graph = CompleteGraph([3, 5, 3, 0, 3, 2], [2, 5, 2, 4, 2, 0])
    groups = list(equal_sizes(graph))
    assert [(count, torch.arange(16)[queries].tolist()) for count, queries, _ in groups] == [
        (3, [0, 1, 2, 8, 9, 10, 11, 12, 13]),
        (1, [3, 4, 5, 6, 7]),
    ]
    assert torch.arange(15)[groups[0][2]].tolist() == [0, 1, 7, 8, 13, 14]


def test_one_example_never_depends_on_its_batch_mates():
    torch.manual_seed(0)
    x, y, z = (torch.randn(n, 2, 8) for n in (5, 5, 5))
    alone = attend(y, y, y, causal(5))
    together = torch.cat([x, y, z])
    assert torch.equal(attend(together, together, together, causal([5, 5, 5]))[5:10], alone)
