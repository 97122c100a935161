import pytest

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, GlobalGraph, GridGraph, batch_graphs, causal
from graphattn.graphs.starts import common_starts
from graphattn.testing.cases import ASYMMETRIC, edge_list

CACHE = BandedGraph(2, None, 0, num_keys=7, offset=5)
RAGGED = BandedGraph([2, 1], 3, 0, num_keys=[7, 4], offset=[5, 3])


@pytest.mark.parametrize(
    ("graph", "starts"),
    [
        (causal([3, 2]), [(0, 0), (0, 0)]),
        (BandedGraph(5, 2, 0, offset=-1), [(0, 0)]),  # nodes that are query and key in one have one position
        (BandedGraph(5, 2, 0, num_keys=5, offset=-1), [(-1, 0)]),
        (CACHE, [(5, 0)]),
        (BandedGraph(2, None, 0, num_keys=7, offset=9), [(9, 0)]),  # where the window is clipped to the keys
        (RAGGED, [(5, 0), (3, 0)]),
        (RAGGED.T, [(0, 5), (0, 3)]),
        (RAGGED.T.T, [(5, 0), (3, 0)]),
        (RAGGED.examples()[1], [(3, 0)]),
        (~RAGGED, [(5, 0), (3, 0)]),
        (batch_graphs([CACHE, BandedGraph(2, None, 0, num_keys=4, offset=2)]), [(5, 0), (2, 0)]),
        (batch_graphs([CompleteGraph(2), CACHE]), [(0, 0), (5, 0)]),
        (CACHE | EdgeListGraph(edge_list(ASYMMETRIC, 6, 8).edges[:, :0], 2, 7), [(5, 0)]),
        (CACHE & BandedGraph(2, 1, 0, num_keys=7, offset=5), [(5, 0)]),
        (CACHE | BandedGraph(2, 3, 0, num_keys=7, offset=5), [(5, 0)]),
        (BandedGraph(1, None, 0, num_keys=7, offset=6) | CompleteGraph(1, 7), [(6, 0)]),
        (CompleteGraph(1, 7) | BandedGraph(1, 2, 0, num_keys=7, offset=6), [(6, 0)]),
        (CompleteGraph(2, 7) & CACHE, [(5, 0)]),
        (CompleteGraph(2, 7) & BandedGraph(2, None, None, num_keys=7, offset=5), [(5, 0)]),
        (CACHE & BandedGraph(2, 1, 0, num_keys=7, offset=4), [None]),
        (CACHE.normal_form(), [(0, 0)]),  # of the edges alone
        (GridGraph((3, 2), 1, stride=2), [(0, 0)]),
        (GlobalGraph(3, [0]), [(0, 0)]),
    ],
    ids=repr,
)
def test_where_positions_start(graph, starts):
    assert list(graph.starts) == starts


def test_graphs_of_one_kind_that_start_elsewhere_differ():
    near, far = (BandedGraph(1, None, 0, num_keys=4, offset=offset) for offset in (3, 5))
    assert near != far and near.normal_form() == far.normal_form()
    assert batch_graphs([near, far]).starts == ((3, 0), (5, 0))
    assert repr(far) == "BandedGraph(1, before=3, after=0, num_keys=4, offset=3, first_positions=(5, 0))"


def test_what_is_common():
    assert common_starts([((0, 0), (2, 0)), ((1, 0), (2, 0)), ((0, 0), (3, 0))]) == ((1, 0), None)
