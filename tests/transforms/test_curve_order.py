import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from graphattn.transforms import HilbertOrder, MortonOrder, restore_nodes


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_neighbours_on_the_curve_are_neighbours_in_space(dims):
    side = {1: 64, 2: 8, 3: 4}[dims]
    pos = torch.cartesian_prod(*[torch.arange(side)] * dims).view(-1, dims).float()
    pos = pos[torch.randperm(64, generator=torch.Generator().manual_seed(0))]
    steps = HilbertOrder()(Data(pos=pos)).pos.diff(dim=0).abs().sum(1)
    assert (steps == 1).all()
    jumps = MortonOrder()(Data(pos=pos)).pos.diff(dim=0).abs().sum(1)
    assert (jumps == 1).all() == (dims == 1)


def test_examples_of_a_batch_are_ordered_alike():
    torch.manual_seed(0)
    examples = [Data(pos=torch.rand(n, 2), edge_index=torch.randint(n, (2, 9))) for n in (5, 8)]
    batch = HilbertOrder()(next(iter(DataLoader(examples, batch_size=2))))
    assert batch.batch.tolist() == [0] * 5 + [1] * 8
    for before, after, order in zip(examples, batch.to_data_list(), batch.node_order.split([5, 8])):
        assert torch.equal(after.pos, before.pos[order])
        assert torch.equal(order[after.edge_index], before.edge_index)
    assert torch.equal(restore_nodes(batch.pos, batch), torch.cat([data.pos for data in examples]))


def test_positions_are_tensors():
    with pytest.raises(TypeError, match=r"'pos' must be a tensor .got ndarray.; take torch.from_numpy"):
        HilbertOrder()(Data(pos=torch.rand(3, 2).numpy(), num_nodes=3))


@pytest.mark.parametrize(
    "pos, message",
    [
        (None, "has no 'pos'; HilbertOrder"),
        (torch.rand(3), r"\[num_nodes, dims\].*got \[3\], 0 of them"),
        (torch.tensor([[0.0], [torch.nan]]), r"got \[2, 1\], 1 of them not finite"),
    ],
)
def test_positions_are_needed(pos, message):
    with pytest.raises(ValueError, match=message):
        HilbertOrder()(Data(pos=pos, num_nodes=2 if pos is None else len(pos)))
