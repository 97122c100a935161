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


def test_heads_move_no_rows_of_keys(two):
    for words, chosen in two.run(volumes.traffic_by_heads):
        assert "not what the strategy 'heads' moves" in words and chosen.startswith("heads (2560 bytes)")


def test_head_and_tail_balance_each_step_of_a_causal_ring(pools):
    pool = pools.setdefault(4, pools.get(4) or Pool(4))
    found = pool.run(volumes.work_of_steps, 800)
    block = 100 * 100
    for rank, ((balanced, rows, traffic), (alone, _, _)) in enumerate(found):
        assert rows == traffic.own == 200 and balanced == [2 * block + 100, 2 * block, 2 * block, 2 * block]
        assert sum(alone) == 4 * block * rank + 2 * block + 100  # from a seventh to nearly twice the mean
        assert traffic.received == 100 * 3 + 100 * (3 - rank)  # heads of all, and tails of those behind
        assert traffic.in_memory <= 400


def test_a_hub_sends_its_query_instead_of_fetching_all_keys(pools):
    pool = pools.setdefault(4, pools.get(4) or Pool(4))
    n, quarter = 4000, 1000
    for rank, (union, star, halo, spread, words) in enumerate(pool.run(volumes.hubs, n)):
        neighbours = (rank > 0) * 3 + (rank < 3) * 1
        is_hub = rank == 0
        assert halo.received == (3 * quarter if is_hub else neighbours + 1) and halo.queries_sent == 0
        for traffic, others in ((union, neighbours), (star, 0)):
            assert traffic.received == others + (not is_hub)  # and the key of the hub
            assert (traffic.queries_sent, traffic.queries_received) == ((3, 0) if is_hub else (0, 1))
        assert star.num_bytes(2, 8) == (3 * 2 * 9 * 4 if is_hub else 2 * 16 * 4 + 2 * 8 * 4)
        assert (spread.queries_sent, spread.queries_received) == (0, 0)
        assert ("3 queries of hubs go to their keys instead of 3000 rows here" in words) == is_hub


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


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read as Linux tells it")
def test_a_ring_holds_two_blocks_where_the_log_sum_exp_is_given_too(pools):
    pool = pools.setdefault(4, pools.get(4) or Pool(4))
    keys, block = 400_000, 100_000 * 2 * 64 * 4 / 2**20
    ring, halo = (pool.run(volumes.peak_with_lse, strategy, keys) for strategy in ("ring", "halo"))
    assert max(forward for _, forward in ring) < 4.5 * block < 6 * block < min(forward for _, forward in halo)
    assert max(both for both, _ in ring) < 11 * block < 12 * block < min(both for both, _ in halo)


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
