import torch

from graphattn.nn.edge_terms import edge_query, with_edge_values


def test_products_are_those_of_the_edges():
    """q · (W e) and sum of w (W e), each edge's product written out."""
    torch.manual_seed(0)
    query, weight = torch.randn(5, 3, 4, dtype=torch.float64), torch.randn(3, 4, 2, dtype=torch.float64)
    edge, out = torch.randn(2, dtype=torch.float64), torch.randn(5, 3, 4, dtype=torch.float64)
    share = torch.rand(5, 3, 1, dtype=torch.float64)
    wanted = torch.stack([torch.stack([q[h] @ (weight[h] @ edge) for h in range(3)]) for q in query])
    torch.testing.assert_close(edge_query(query, weight) @ edge, wanted)
    wanted = out + share * torch.stack([weight[h] @ edge for h in range(3)])
    torch.testing.assert_close(with_edge_values(out, share * edge, weight), wanted)


def test_no_nodes():
    none, weight = torch.zeros(0, 3, 4), torch.zeros(3, 4, 2)
    assert edge_query(none, weight).shape == (0, 3, 2)
    assert with_edge_values(none, torch.zeros(0, 3, 2), weight).shape == (0, 3, 4)
