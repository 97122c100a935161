"""Where kernels wait; which kernels that gives is in test_choose.py and test_choices.py."""

import torch

from graphattn import BandedGraph, GridGraph
from graphattn.kernels.choose import KERNELS
from graphattn.kernels.crossovers import CROSSOVERS
from graphattn.kernels.policy import POLICY, why_empty_tiles, why_wait
from graphattn.running.arguments import prepare

BY_NAME = {kernel.name: kernel for kernel in KERNELS}


def problem(graph):
    return prepare(*torch.zeros(3, graph.num_queries, 2, 4, dtype=torch.float64), graph)[:2]


def test_policy_and_crossovers_name_kernels():
    assert POLICY.keys() <= BY_NAME.keys()
    tiled = {name for name, ask in POLICY.items() if ask is why_empty_tiles}
    assert CROSSOVERS.least_share_of_tiles.keys() == tiled
    assert CROSSOVERS.least_share_of_dilated_tiles.keys() <= tiled
    assert all(hasattr(BY_NAME[name], "area_of_tiles") for name in tiled)


def test_nothing_waits_that_is_asked_for():
    narrow = problem(BandedGraph(600, 1, 1))
    banded = BY_NAME["banded_torch"]
    least = CROSSOVERS.least_share_of_tiles[banded.name]
    assert f"fill less than {least:.0%} of its tiles" in why_wait(banded, *narrow, None)
    assert why_wait(banded, *narrow, "banded") is None and why_wait(banded, *narrow, "banded_torch") is None


def test_what_is_for_tests_waits_for_its_own_name():
    edges = BY_NAME["edges_cuda"]
    for name in (None, "edges"):
        assert "on CPU only if asked for by name" in why_wait(edges, *problem(BandedGraph(6, 1, 1)), name)
    assert why_wait(edges, *problem(BandedGraph(6, 1, 1)), "edges_cuda") is None


def test_policy_is_asked_of_graphs_that_the_kernel_runs():
    assert why_wait(BY_NAME["banded_torch"], *problem(GridGraph((6, 6), 1)), None) is None
