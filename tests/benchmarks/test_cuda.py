import pytest
import torch

from benchmarks import cuda
from graphattn import CompleteGraph, attend, causal


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here: the benchmark itself would run")
def test_says_that_there_is_no_gpu(capsys):
    cuda.main([])
    assert "no GPU" in capsys.readouterr().out


def test_rate_counts_keys_and_values_in_bfloat16():
    assert cuda.rate(CompleteGraph(1000), 1, 128, 1e-1) == "5.12 TB/s"


@pytest.mark.parametrize(
    "graph, peer",
    [(CompleteGraph([3, 5, 1]), cuda.padded_sdpa), (CompleteGraph([4, 4]), cuda.sdpa), (causal([4, 4]), cuda.sdpa)],
)
def test_peers_compute_the_same(graph, peer):
    generator = torch.Generator().manual_seed(0)
    query, key, value = (x.to(cuda.DEVICE) for x in torch.randn(3, graph.num_queries, 2, 4, generator=generator))
    (call,) = peer(graph, 2, 4).values()
    torch.testing.assert_close(call(query, key, value), attend(query, key, value, graph, kernel="reference"))


@pytest.mark.parametrize("work", cuda.works(few=True), ids=lambda work: work.name)
def test_works_are_what_their_peers_compute(work):
    if torch.cuda.is_available():
        cuda.check(work)
    graph = work.small.to(cuda.DEVICE)
    inputs = [x.detach().float() for x in cuda.tensors(work, graph)]
    out = work.of(graph, "edges_torch")(*inputs)
    for name, peer in work.peers(graph, work.heads, work.dim).items():
        if "all pairs" not in name and "compiled" not in name and not name.endswith("_cuda"):
            torch.testing.assert_close(peer(*inputs).view_as(out), out, rtol=1e-4, atol=1e-4)
