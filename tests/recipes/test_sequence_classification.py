"""Sizes that depend on the data, and the attention of the classifier."""

import pytest
import torch

from graphattn import BandedGraph, CompleteGraph
from graphattn.recipes import SequenceClassification
from graphattn.recipes.models.sequence import SequenceClassifier
from tests.recipes import toys


def test_sizes_depend_on_the_data():
    recipe = SequenceClassification()
    texts, sounds = (recipe.build(recipe.read(make(30), None, 0).facts) for make in (toys.reviews, toys.sounds))
    assert (texts.encoder.channels, len(texts.encoder.layers), texts.dropout.p) == (32, 1, 0.3)
    assert (sounds.encoder.channels, len(sounds.encoder.layers), sounds.dropout.p) == (64, 2, 0.1)
    own = SequenceClassification(channels=16, layers=3)
    found = own.build(own.read(toys.sounds(30), None, 0).facts)
    assert (found.encoder.channels, len(found.encoder.layers), found.dropout.p) == (16, 3, 0.1)


def test_vectors_of_words_have_a_weight_decay_of_their_own():
    recipe = SequenceClassification(word_decay=0.7)
    texts, sounds = (recipe.build(recipe.read(make(30), None, 0).facts) for make in (toys.reviews, toys.sounds))
    words, rest = texts.parameter_groups(0.05)
    assert words["weight_decay"] == 0.7 and rest["weight_decay"] == 0.05
    assert words["params"][0] is texts.embed.word.weight and words["params"][1] is texts.embed.parts.weight
    assert len(words["params"]) + len(rest["params"]) == len(list(texts.parameters()))
    assert len(sounds.parameter_groups(0.05)) == len(list(sounds.parameters()))


@pytest.mark.parametrize("graph", [CompleteGraph(7), BandedGraph(7, 2, 2)])
def test_attention_sums_to_one(graph):
    torch.manual_seed(0)
    sizes = {"channels": 16, "layers": 2, "heads": 4, "dropout": 0.0, "attention_dropout": 0.0}
    model = SequenceClassifier(torch.nn.Linear(5, 16), 3, **sizes).eval()
    between, pooling = model.attention(torch.randn(7, 5), graph)
    torch.testing.assert_close(torch.zeros(7, 4).index_add(0, graph.edge_index()[1], between), torch.ones(7, 4))
    torch.testing.assert_close(pooling.sum(0), torch.ones(4))
