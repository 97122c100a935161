import pytest
import torch

from graphattn import CompleteGraph
from graphattn.nn import LearnedPositions, SinusoidalPositions, TokenEmbedding


def test_sums_token_and_position():
    tokens, pos = torch.tensor([2, 0, 2]), torch.tensor([0, 1, 5])
    module = TokenEmbedding(3, 4)
    wanted = 2 * module.table.weight[tokens] + SinusoidalPositions(4)(pos)
    torch.testing.assert_close(module(tokens, pos), wanted)
    module = TokenEmbedding(3, 4, LearnedPositions(6, 4))
    torch.testing.assert_close(module(tokens, pos), 2 * module.table.weight[tokens] + module.encoding(pos))
    module = TokenEmbedding(3, 4, None)
    torch.testing.assert_close(module(tokens, pos), 2 * module.table.weight[tokens])


def test_unknown_encoding_is_named():
    with pytest.raises(ValueError, match="got 'rotary'"):
        TokenEmbedding(3, 4, "rotary")


@pytest.mark.parametrize("pos", [CompleteGraph(3), [CompleteGraph(2), CompleteGraph(1)], None], ids=repr)
def test_graphs_are_no_positions(pos):
    with pytest.raises(TypeError, match="'pos' must be a tensor .*positions_of"):
        TokenEmbedding(3, 4)(torch.tensor([2, 0, 2]), pos)


def test_tokens_are_integers_and_each_has_a_position():
    module = TokenEmbedding(3, 4)
    with pytest.raises(TypeError, match="'tokens' must be a tensor .*got list"):
        module([0, 1], torch.arange(2))
    for tokens in (torch.zeros(3), torch.zeros(3, dtype=torch.bool), torch.zeros(1, 3, dtype=torch.long)):
        with pytest.raises(ValueError, match="'tokens' must be integers"):
            module(tokens, torch.arange(3))
    with pytest.raises(ValueError, match=r"position for each of 3 tokens .got \[1\]"):  # would be that of all
        module(torch.tensor([2, 0, 2]), torch.arange(1))
