"""A difference or a mistake of one process is one clear error on every process, and none waits for ever."""

import pytest

from tests.distributed import faults
from tests.distributed.pool import Pool


@pytest.mark.parametrize(
    "function",
    [faults.other_graph, faults.other_edges, faults.swapped_edges, faults.other_strategy],
    ids=lambda f: f.__name__,
)
def test_other_arguments_of_shard_are_said_on_all(two, function):
    found = two.run(function)
    assert found[0] == found[1]
    assert found[0].startswith("ValueError: processes disagree about shard (got ")
    assert "rank 0 " in found[0] and "rank 1 " in found[0]


def test_the_dtype_of_edges_is_no_difference(two):
    assert two.run(faults.narrow_edges) == ["no error"] * 2


@pytest.mark.parametrize("name", faults.OTHERS)
def test_other_options_are_said_on_all_and_what_follows_runs(two, name):
    found = two.run(faults.other_option, name)
    assert found[0] == found[1]
    assert found[0].startswith(f"ValueError: processes disagree about a call of attend (got {name}: rank 0 ")


def test_options_that_differ_in_details_are_said_on_all(two):
    for name, (fact, _, _) in faults.DETAILS.items():
        here, there = two.run(faults.other_detail, name)
        assert here == there
        assert here.startswith(f"ValueError: processes disagree about a call of attend (got {fact}: rank 0 "), name
    for found in zip(*two.run(faults.other_tensor_of_edges), ("bias", "bias", "edge_features"), strict=True):
        assert found[0] == found[1] and f"about a call of attend (got {found[2]}: rank 0 " in found[0]


def test_mistakes_of_one_do_not_let_others_wait(two):
    here, there = two.run(faults.mistakes_of_one)
    for words, own, said in zip(here, there, ("'dropout' must be a probability", "'query' must be a torch.Tensor")):
        assert said in own and words.startswith("ValueError: a call of attend failed on other processes: rank 1: ")
    assert here[2] == there[2] and "'return_lse' needs the softmax (got normalizer 'relu')" in here[2]


def test_who_shares_a_graph_must_be_said_well(two):
    for rank, (mesh, first, name, timeout, *sizes) in enumerate(two.run(faults.other_processes)):
        assert "'mesh' must have one axis" in mesh and "mesh['name']" in mesh
        assert first == "no error" if rank == 0 else "'mesh' is a group of other processes" in first
        assert name == "TypeError: 'mesh' must be a DeviceMesh, a process group or None (got 'gloo')"
        assert timeout == "ValueError: 'timeout' must be seconds above 0 (got 0)" and sizes == [2, 2]


def test_other_dtypes_and_gradients_are_said_on_all(two):
    for function, name in ((faults.other_dtype, "query"), (faults.other_gradients, "requires_grad")):
        found = two.run(function)
        assert found[0] == found[1] and f"about a call of attend (got {name}: rank 0 " in found[0]


def test_mistakes_of_one_are_said_on_all(two):
    here, there = two.run(faults.wrong_rows)
    assert here.startswith("ValueError: 'graph' joins 12 queries to 12 keys (got 11 queries and 12 keys)")
    assert there.startswith(
        "ValueError: a call of attend failed on other processes: rank 0: ValueError: 'graph' joins 12"
    )
    here, there = two.run(faults.foreign_edges)
    assert "with 'own_edges' all edges end at the queries 0 .. 11 of rank 0 (got query 23)" in here
    assert "with 'own_edges' all edges end at the queries 12 .. 23 of rank 1 (got query 0)" in there
    assert all("'query_ptr' must rise from 0 to 24 in 3 numbers" in words for words in two.run(faults.wrong_ptr))


def test_rows_of_the_whole_graph_are_refused(two):
    for rank, (whole, weights, scores, *sums, layer, loader) in enumerate(two.run(faults.rows_of_all)):
        assert whole.endswith("pass the rows of this process, x[graph.rows] and key[graph.key_rows]")
        assert "takes a row for each of the 12 own keys of rank" in weights and "x[graph.key_rows]" in weights
        assert "takes a row for each of the 12 own queries of rank" in scores and "x[graph.rows]" in scores
        assert all("a weighted sum" in words and "12 own keys of rank" in words for words in sums)
        assert sums[2].startswith("ValueError: a weighted sum takes") == (rank == 1)
        assert layer.endswith("(got num_queries=24); pass the rows of this process, x[graph.rows]")
        assert "batches of the rows of a whole graph" in loader


def test_who_does_not_come_is_waited_for_no_longer_than_the_timeout(two):
    found = two.run(faults.absent_from_shard)
    assert found[0].startswith("RuntimeError: not every process came to shard within 1.5 seconds")
    found = two.run(faults.absent_from_attend)
    assert found[0].startswith(
        "RuntimeError: a call of attend: a process of the group is gone, or did not call it within 2"
    )


def test_the_death_of_one_is_told_by_the_others():
    pool = Pool(2)
    pool.start(faults.one_dies)
    assert pool.pipes[0].poll(60)
    is_well, words = pool.pipes[0].recv()
    pool.processes[1].join(10)
    assert is_well and words.startswith("RuntimeError: a call of attend: a process of the group is gone")
    assert pool.processes[1].exitcode == 3
    pool.close()


def test_what_a_part_cannot_do_is_refused_in_words(two):
    for found in two.run(faults.refusals):
        wanted = [
            "edges of a ShardedGraph lead to keys of other processes",
            "edges of a ShardedGraph lead to keys of other processes",
            "belongs to the processes that made it",
            "'graph' is sharded already",
            "strategy 'ring' runs complete graphs and bands of one example",
            "'strategy' must be one of",
            "'rounds' are of strategy 'halo'",
            "'order' must be None or 'head_to_tail' (got 'tail')",
            "order 'head_to_tail' is for complete graphs and bands of one example",
            "order 'head_to_tail' makes the ranges itself and runs as a ring (got [], strategy='halo')",
        ]
        for words, begin in zip(found, wanted, strict=True):
            assert begin in words, words


@pytest.mark.parametrize("ptrs", [([0, 0, 24], [0, 15, 15]), ([0, 23, 24], [0, 1, 15])], ids=str)
def test_rows_may_be_spread_unevenly(two, ptrs):
    two.run(faults.uneven, *ptrs)


def test_ranks_may_be_empty(pool):
    size = len(pool.pipes)
    pool.run(faults.uneven, [0] * size + [24], [0] + [15] * size)


def test_edges_may_be_given_to_their_owners_alone(pool):
    pool.run(faults.own_edges)
