import pytest
import torch

from graphattn.nn.beam import Beam, likeliest


@pytest.mark.parametrize("count", [1, 2, 5, 40, 99])
def test_of_equal_scores_the_first_come_first(count):
    scores = torch.randint(4, (40,), generator=torch.Generator().manual_seed(count)).float()
    values, places = likeliest(scores, count)
    wanted = sorted(range(40), key=lambda place: (-scores[place].item(), place))[:count]
    assert places.tolist() == wanted and torch.equal(values, scores[wanted])
    assert places[0] == scores.argmax()


def test_a_beginning_may_end_in_all_ways_and_others_go_on():
    beam = Beam(torch.tensor([7]), 2, 9, 2.0, {0, 1, 2})  # a penalty under which a longer text may still win
    assert beam.step(torch.tensor([[-1.0, -1.1, -1.2, -5.0, -6.0]])) == [(0, 3), (0, 4)]
    assert [text.tokens.tolist() for text in beam.best()] == [[7, 0], [7, 1]]  # as many as beams


def test_what_cannot_win_any_more_ends():
    beam = Beam(torch.tensor([7]), 2, 9, 0.0, {0, 1, 2})
    assert beam.step(torch.tensor([[-1.0, -1.1, -1.2, -5.0, -6.0]])) == [] and not beam.alive
