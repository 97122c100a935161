import pytest
import torch

from graphattn.transforms.space_filling import cells_of, hilbert_index, morton_index


def all_cells(dims, bits):
    return torch.cartesian_prod(*[torch.arange(2**bits)] * dims).view(-1, dims)


SIZES = [(1, 5), (2, 1), (2, 5), (3, 1), (3, 3), (4, 2), (5, 2)]


@pytest.mark.parametrize("dims, bits", SIZES)
@pytest.mark.parametrize("curve", [hilbert_index, morton_index])
def test_a_curve_meets_every_cell_once(curve, dims, bits):
    index = curve(all_cells(dims, bits), bits)
    assert index.sort().values.tolist() == list(range(2 ** (dims * bits)))


@pytest.mark.parametrize("dims, bits", SIZES)
def test_hilbert_goes_in_steps_of_one(dims, bits):
    cells = all_cells(dims, bits)
    along = cells[hilbert_index(cells, bits).argsort()]
    assert (along.diff(dim=0).abs().sum(1) == 1).all()


@pytest.mark.parametrize("dims", [2, 3])
def test_the_first_cells_of_hilbert_are_a_small_cube(dims):
    cells = all_cells(dims, 3)
    along = cells[hilbert_index(cells, 3).argsort()]
    assert along[: 2**dims].max() == 1
    assert along[: 4**dims].max() == 3


def test_morton_is_the_bits_in_turn():
    for cell in all_cells(3, 3).tolist():
        bits = "".join(f"{coordinate:03b}"[place] for place in range(3) for coordinate in cell)
        assert morton_index(torch.tensor([cell]), 3).item() == int(bits, 2)


def test_cells_have_one_size_in_all_directions():
    cells, bits = cells_of(torch.tensor([[-1.0, 5.0], [1.0, 6.0], [0.0, 5.0]]))
    assert bits == 31 and cells.max(0).values.tolist() == [2**31 - 1, (2**31 - 1) // 2]
    assert cells_of(torch.ones(3, 40))[0].tolist() == [[0] * 40] * 3  # all in one place


def test_too_many_bits():
    with pytest.raises(ValueError, match=r"dims \* bits in 1 ... 62 \(got \[1, 32\], 2 bits\)"):
        hilbert_index(torch.zeros(1, 32, dtype=torch.long), 2)
