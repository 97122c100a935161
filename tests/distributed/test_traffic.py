"""Rows received are those that the formulas say, and what is chosen is told with them."""

import sys

import pytest

from tests.distributed import volumes
from tests.distributed.pool import Pool


def test_bands_and_grids_move_the_same_whatever_their_length_and_the_number_of_processes(pools):
    for size in (2, 4):
        pool = pools.setdefault(size, pools.get(size) or Pool(size))
        for rank, (bands, grids, shifted) in enumerate(pool.run(volumes.bands_and_grids)):
            neighbours = (rank > 0) * 5 + (rank + 1 < size) * 2
            slabs = ((rank > 0) + (rank + 1 < size)) * 2 * 6 * 5
            assert bands == [neighbours] * 2 and grids == [slabs] * 2 and shifted == [slabs] * 2


def test_edges_move_each_foreign_key_once(pool):
    assert all(found == wanted for found, wanted in pool.run(volumes.unique_sources))


def test_rings_and_rounds_bound_what_is_in_memory(pools):
    pool = pools.setdefault(4, pools.get(4) or Pool(4))
    for rank, (ring, halo, rounds, lower) in enumerate(pool.run(volumes.rings, 80)):
        assert ring.own == 20 and ring.received == halo.received == rounds.received == 60
        assert (ring.in_memory, halo.in_memory, rounds.in_memory) == (40, 60, 12)
        assert lower.received == 20 * rank  # causal rows fetch nothing that comes after them
        assert ring.sent == 60 and lower.sent == 20 * (3 - rank)


def test_what_is_counted_is_sent(two):
    for sent, wanted in two.run(volumes.sent_bytes):
        assert sum(sent) == 4 * wanted + 2 * wanted


def test_rows_are_computed_while_keys_and_their_gradients_are_under_way(two):
    for forward, backward in two.run(volumes.order_of_work):
        assert forward == ["send", "inner", "wait", "outer", "outer"]
        assert backward == ["outer", "outer", "send", "inner", "wait"]


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read as Linux tells it")
def test_a_ring_holds_two_blocks(pools):
    """Of four processes, of whose keys a halo holds all, packed and unpacked."""
    pool = pools.setdefault(4, pools.get(4) or Pool(4))
    keys, block = 400_000, 100_000 * 2 * 64 * 4 / 2**20  # MB of keys and values of one process
    ring, halo = (pool.run(volumes.peak_of, strategy, keys) for strategy in ("ring", "halo"))
    assert max(ring) < 3.5 * block < 6 * block < min(halo), (ring, halo, block)


def test_choices_are_explained_by_bytes(two):
    for ring, halo, union, heads in two.run(volumes.choices):
        assert ring.kernel.startswith("ring (20 rows, 2560 bytes) + ")
        assert "'halo' would keep all keys that own rows see in memory" in ring.refusals["halo"]
        assert "needs a multiple of 2 heads (got 2)" in ring.refusals["heads"]
        assert halo.kernel.split(" (")[0] == "halo"
        assert halo.refusals["ring"] == "'ring' would move all 20 other rows of keys here, 2560 bytes"
        assert union.kernel.startswith("halo (")
        assert heads.kernel.startswith("heads (")


@pytest.fixture(autouse=True)
def shared(pools):
    return pools
