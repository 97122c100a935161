import torch

from graphattn import BandedGraph, causal
from graphattn.nn import LanguageModel, PerLayer, RotaryPositions
from tests.nn.test_encoder import randomize


def test_examples_count_for_themselves_and_see_no_future():
    torch.manual_seed(0)
    model = LanguageModel(11, 8, 2, 2, norm_first=True).double()
    tokens = torch.randint(11, (7,))
    out = model(tokens, causal([3, 4]))
    torch.testing.assert_close(out, torch.cat([model(tokens[:3], causal(3)), model(tokens[3:], causal(4))]))
    changed = tokens.clone()
    changed[5] = (changed[5] + 1) % 11
    later = model(changed, causal([3, 4]))
    torch.testing.assert_close(later[:5], out[:5])
    assert not torch.allclose(later[5:], out[5:])


def test_a_graph_for_each_layer():
    torch.manual_seed(0)
    model = LanguageModel(11, 8, 2, 2, encoding=None, positions=RotaryPositions()).double()
    tokens, graphs = torch.randint(11, (6,)), [BandedGraph(6, 1, 0), causal(6)]
    x = model.embedding(tokens, torch.arange(6))
    for layer, graph in zip(model.decoder.layers, graphs):
        x = layer(x, graph)
    torch.testing.assert_close(model(tokens, PerLayer(graphs)), model.lin_out(x))


def test_tied_weights_are_one_parameter():
    model = LanguageModel(11, 8, 1, 2, tie_weights=True)
    randomize(model)
    assert model.lin_out.weight is model.embedding.table.weight
    assert len(list(model.parameters())) + 1 == len(list(LanguageModel(11, 8, 1, 2).parameters()))
