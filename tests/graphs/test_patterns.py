import pytest
import torch

from graphattn.graphs import bigbird, expander, longformer, strided


@pytest.mark.parametrize("num_nodes, degree", [(20, 3), (21, 4), (5, 4), (7, 0), (0, 0), (1, 0)])
def test_expander_is_regular_and_undirected(num_nodes, degree):
    graph = expander(num_nodes, degree, seed=3)
    mask = graph.mask()
    assert (mask.sum(dim=1) == degree).all()
    assert torch.equal(mask, mask.t()) and not mask.diagonal().any()
    assert graph.is_symmetric and not graph.has_repeats


def test_expander_is_seeded():
    edges = [expander(30, 4, seed).edge_index().tolist() for seed in (0, 0, 1)]
    assert edges[0] == edges[1] != edges[2]


def test_expander_of_a_batch():
    graph = expander([8, 10], 3)
    assert graph.sizes == ((8, 8), (10, 10))
    assert graph.degrees().tolist() == [3] * 18
    assert torch.equal(graph.examples()[1].edge_index(), expander(10, 3, seed=1).edge_index())


def test_expander_mixes():
    # Second eigenvalue of the adjacency matrix near 2 sqrt(d - 1), as of a random regular graph (Friedman 2008).
    eigenvalues = torch.linalg.eigvalsh(expander(400, 6).mask().double())
    assert eigenvalues[-2].abs() < 2 * 5**0.5 + 0.3


def test_strided():
    for query in range(11):
        keys = [key for key in range(query + 1) if query - key <= 3 or (query - key) % 3 == 0]
        assert strided(11, 3).mask()[query].nonzero().flatten().tolist() == keys
    assert strided([4, 6], 2).num_examples == 2


def test_longformer():
    graph = longformer(12, 4, [0, 7])
    for query in range(12):
        keys = [key for key in range(12) if abs(query - key) <= 2 or {query, key} & {0, 7}]
        assert graph.mask()[query].nonzero().flatten().tolist() == keys


def test_bigbird():
    graph = bigbird([9, 14], window=2, num_global=2, num_random=3, seed=1)
    band, star, random = graph.graphs
    assert (band.before, band.after) == (1, 1)
    assert star.nodes == (0, 1, 9, 10)
    assert random.degrees().tolist() == [3] * 23 and not random.has_repeats
    assert torch.equal(graph.mask(), band.mask() | star.mask() | random.mask())
    again = bigbird([9, 14], window=2, num_global=2, num_random=3, seed=1)
    assert torch.equal(graph.edge_index(), again.edge_index())


def test_random_keys_are_uniform():
    counts = bigbird(6, 0, 0, 3, seed=0).graphs[-1].mask().int()
    for seed in range(1, 300):
        counts += bigbird(6, 0, 0, 3, seed=seed).graphs[-1].mask().int()
    assert (counts - 150).abs().max() < 5 * (300 * 0.25) ** 0.5  # 5 standard deviations of a fair coin


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: expander(5, 3), "no graph of 5 nodes has degree 3 everywhere"),
        (lambda: expander(4, 4), "'degree' must be below 'num_nodes'"),
        (lambda: expander(4, -1), "'degree' must be at least 0"),
        (lambda: strided(5, 0), "'stride' must be at least 1"),
        (lambda: longformer(5, 3, [0]), "must be even"),
        (lambda: longformer(5, 2, [5]), "names node 5"),
        (lambda: bigbird([9, 2], 2, 1, 3), "must not exceed the number of nodes"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
