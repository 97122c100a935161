import pytest
import torch

from graphattn import BandedGraph, attend, choose_kernel
from graphattn.kernels.finite import AreFinite

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([1.0, -2.0], True),
        ([3e38, 3e38], True),  # the sum overflows, the values do not
        ([], True),
        ([torch.nan, 1.0], False),
        ([torch.inf, 1.0], False),
        ([torch.inf, -torch.inf], False),
    ],
)
def test_answer(values, wanted):
    values, others = torch.tensor(values, device=DEVICE), torch.ones(3, device=DEVICE)
    assert AreFinite(values).answer() == wanted
    assert AreFinite(others, values).answer() == AreFinite(values, others).answer() == wanted


def test_the_next_kernel_runs_where_a_key_is_not_finite():
    graph = BandedGraph(600, 64, 64)
    query, key, value = torch.randn(3, 600, 2, 4)
    query[7] = torch.nan  # reaches its own row only
    assert choose_kernel(graph, query, key, value).kernel == "banded_cpu"
    for broken in (key, value):
        kept, broken[40] = broken[40].clone(), torch.inf
        assert choose_kernel(graph, query, key, value).kernel == "edges_cpu"
        broken[40] = kept
    value[40] = torch.nan
    choice = choose_kernel(graph, query, key, value)
    assert choice.kernel == "edges_cpu"
    for name in ("banded_cpu", "banded_torch"):
        assert choice.refusals[name] == f"'{name}' would spread NaN and infinity of hidden keys over queries near them"
    assert torch.equal(
        attend(query, key, value, graph).isnan(), attend(query, key, value, graph, kernel="edges_cpu").isnan()
    )
    with pytest.raises(ValueError, match="would spread NaN"):
        attend(query, key, value, graph, kernel="banded")
