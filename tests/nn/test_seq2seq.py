import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, GridGraph, causal
from graphattn.nn import PerLayer, Seq2Seq
from tests.nn.test_encoder import random


def test_equals_torch_transformer():
    torch.manual_seed(0)
    peer = torch.nn.Transformer(12, 3, 2, 2, 20, 0.0, batch_first=True, norm_first=True).double()
    model = Seq2Seq(7, 9, 12, 2, 3, feedforward_channels=20, norm_first=True).double()
    model.encoder = type(model.encoder).from_torch(peer.encoder)
    model.decoder = type(model.decoder).from_torch(peer.decoder)
    source, target = torch.randint(7, (5,)), torch.randint(9, (4,))
    later = torch.ones(4, 4, dtype=torch.bool).triu(1)
    embedded = [embedding(tokens, torch.arange(len(tokens)))[None]
                for embedding, tokens in ((model.source_embedding, source), (model.embedding, target))]  # fmt: skip
    wanted = model.lin_out(peer(*embedded, tgt_mask=later)[0])
    torch.testing.assert_close(model(source, target, CompleteGraph(5), causal(4)), wanted, rtol=1e-10, atol=1e-10)


def test_ragged_examples_read_their_own_source():
    torch.manual_seed(0)
    model = Seq2Seq(7, 9, 8, (1, 2), 2).double()
    source, target = torch.randint(7, (8,)), torch.randint(9, (5,))
    out = model(source, target, BandedGraph([6, 2], 2, 2), causal([2, 3]))
    first = model(source[:6], target[:2], BandedGraph(6, 2, 2), causal(2))
    second = model(source[6:], target[2:], BandedGraph(2, 2, 2), causal(3))
    torch.testing.assert_close(out, torch.cat([first, second]))


def test_sources_with_features_on_a_grid():
    model = Seq2Seq(None, 9, 8, 1, 2).double()
    out = model(random(12, 8), torch.randint(9, (3,)), GridGraph((3, 4), 1), causal(3))
    assert out.shape == (3, 9)


def test_a_target_graph_for_each_layer():
    torch.manual_seed(0)
    model = Seq2Seq(7, 9, 8, 2, 2).double()
    source, target, graphs = torch.randint(7, (4,)), torch.randint(9, (5,)), [BandedGraph(5, 1, 0), causal(5)]
    x, memory = model.embedding(target, torch.arange(5)), model.encode(source, CompleteGraph(4))
    for layer, graph in zip(model.decoder.layers, graphs):
        x = layer(x, memory, graph, CompleteGraph(5, 4))
    torch.testing.assert_close(model(source, target, CompleteGraph(4), PerLayer(graphs)), model.lin_out(x))


def test_a_source_for_each_prompt():
    model = Seq2Seq(7, 9, 8, 1, 2)
    with pytest.raises(ValueError, match="prompt for each source .got 3 and 2"):
        model.start(3, causal(5), torch.randint(7, (4,)), CompleteGraph([2, 2]))
