import builtins
from functools import partial

import matplotlib.pyplot
import networkx
import numpy as np
import pytest
import torch
from matplotlib.text import Text
from torch_geometric.data import Data

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, PerHead, batch_graphs, causal
from graphattn.viz import draw_graph, draw_image, draw_mask, draw_network, draw_sound, draw_words
from graphattn.viz.canvas import (
    SEEN,
    import_matplotlib,
    one_per_edge,
    read_graph,
    scale_of,
    weight_colours,
    weights_of_query,
)


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


def test_weights_of_any_memory():
    weights = np.arange(6, dtype=">f4")[::-1]
    assert one_per_edge(weights, causal(3)).tolist() == [5, 4, 3, 2, 1, 0]
    with pytest.raises(ValueError, match="'weights' must be finite .got 1 of 6"):
        one_per_edge([0.1, 0.2, float("nan"), 0.4, 0.5, 0.6], causal(3))


def test_what_is_drawn_is_one_graph():
    assert read_graph([causal(2), CompleteGraph(3)]).sizes == ((2, 2), (3, 3))
    assert (
        read_graph(networkx.path_graph(3)).num_edges == 4
        and read_graph(torch.ones(2, 2, dtype=torch.bool)).num_edges == 4
    )
    for edges in (torch.tensor([[0, 1], [1, 2]]), np.array([[0], [1]])):
        with pytest.raises(ValueError, match=r"an edge_index of . edges, .* draw as_graph.edge_index, num_nodes."):
            read_graph(edges)
    with pytest.raises(ValueError, match=r"one graph .got PerHead.* graph.graphs.0."):
        read_graph(PerHead([causal(3), CompleteGraph(3)]))
    for wrong in (3, "graph", None, [3]):
        with pytest.raises(TypeError, match="no graph can be made of"):
            read_graph(wrong)


LISTS = [causal(2), BandedGraph(3, 1, 0)]
PICTURES = {
    "mask": lambda graph: draw_mask(graph, labels=list("abcde")),
    "graph": lambda graph: draw_graph(graph, labels=list("abcde")),
    "network": draw_network,
    "words": lambda graph: draw_words(list("abcde"), graph),
    "lines": lambda graph: draw_words(list("abcde"), graph, kind="lines"),
    "image": lambda graph: draw_image(torch.rand(4, 5), graph, sides=(1, 5)),
    "sound": lambda graph: draw_sound(Data(x=torch.rand(5, 2), pos=torch.arange(5.0)[:, None], graph=graph)),
}


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_every_picture_takes_a_list_and_refuses_what_is_no_graph(draw):
    joined = batch_graphs(LISTS)
    for graph in (LISTS, tuple(LISTS), joined, joined.mask()):
        assert draw(graph).figure
    for wrong in (joined.edge_index(), PerHead([joined, joined])):
        with pytest.raises(ValueError, match="which does not tell how many nodes|a picture shows one graph"):
            draw(wrong)


def test_a_list_is_drawn_side_by_side():
    drawn = draw_mask(LISTS).images[0].get_array()
    assert (~np.ma.getmaskarray(drawn) == batch_graphs(LISTS).mask().numpy()).all()


@pytest.mark.parametrize("draw", [draw_mask, draw_graph])
def test_numbers_of_nodes_to_draw(draw):
    assert draw(causal(9), max_nodes=np.int64(4)).get_title().startswith("4 of 9 nodes")
    with pytest.raises(ValueError, match="'max_nodes' must be at least 1"):
        draw(causal(9), max_nodes=0)


def test_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        import_matplotlib()


def test_scales_have_zero_and_all_weights():
    """Those below zero, too."""
    wanted = ([0.2, 0.5], (0, 0.5)), ([-1.0, 0.5], (-1, 0.5)), ([-3.0, -2.0], (-3, 0)), ([0.0], (0, 1)), ([], (0, 1))
    for weights, limits in wanted:
        scale = scale_of(torch.tensor(weights))
        assert (scale.vmin, scale.vmax) == limits


MONEY = ["$", "a$b_$", r"$\frac$"]


def texts_in(ax):
    return [text.get_text() for text in ax.findobj(Text)]


@pytest.mark.parametrize("draw", [draw_words, partial(draw_words, kind="lines"), "mask", "graph"])
def test_names_with_dollars_are_no_formulas(draw, tmp_path):
    weights = torch.rand(9)
    if isinstance(draw, str):
        ax = {"mask": draw_mask, "graph": draw_graph}[draw](
            CompleteGraph(3), weights, labels=MONEY, path=tmp_path / "it.png"
        )
    else:
        ax = draw(MONEY, CompleteGraph(3), weights, path=tmp_path / "it.png")
    assert set(MONEY) <= set(texts_in(ax)) and (tmp_path / "it.png").exists()


@pytest.mark.parametrize("labels", [np.arange(4, 7), torch.arange(4, 7), [4, 5, 6]], ids=type)
@pytest.mark.parametrize("draw", [draw_mask, draw_graph])
def test_names_that_are_numbers(draw, labels):
    assert {"4", "5", "6"} <= set(texts_in(draw(CompleteGraph(3), labels=labels)))


@pytest.mark.parametrize("draw", [draw_mask, draw_graph, partial(draw_words, ["a", "b", "c"], kind="lines")])
def test_weights_below_zero(draw, tmp_path):
    draw(CompleteGraph(3), -torch.rand(9), path=tmp_path / "it.png")
    draw(CompleteGraph(3), torch.linspace(-1, 1, 9), path=tmp_path / "it.png")


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_saves_pictures_for_papers(ending, tmp_path):
    draw_words(["first", "second"], CompleteGraph(2), torch.rand(4), path=tmp_path / f"it.{ending}")
    written = (tmp_path / f"it.{ending}").read_bytes()
    assert written.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending])
    if ending == "svg":
        assert b">first</text>" in written  # words, not shapes


@pytest.mark.parametrize("vmax", [0, -1, float("nan"), True, "1"])
def test_scales_that_are_none(vmax):
    with pytest.raises(ValueError, match="'vmax' must be a positive number"):
        draw_mask(CompleteGraph(2), torch.rand(4), vmax=vmax)
