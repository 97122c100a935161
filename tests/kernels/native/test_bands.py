"""The border of the loops over bands; what they compute is in tests/kernels/native/test_banded_cpu.py."""

import pytest
import torch

from graphattn.kernels.native.bands import ARRAYS, Bands, lanes
from graphattn.kernels.native.border import hand_over
from graphattn.kernels.native.library import why_not_native
from tests.kernels.native.structs import declared_fields, fields_in_c

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="no compiled loops here")


def test_the_struct_has_the_fields_of_that_in_c():
    assert fields_in_c("bands_fields") == declared_fields(Bands)


def test_every_array_has_a_size():
    struct = Bands(heads=4, kv_heads=2, dim=3, value_dim=5, num_queries=7, num_keys=9, num_runs=1, window=6, slots=8)
    sizes = {name: count for name, (_, count) in struct.arrays(torch.float32).items()}
    assert tuple(sizes) == ARRAYS
    added = 6 + 1 + 2 * lanes().margin
    assert sizes == {
        **{
            "runs": 5,
            "added": added,
            "grad_added": 8 * added,
            "query": 84,
            "grad_query": 84,
            "key": 54,
            "grad_key": 54,
        },
        **{"value": 90, "grad_value": 90, "out": 140, "grad_out": 140, "lse": 28, "merged_lse": 28, "delta": 28},
    }


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(7, 4, 2),
        torch.zeros(7, 4, 3).double(),
        torch.zeros(7, 4, 6)[..., ::2],
        torch.zeros(4, 7, 3).transpose(0, 1),
    ],
    ids=["few", "wide", "gaps", "heads first"],
)
def test_arrays_that_loops_would_read_wrongly_are_refused(wrong):
    struct = Bands(heads=4, dim=3, num_queries=7)
    hand_over(struct, torch.float32, query=torch.zeros(7, 4, 3))
    assert struct.query_row == 12
    hand_over(struct, torch.float32, query=torch.zeros(7, 20)[:, :12].unflatten(1, (4, 3)))
    assert struct.query_row == 20
    with pytest.raises(ValueError, match="`query` as 84 numbers"):
        hand_over(struct, torch.float32, query=wrong)
