import math

import pytest
import torch

from graphattn.nn import SinusoidalPositions


def test_equals_the_formula_on_every_axis():
    pos = torch.tensor([[0.0, 2.0], [3.5, 1.0], [7.0, 100.0]], dtype=torch.float64)
    encoding = SinusoidalPositions(12, max_period=500.0)(pos)
    for node, coordinates in enumerate(pos.tolist()):
        for axis, coordinate in enumerate(coordinates):
            for pair in range(3):
                angle = coordinate / 500.0 ** (pair / 3)
                place = axis * 6 + 2 * pair
                assert encoding[node, place].item() == pytest.approx(math.sin(angle), abs=1e-12)
                assert encoding[node, place + 1].item() == pytest.approx(math.cos(angle), abs=1e-12)


def test_whole_positions_and_zero_nodes():
    module = SinusoidalPositions(4)
    assert torch.equal(module(torch.arange(5)), module(torch.arange(5.0)))
    assert module(torch.empty(0)).shape == (0, 4)


@pytest.mark.parametrize("channels", [0, 3, -2])
def test_channels_come_in_pairs(channels):
    with pytest.raises(ValueError, match=f"even number .got {channels}"):
        SinusoidalPositions(channels)


def test_channels_must_be_shared_out():
    with pytest.raises(ValueError, match=r"multiple of 4 for 2 axes .got 6"):
        SinusoidalPositions(6)(torch.zeros(3, 2))


def test_period_must_grow():
    with pytest.raises(ValueError, match=r"'max_period' must be above 1 .got 1"):
        SinusoidalPositions(4, max_period=1)


def test_three_axes_are_encoded_one_after_the_other():
    pos = torch.rand(4, 3)
    parts = [SinusoidalPositions(4)(pos[:, axis]) for axis in range(3)]
    torch.testing.assert_close(SinusoidalPositions(12)(pos), torch.cat(parts, 1))


@pytest.fixture(params=[torch.float16, torch.bfloat16])
def half(request):
    default = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(default)


@pytest.mark.parametrize("channels", [16, 64])
def test_rows_stay_distinct_under_a_default_of_half_precision(half, channels):
    pos, module = torch.arange(4000), SinusoidalPositions(channels)
    assert torch.equal(module(pos), module(pos.float()).to(half))
    assert len(module(pos).float().unique(dim=0)) == 4000


def test_coordinates_of_half_precision(half):
    pos, module = torch.arange(0, 2048, 8).to(half), SinusoidalPositions(16)
    found = module(pos)
    assert found.dtype is half and torch.equal(found, module(pos.float()).to(half))
    assert module(pos.float()).dtype is torch.float32


def test_whole_positions_follow_the_default_dtype():
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        found = SinusoidalPositions(16)(torch.arange(300))
    finally:
        torch.set_default_dtype(default)
    assert torch.equal(found, SinusoidalPositions(16)(torch.arange(300, dtype=torch.float64)))
