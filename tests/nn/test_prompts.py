import numpy as np
import pytest
import torch

from graphattn.nn.prompts import check_known, parse_ends, parse_prompts


@pytest.mark.parametrize("end", [[3, 4], (4, 3), {3, 4}, np.array([3, 4]), torch.tensor([3, 4])], ids=repr)
def test_ends_of_any_form(end):
    assert parse_ends(end) == {3, 4}


def test_one_end_or_none():
    assert parse_ends(None) == frozenset() and parse_ends(3) == {3}
    with pytest.raises(ValueError, match="None is none"):
        parse_ends([])


def test_prompts_are_shorter_than_texts_and_known():
    prompts = parse_prompts([torch.tensor([1, 2], dtype=torch.int32)], 3)
    assert prompts[0].dtype == torch.int64
    check_known(frozenset([2]), prompts, None)
    check_known(frozenset([2]), prompts, 3)
    for max_length, prompt in ((2, [1, 2]), (2, [])):
        with pytest.raises(ValueError, match="must have 1 .. max_length - 1 = 1 tokens"):
            parse_prompts([torch.tensor(prompt, dtype=torch.int64)], max_length)
    with pytest.raises(ValueError, match="prompts must hold tokens 0 .. 1 .got 2"):
        check_known(frozenset(), prompts, 2)
    with pytest.raises(ValueError, match="'end' must be one of the tokens 0 .. 1"):
        check_known(frozenset([2]), [], 2)


def test_a_single_prompt_goes_into_a_list():
    with pytest.raises(ValueError, match=r"got a tensor \[2\]\); of a single one write \[prompt\]"):
        parse_prompts(torch.tensor([3, 4]), 6)
    assert [prompt.tolist() for prompt in parse_prompts(torch.tensor([[3, 4]]), 6)] == [[3, 4]]
