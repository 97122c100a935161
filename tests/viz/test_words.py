import pytest
import torch

from graphattn import CompleteGraph, causal
from graphattn.viz import draw_words

WORDS = ["the", "cat", "sat"]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_heat_map_names_rows_and_columns():
    ax = draw_words(WORDS, CompleteGraph(2, 3), torch.rand(6), query_tokens=["le", "chat"])
    assert [text.get_text() for text in ax.get_xticklabels()] == WORDS
    assert [text.get_text() for text in ax.get_yticklabels()] == ["le", "chat"]


def test_lines_lead_from_queries_to_keys_and_grow_with_the_weight():
    weights = torch.tensor([0.5, 0.1, 0.4, 1.0, 0.2, 0.3])
    ax = draw_words(WORDS, causal(3), weights, kind="lines")
    key, query = causal(3).edge_index()
    lines = {(line.get_ydata()[1], line.get_ydata()[0]): line.get_linewidth() for line in ax.lines}
    assert set(lines) == set(zip(key.tolist(), query.tolist()))
    widths = [lines[edge] for edge in zip(key.tolist(), query.tolist())]
    assert torch.tensor(widths).argsort().tolist() == weights.argsort().tolist()
    assert texts(ax)[:6] == WORDS * 2


def test_long_texts_are_cut_and_say_so():
    ax = draw_words([str(word) for word in range(1000)], CompleteGraph(1000), kind="lines", title="long")
    assert ax.get_title() == "long\nthe first 60 of 1000 words" and "59" in texts(ax) and "60" not in texts(ax)


def test_bad_input():
    with pytest.raises(ValueError, match="got 'arcs'"):
        draw_words(WORDS, causal(3), kind="arcs")
    with pytest.raises(ValueError, match=r"'tokens' .* 4 nodes \(got 3\)"):
        draw_words(WORDS, causal(4))


def test_the_axes_say_who_asks():
    ax = draw_words(WORDS, causal(3), torch.rand(6))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("attends to", "word")
