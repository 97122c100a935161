import functools

import pytest
import torch

from graphattn import causal
from graphattn.explain import LayerAttention
from graphattn.viz import draw_graph, draw_heads, draw_mask, draw_words


def test_a_row_for_each_layer_and_a_column_for_each_head(tmp_path):
    layers = [torch.rand(6, 2), torch.rand(6, 3)]
    figure = draw_heads(layers, functools.partial(draw_mask, causal(3)), title="all", path=tmp_path / "heads.png")
    shown = {ax.get_title(): ax for ax in figure.axes if ax.get_title()}
    assert list(shown) == [f"layer {layer}, head {head}" for layer, head in [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3)]]
    assert shown["layer 2, head 3"].images[0].get_array()[2, 1] == pytest.approx(float(layers[1][4, 2]))
    assert figure.get_suptitle() == "all" and (tmp_path / "heads.png").exists()


def test_too_many_are_cut_and_say_so():
    calls = []
    figure = draw_heads([torch.rand(6, 40)] * 3, lambda **given: calls.append(given["title"]))
    assert len(calls) == 40 and figure.get_suptitle() == "40 of 120 heads"
    draw_heads(torch.rand(6, 2), lambda **given: calls.append(given["title"]))
    assert calls[-1] == "head 2"


def test_bad_input():
    with pytest.raises(ValueError, match=r"got \[\[6\]\]"):
        draw_heads(torch.rand(6), draw_mask)
    with pytest.raises(ValueError, match=r"got \[\]"):
        draw_heads([], draw_mask)


def test_what_attention_of_gives_and_arrays():
    edges = causal(3).edge_index()
    layers = {"first": LayerAttention(edges, torch.rand(6, 2)), "second": LayerAttention(edges, torch.rand(6, 1))}
    draw = functools.partial(draw_mask, causal(3), colour_bar=False)
    arrays = [layer.weights.numpy() for layer in layers.values()]
    for weights in (layers, list(layers.values()), arrays):
        figure = draw_heads(weights, draw)
        assert [ax.get_title() for ax in figure.axes if ax.get_title()] == [
            "layer 1, head 1",
            "layer 1, head 2",
            "layer 2, head 1",
        ]
    assert [ax.get_title() for ax in draw_heads(arrays[0], draw).axes] == ["head 1", "head 2"]


PICTURES = {
    "mask": functools.partial(draw_mask, causal(3)),
    "words": functools.partial(draw_words, ["a", "b", "c"], causal(3)),
    "lines": functools.partial(draw_words, ["a", "b", "c"], causal(3), kind="lines"),
    "graph": functools.partial(draw_graph, causal(3)),
}


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_heads_share_one_scale_and_one_colour_bar(draw):
    weights = torch.tensor([[0.1, 0.2], [0.2, 0.4], [0.3, 0.8], [0.1, 0.1], [0.0, 0.3], [0.2, 0.2]])
    figure = draw_heads([weights, weights / 2], draw)
    (bar,) = (ax for ax in figure.axes if ax.get_ylabel() == "attention weight")
    assert bar.get_ylim() == pytest.approx((0, 0.8))
    alone = draw_heads(weights[:, :1], draw)
    (bar,) = (ax for ax in alone.axes if ax.get_ylabel() == "attention weight")
    assert bar.get_ylim() == pytest.approx((0, 0.3))


def test_colours_are_those_of_the_common_scale():
    weights = torch.tensor([[0.1, 0.2], [0.2, 0.4], [0.3, 0.8], [0.1, 0.1], [0.0, 0.3], [0.2, 0.2]])
    figure = draw_heads(weights, functools.partial(draw_mask, causal(3)))
    assert [ax.images[0].norm.vmax for ax in figure.axes[:2]] == pytest.approx([0.8, 0.8])
    own = draw_heads(weights, functools.partial(draw_mask, causal(3), vmax=2.0, colour_bar=True))
    assert [ax.images[0].norm.vmax for ax in own.axes[:2]] == [2.0, 2.0] and len(own.axes) == 4
    draw_heads(weights, lambda weights, ax, title: None)  # what takes no scale gets none
