import pytest
import torch

from graphattn import CompleteGraph
from graphattn.nn import LearnedPositions, SinusoidalPositions, TokenEmbedding
from graphattn.nn.embedding import check_tokens


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


def test_each_token_has_a_position():
    module = TokenEmbedding(3, 4)
    with pytest.raises(TypeError, match="'tokens' must be a tensor .*got list"):
        module([0, 1], torch.arange(2))
    with pytest.raises(ValueError, match=r"position for each of 3 tokens .got \[1\]"):
        module(torch.tensor([2, 0, 2]), torch.arange(1))
    assert TokenEmbedding(3, 4, None)(torch.tensor([2, 0, 2]), None).shape == (3, 4)  # which asks for none


@pytest.mark.parametrize("tokens", [torch.zeros(3), torch.zeros(3).bool(), torch.zeros(1, 3).long()], ids=str)
def test_tokens_laid_end_to_end(tokens):
    with pytest.raises(ValueError, match="'tokens' must be integers"):
        check_tokens(tokens)
    check_tokens(torch.zeros(3, dtype=torch.int32))
