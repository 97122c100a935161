import ctypes
import gc
import weakref

import pytest
import torch
from torch._subclasses import FakeTensorMode

from graphattn import EdgeListGraph, attend
from graphattn.kernels.native.border import Struct, hand_over, let_read, readable, with_whole_rows
from graphattn.testing.layouts import LAYOUTS


class Pair(Struct):
    _fields_ = (("count", ctypes.c_int64), ("numbers", ctypes.c_void_p), ("places", ctypes.c_void_p))

    def arrays(self, real):
        return {"numbers": (real, self.count), "places": (torch.int64, self.count)}


def numbers_at(address, count):
    return list((ctypes.c_float * count).from_address(address))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_a_loop_reads_are_the_numbers_of_the_tensor(layout):
    x = LAYOUTS[layout](torch.arange(12.0).view(3, 4))
    struct = let_read(Pair(12), torch.float32, numbers=x, places=None)
    assert numbers_at(struct.numbers, 12) == x.flatten().tolist()
    assert struct.places is None


def test_memory_is_shared_where_numbers_lie_side_by_side():
    x = torch.zeros(3, 4)
    assert readable(x, torch.float32) is x
    assert readable(x, torch.float64).dtype == torch.float64
    assert readable(None, torch.float32) is None


def test_rows_stay_in_a_wider_table():
    rows = torch.zeros(3, 40)[:, 4:16].unflatten(1, (4, 3))
    assert with_whole_rows(rows, torch.float32) is rows
    for other in (rows.double(), rows.flip(0), rows.transpose(0, 1), LAYOUTS["negated"](rows), rows[..., ::2]):
        found = with_whole_rows(other, torch.float32)
        assert found.is_contiguous() and torch.equal(found, other.float())


def test_a_struct_keeps_its_tensors():
    x = torch.zeros(12)
    alive = weakref.ref(x)
    struct = hand_over(Pair(12), torch.float32, numbers=x)
    hand_over(struct, torch.float32, places=torch.zeros(12, dtype=torch.long))
    del x
    gc.collect()
    assert alive() is not None
    del struct
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(11),
        torch.zeros(12, dtype=torch.float64),
        torch.zeros(24)[::2],
        torch.zeros(12, device="meta"),
        LAYOUTS["negated"](torch.ones(12)),
        LAYOUTS["misaligned"](torch.ones(12)),
    ],
)
def test_what_a_loop_would_read_wrongly_is_refused(wrong):
    struct = Pair(12)
    with pytest.raises(
        ValueError, match="a loop takes `numbers` as 12 numbers of torch.float32 side by side on the CPU"
    ):
        hand_over(struct, torch.float32, numbers=wrong)
    assert struct.numbers is None


def test_tensors_without_memory_are_refused():
    graph, x = EdgeListGraph(torch.randint(9, (2, 30)), 9), torch.randn(9, 2, 4)
    attend(x, x, x, graph)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, pytest.raises(ValueError, match="address 0"):
        fake = mode.from_tensor(x)
        attend(fake, fake, fake, graph)
