import pytest
import torch

from graphattn.nn.positions.angles import angles


def test_equals_the_formula():
    pos = torch.tensor([[0.5, -3.0], [7.0, 100.0]], dtype=torch.float64)
    found = angles(pos, 3, 500.0)
    for node, coordinates in enumerate(pos.tolist()):
        for axis, coordinate in enumerate(coordinates):
            for pair in range(3):
                wanted = coordinate * 500.0 ** (-pair / 3)
                assert found[node, axis, pair].item() == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.uint8])
def test_half_precision_is_left(dtype):
    pos = torch.tensor([[3], [128], [254]])
    assert torch.equal(angles(pos.to(dtype), 5, 500.0), angles(pos.float(), 5, 500.0))
    assert angles(pos.double(), 5, 500.0).dtype is torch.float64
