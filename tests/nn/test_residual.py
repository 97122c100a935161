import pytest
import torch

from graphattn import CompleteGraph
from graphattn.nn import Residual


def test_norm_before_or_after():
    torch.manual_seed(0)
    x, graph, function = torch.randn(5, 4), CompleteGraph(5), torch.nn.Linear(4, 4)
    norm = torch.nn.functional.layer_norm
    torch.testing.assert_close(Residual(4)(x, function, graph), norm(x + function(x), (4,)))
    torch.testing.assert_close(Residual(4, norm_first=True)(x, function, graph), x + function(norm(x, (4,))))


def test_drop_path_takes_whole_examples_and_keeps_the_mean():
    torch.manual_seed(0)
    counts = [3, 0, 1, 4] * 200
    graph, x = CompleteGraph(counts), torch.zeros(sum(counts), 2)
    module = Residual(2, norm_first=True, drop_path=0.25)
    change = module(x, torch.ones_like, graph)
    assert change.unique().tolist() == pytest.approx([0, 4 / 3])
    per_example = [part for part in change.split(counts) if len(part)]
    assert all((part == part[0, 0]).all() for part in per_example)
    kept = torch.stack([part[0, 0] > 0 for part in per_example]).float().mean()
    assert kept.item() == pytest.approx(0.75, abs=0.06)
    assert torch.equal(module.eval()(x, torch.ones_like, graph), torch.ones_like(x))


def test_bad_probability_is_named():
    with pytest.raises(ValueError, match="'drop_path' must be a probability .*got 2"):
        Residual(4, drop_path=2)
