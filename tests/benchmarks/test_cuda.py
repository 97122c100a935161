import pytest
import torch

from benchmarks import cuda
from graphattn import CompleteGraph


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here: the benchmark itself would run")
def test_says_that_there_is_no_gpu(capsys):
    cuda.main([])
    assert "no GPU" in capsys.readouterr().out


def test_rate_counts_keys_and_values_in_bfloat16():
    assert cuda.rate(CompleteGraph(1000), 1, 128, 1e-1) == "5.12 TB/s"


def test_peers_of_complete_graphs_are_attention():
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 5, 2, 4, generator=generator)
    (call,) = cuda.sdpa_peers(CompleteGraph(5), 2, 4).values()
    weights = (torch.einsum("ihc,jhc->hij", query, key) / 2).softmax(-1)
    torch.testing.assert_close(call(query, key, value), torch.einsum("hij,jhc->ihc", weights, value))
