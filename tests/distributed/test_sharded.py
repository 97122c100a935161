"""Every graph on one, two and four processes: what each owns is what one process computes."""

from functools import partial

import pytest
import torch

from graphattn.testing.problems import CASES, OPTIONS
from tests.distributed.against_one import (
    check_edges,
    check_half_precision,
    check_hidden_keys,
    check_hidden_rows,
    check_hubs,
    check_hubs_lse,
    check_no_sum_of_edges,
    check_one_tensor_as_key_and_value,
    check_options,
    check_random_score,
    check_rules,
    check_split_options,
    devices_of_moved,
)
from tests.distributed.pool import Pool

ALL = list(CASES)
LINES = [name for name, (graph, _) in CASES.items() if type(graph).__name__ in ("CompleteGraph", "BandedGraph")
         and graph.num_examples == 1 and not graph.edges_by_key]  # fmt: skip
SQUARES = [name for name in LINES if CASES[name][0].num_queries == CASES[name][0].num_keys]
# One graph of each kind.
SOME = ["complete_rectangular", "causal", "causal_ragged", "band_dilated_offset_rectangular", "grid_strided", "grid_shift",
        "global", "prefix", "edge_list", "edge_list_repeated", "union_three", "complement", "batch_mixed",
        "transposed_prefix", "zero_keys"]  # fmt: skip


def test_every_graph_gives_the_rows_of_one_process_in_float32(pool):
    pool.run(check_options, ALL, list(OPTIONS), torch.float32, {})


def test_every_option_on_every_graph(pool):
    pool.run(check_options, ALL, list(OPTIONS), torch.float64, {})


@pytest.mark.parametrize("how", [{}, {"rounds": 2}, {"strategy": "heads"}], ids=str)
def test_rules_and_dropout_are_those_of_one_process(pool, how):
    pool.run(check_rules, ALL, torch.float64, how)


def test_rings_are_what_one_process_computes(pool):
    pool.run(check_rules, LINES, torch.float64, {"strategy": "ring"})
    pool.run(check_options, LINES, ["plain", "sink", "relu", "additive", "top_k"], torch.float64, {"strategy": "ring"})


def test_rings_of_a_block_from_the_head_and_one_from_the_tail(pool):
    how = {"order": "head_to_tail"}
    pool.run(check_rules, SQUARES, torch.float64, how)
    pool.run(check_options, SQUARES, ["plain", "edge_values", "cosine", "top_k"], torch.float64, how)
    pool.run(check_one_tensor_as_key_and_value, ["causal"], torch.float64, how)


@pytest.mark.parametrize("how", [{"strategy": "ring"}, {"order": "head_to_tail"}, {"rounds": 2}, {}], ids=str)
def test_log_sum_exps_and_their_gradients(pool, how):
    names = {"strategy": LINES, "order": SQUARES}.get(next(iter(how), ""), SOME)
    options = ["plain", "sink", "cosine"] if "rounds" not in how else ["edges", "sink"]
    pool.run(partial(check_options, return_lse=True), names, options, torch.float64, how)


def test_log_sum_exps_of_hubs(two):
    two.run(check_hubs_lse, ["global", "union_three", "edge_list_star", "edge_list_repeated"])


@pytest.mark.parametrize("how", [{"strategy": "ring"}, {"rounds": 2}, {"order": "head_to_tail"}], ids=str)
def test_rows_hidden_by_large_numbers_and_random_scores(two, how):
    two.run(check_hidden_rows, how)
    two.run(check_random_score, how)


@pytest.mark.parametrize("how", [{"strategy": "ring"}, {"rounds": 2}, {}], ids=str)
def test_one_tensor_as_key_and_value(pool, how):
    names = (
        ["causal", "band_dilated_offset_rectangular"] if how.get("strategy") else ["causal", "union_three", "edge_list"]
    )
    pool.run(check_one_tensor_as_key_and_value, names, torch.float64, how)


@pytest.mark.parametrize("kernel", ["edges_cpu", "edges_torch"])
def test_no_sum_of_edges_is_given_where_none_is_wanted(pool, kernel):
    for how in ({}, {"rounds": 2}):
        pool.run(check_no_sum_of_edges, kernel, how)


def test_rounds_take_what_is_given_per_edge(pool):
    pool.run(check_options, SOME, ["edges", "relu", "sink"], torch.float64, {"rounds": 3})


def test_rows_that_wait_for_nobody_are_computed_first(two):
    assert min(two.run(check_split_options, ALL, ["edge_values", "sink", "top_k"])) >= 25


def test_queries_of_hubs_go_to_their_keys(pools, two):
    four = pools.setdefault(4, pools.get(4) or Pool(4))
    assert min(two.run(check_hubs, ALL, ["plain", "cosine"])) >= 15
    names = ["global", "union_three", "union_ragged", "edge_list_star", "edge_list_repeated"]
    assert min(four.run(check_hubs, names, ["additive", "cosine", "edge_values", "top_k"])) == len(names)


def test_all_that_is_computed_moves_to_a_device(two):
    for devices, count in two.run(devices_of_moved, ["global", "union_three", "edge_list", "batch_mixed"]):
        assert devices == ["meta"] and count >= 8


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("how", [{}, {"strategy": "halo"}], ids=str)
def test_half_precision_where_some_send_and_some_receive(two, dtype, how):
    for score in ("dot", "cosine"):
        names = ["causal", "band_uneven", "edge_list_star", "complete_rectangular"]
        two.run(check_half_precision, names, dtype, how, score)


def test_edges_have_the_weights_of_one_process(pool):
    pool.run(check_edges, ALL)


@pytest.mark.parametrize("how", [{}, {"rounds": 2}, {"strategy": "halo"}], ids=str)
def test_what_a_bias_hides_shows_on_no_process(two, how):
    two.run(check_hidden_keys, ["causal", "complete_rectangular", "union_three", "edge_list"], how)
