"""Edges in files that no process reads as a whole: run on each of them."""

from pathlib import Path

import numpy as np
import torch

from graphattn import EdgeListGraph, attend
from graphattn.distributed import MappedRows, balanced_ptr, read_edges, shard
from tests.distributed.faults import words_of

N, KEYS = 23, 17


def edges_of(seed=0, count=101):
    generator = torch.Generator().manual_seed(seed)
    return torch.stack(
        [torch.randint(KEYS, (count,), generator=generator), torch.randint(N, (count,), generator=generator)]
    )


def write(folder):
    """Pieces of unequal sizes, one of them empty, in several types of numbers."""
    pieces = edges_of().numpy().astype(np.int32), np.empty((2, 0), np.int64), edges_of(1, 40).numpy().astype(np.uint8)
    for number, piece in enumerate(pieces):
        np.save(Path(folder, f"edges_{number}.npy"), piece)
    whole = torch.cat([edges_of(), edges_of(1, 40)], 1)
    MappedRows.save(Path(folder, "edge_attr.npy"), torch.arange(2.0 * whole.size(1)).view(-1, 2))
    return whole


def paths(folder):
    return [Path(folder, f"edges_{number}.npy") for number in range(3)]


class Seen:
    """An array that knows which columns were read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.columns = array, array.shape, array.dtype, []

    def __getitem__(self, index):
        self.columns.append(index[1].stop - index[1].start)
        return self.array[index]


def check_read(folder, options):
    whole = torch.cat([edges_of(), edges_of(1, 40)], 1)
    graph = EdgeListGraph(whole, N, KEYS)
    own = read_edges(paths(folder), N, KEYS, **options)
    sharded = shard(own.graph, query_ptr=own.query_ptr, own_edges=True)
    if options.get("balanced"):
        assert own.query_ptr == balanced_ptr(graph, sharded.num_processes)
    start, stop = sharded.rows.start, sharded.rows.stop
    wanted = ((whole[1] >= start) & (whole[1] < stop)).nonzero().flatten()
    assert torch.equal(own.places, wanted) and torch.equal(own.graph.edge_index(), whole[:, wanted])
    features = MappedRows(Path(folder, "edge_attr.npy"))[own.places]
    generator = torch.Generator().manual_seed(3)
    query, key = torch.randn(N, 2, 4, generator=generator), torch.randn(KEYS, 2, 4, generator=generator)
    all_features = torch.arange(2.0 * whole.size(1)).view(-1, 2)
    found = attend(query[sharded.rows], key[sharded.key_rows], key[sharded.key_rows], sharded, edge_features=features)
    for one, other in zip(found, attend(query, key, key, graph, edge_features=all_features)):
        torch.testing.assert_close(one, other[sharded.rows])


def columns_read(chunk):
    """How many columns this process reads at a time."""
    array = Seen(edges_of().numpy())
    read_edges([array], N, KEYS, chunk=chunk)
    return array.columns


def odd_files(folder):
    """Files and things that hold no edges; a file that is empty with the second process alone."""
    path, rank = Path(folder), torch.distributed.get_rank()
    if rank == 0:
        np.savez(path / "several.npz", edges_of().numpy())
        (path / "nothing.npy").touch()
        np.save(path / "reversed.npy", np.asfortranarray(edges_of().numpy().astype(">i4")))
    torch.distributed.barrier()
    own, wanted = read_edges([path / "reversed.npy"], N, KEYS), read_edges([edges_of()], N, KEYS)
    assert torch.equal(own.graph.edge_index(), wanted.graph.edge_index())
    return [
        words_of(read_edges, [path / "several.npz"], N, KEYS),
        words_of(read_edges, [edges_of() if rank == 0 else path / "nothing.npy"], N, KEYS),
        words_of(read_edges, [[[0, 1], [1, 2]]], N, KEYS),
        words_of(read_edges, None, N, KEYS),
    ]


def mistakes(folder, rank_of_other):
    wrong = edges_of()
    wrong[0, 90] = KEYS  # with the last process
    other = paths(folder)[:2] if torch.distributed.get_rank() == rank_of_other else paths(folder)
    return [
        words_of(read_edges, [wrong], N, KEYS),
        words_of(read_edges, other, N, KEYS),
        words_of(read_edges, [edges_of().t()], N, KEYS),
        words_of(read_edges, [edges_of().double()], N, KEYS),
        words_of(read_edges, str(paths(folder)[0]), N, KEYS),
        words_of(read_edges, [Path(folder, str(torch.distributed.get_rank() or "edges_0.npy"))], N, KEYS),
        words_of(read_edges, paths(folder), N, KEYS, query_ptr=[0, N], balanced=True),
    ]
