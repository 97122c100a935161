"""Arrays of any memory are the numbers that they show."""

import warnings

import numpy as np
import pytest
import torch

from graphattn.inputs.arrays import to_tensor

NUMBERS = np.arange(12).reshape(3, 4)


def read_only(array):
    array.flags.writeable = False
    return array


LAYOUTS = {
    "flipped": lambda array: array[::-1, ::-1],
    "every second": lambda array: array[:, ::2],
    "transposed": lambda array: array.T,
    "one number": lambda array: np.broadcast_to(array[:1, :1], (5, 2)),
    "read only": read_only,
    "columns first": np.asfortranarray,
}


@pytest.mark.parametrize(
    "dtype", ["<f4", ">f4", "<f8", ">f8", "<i2", ">i2", ">u2", "u1", "?", ">i8", "<f2", ">c8", "g"]
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_and_byte_order(layout, dtype):
    array = LAYOUTS[layout](NUMBERS.astype(dtype))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = to_tensor("x", array)
    assert found.tolist() == array.tolist() and found.is_contiguous()
    assert found.numpy().dtype == np.dtype("f8" if dtype == "g" else dtype).newbyteorder("=")
    found.zero_()
    assert array.tolist() == LAYOUTS[layout](NUMBERS.astype(dtype)).tolist()  # memory of its own


def test_tensors_lists_and_scalars():
    x = torch.rand(2, 3, requires_grad=True)
    assert to_tensor("x", x) is x and torch.equal(to_tensor("x", x.detach().to_sparse()), x)
    assert to_tensor("x", [x[0], x[1]]).tolist() == x.tolist()
    assert to_tensor("x", [[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]] and to_tensor("x", 3.5).item() == 3.5


@pytest.mark.parametrize("values", [["a", "b"], np.array([None, 1]), np.array(["2020"], "M8[Y]"), "text", {}, object()])
def test_what_is_no_number(values):
    with pytest.raises(TypeError, match=r"'pos' needs numbers \(got .* from "):
        to_tensor("pos", values)


def test_ragged_rows_and_masked_entries():
    with pytest.raises(ValueError, match="'x' needs rows of one length"):
        to_tensor("x", [[1, 2], [3]])
    with pytest.raises(ValueError, match=r"'x' has 1 masked entries of 2; fill them"):
        to_tensor("x", np.ma.masked_array([1.0, 2.0], [True, False]))
    assert to_tensor("x", np.ma.masked_array([1.0, 2.0])).tolist() == [1, 2]
