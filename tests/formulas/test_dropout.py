import pytest
import torch

from graphattn.formulas.dropout import keep_factors, scramble


def words(count):
    return torch.arange(count)


def test_scramble_is_a_bijection_on_a_sample():
    scrambled = scramble(words(2**16))
    assert scrambled.unique().numel() == 2**16
    assert int(scrambled.min()) >= 0 and int(scrambled.max()) < 2**32


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
def test_share_and_scale_of_what_is_kept(dropout):
    query, key = words(200)[:, None], words(300)[None]
    factors = keep_factors(torch.tensor(7), query, key, torch.zeros(1, 1).long(), 4, dropout, torch.float64)
    assert factors.shape == (200, 300, 4)
    kept = (factors > 0).double()
    assert kept.mean() == pytest.approx(1 - dropout, abs=0.005)
    assert torch.allclose(factors[factors > 0], torch.tensor(1 / (1 - dropout), dtype=torch.float64))
    # neither queries, keys nor heads go together
    for axis in range(3):
        centred = kept - kept.mean()
        shifted = centred.roll(1, axis)
        assert (centred * shifted).mean().abs() < 0.01


def test_seed_repeat_and_node_all_matter():
    query, key, repeat = words(1000), words(1000) + 5, torch.zeros(1000).long()
    first = keep_factors(torch.tensor(1), query, key, repeat, 2, 0.5, torch.float32)
    assert torch.equal(first, keep_factors(torch.tensor(1), query, key, repeat, 2, 0.5, torch.float32))
    for other in ((torch.tensor(2), query, key, repeat), (torch.tensor(1), query, key, repeat + 1)):
        agreement = (first == keep_factors(*other, 2, 0.5, torch.float32)).double().mean()
        assert agreement == pytest.approx(0.5, abs=0.06)


def test_all_or_nothing():
    zero = words(10)
    assert keep_factors(torch.tensor(1), zero, zero, zero, 1, 0.0, torch.float32).eq(1).all()
    assert keep_factors(torch.tensor(1), zero, zero, zero, 1, 1.0, torch.float32).eq(0).all()
