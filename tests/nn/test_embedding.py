import pytest
import torch

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
