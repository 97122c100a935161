import builtins

import matplotlib.pyplot
import pytest
import torch

from graphattn import EdgeListGraph, causal
from graphattn.viz import draw_mask
from graphattn.viz.canvas import SEEN, import_matplotlib, one_per_edge, scale_of, weight_colours, weights_of_query


def test_draws_into_the_given_axes_and_saves(tmp_path):
    figure, ax = matplotlib.pyplot.subplots()
    path = tmp_path / "new" / "mask.png"
    assert draw_mask(causal(4), title="causal", ax=ax, path=path) is ax
    assert ax.get_title() == "causal" and path.stat().st_size > 1000
    assert matplotlib.pyplot.get_fignums() == [figure.number]


def test_colours_begin_at_the_grey_of_an_edge_and_darken():
    colours = weight_colours()
    assert matplotlib.colors.to_hex(colours(0.0)) == SEEN
    brightness = [sum(colours(share)[:3]) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert brightness == sorted(brightness, reverse=True)
    assert scale_of(torch.zeros(3)).vmax == 1.0


def test_weights_of_one_query():
    graph = EdgeListGraph(torch.tensor([[2, 0, 2, 1], [1, 1, 1, 0]]), 2, 4)
    row = weights_of_query(graph, torch.tensor([[0.25, 0.75], [0.2, 0.0], [0.5, 0.0], [9.0, 9.0]]), 1)
    torch.testing.assert_close(row, torch.tensor([0.1, torch.nan, 0.75, torch.nan]), equal_nan=True)
    torch.testing.assert_close(
        weights_of_query(causal(3), None, 1), torch.tensor([0.5, 0.5, torch.nan]), equal_nan=True
    )
    with pytest.raises(ValueError, match=r"0 .. 2 \(got 3\)"):
        weights_of_query(causal(3), None, 3)


def test_weights_must_be_those_of_the_edges():
    with pytest.raises(ValueError, match=r"6 edges .* \(got \[5\]\)"):
        one_per_edge(torch.rand(5), causal(3))


def test_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        import_matplotlib()
