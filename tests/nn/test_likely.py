import math

import pytest
import torch

from graphattn.nn.likely import check_sampling, checked_scores, likely, parse_number, precise


def test_of_equal_scores_the_first_stay():
    assert likely(torch.zeros(4), top_k=2).tolist() == [0.0, 0.0, -math.inf, -math.inf]


def test_both_limits_hold():
    scores = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    assert likely(scores, top_k=3, top_p=0.5).isfinite().tolist() == [True, True, False, False]
    assert likely(scores, top_k=1, top_p=0.9).isfinite().tolist() == [True, False, False, False]


def test_a_certain_token_leaves_no_other():
    found = checked_scores(torch.tensor([[1.0, math.inf, 2.0], [1.0, -math.inf, 2.0]]))
    assert found.tolist() == [[-math.inf, 0.0, -math.inf], [1.0, -math.inf, 2.0]]
    assert (
        precise(torch.zeros(1).half()).dtype == torch.float32
        and precise(torch.zeros(1).double()).dtype == torch.float64
    )


@pytest.mark.parametrize(("scores", "words"), [([math.nan, 1.0], "got nan"), ([-math.inf] * 2, "-inf for all")])
def test_scores_that_choose_nothing_are_refused(scores, words):
    with pytest.raises(ValueError, match=words):
        checked_scores(torch.tensor([scores]))


def test_options_as_numbers():
    assert check_sampling(2, None, 1) == (2.0, None, None) and check_sampling(1, 3, 0.5) == (1.0, 3, 0.5)
    with pytest.raises(ValueError, match="'temperature' must be positive"):
        check_sampling(0, None, None)
    with pytest.raises(TypeError, match="'x' must be a number .got True"):
        parse_number("x", True)
