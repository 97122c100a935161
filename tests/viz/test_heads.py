import functools

import pytest
import torch

from graphattn import causal
from graphattn.explain import LayerAttention
from graphattn.viz import draw_heads, draw_mask


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
