"""Layers, blocks, drop-ins and training over a sharded graph are those of one process."""

import pytest
import torch

from tests.distributed import layers
from tests.distributed.pool import Pool


def test_layers_and_their_parameters(pool):
    pool.run(layers.check_layers)


def test_layers_over_head_and_tail(two):
    two.run(layers.check_layers, True)


def test_local_and_global_attention(pool):
    pool.run(layers.check_gps)


def test_what_would_take_own_nodes_for_all_is_refused(two):
    for alone, own, local, norm, performer in two.run(layers.gps_refused):
        assert "global attention over all nodes needs those of other processes" in own
        assert "global attention over all nodes needs those of other processes" in alone
        assert "'edge_index' must be sharded as 'graph' is" in local
        assert "takes its mean over the nodes of an example, which lie with several processes" in norm
        assert "form 'chunks' needs a graph that is complete or causal" in performer


def test_recomputed_layers(two):
    two.run(layers.check_recomputing)


def test_compiled_layers(two):
    two.run(layers.check_compiled_layers)
    for words in two.run(layers.compiled_as_one_piece):
        assert "compiled code cannot wait for other processes; the layers in between are compiled" in words


def test_second_derivatives_and_graphs_of_heads(two):
    two.run(layers.check_second_derivatives)
    two.run(layers.check_heads_of_their_own_graphs)
    assert all("are differentiable once" in words for words in two.run(layers.second_derivative_of_parts))


def test_what_needs_the_edges_of_all_is_refused_in_words(two):
    for found in two.run(layers.refused):
        assert "PerHead" in found[0]
        assert all("edges of a ShardedGraph lead to keys of other processes" in words for words in found[1:3])
        assert "edges of a ShardedGraph lead to keys" in found[3]


def test_global_attention_needs_a_graph_of_all_nodes(two):
    for without_graph, by_graph in two.run(layers.check_global_attention):
        assert "give graph=shard(CompleteGraph(num_nodes))" in without_graph
        assert "takes its mean over the nodes of an example" in by_graph
    for words in two.run(layers.check_language_of_tokens):
        assert "give the sharded one to a module of TokenEmbedding, GraphTransformer" in words


def test_readouts_and_norms_reduce_over_processes(pool):
    pool.run(layers.check_readouts_and_norms)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_norms_and_losses_in_half_precision(two, dtype):
    two.run(layers.check_half_precision_of_norms_and_losses, dtype)


def test_a_norm_of_one_node_is_refused_on_all(two):
    for words in two.run(layers.norms_of_one_node_and_of_none):
        assert words.startswith("ValueError: batch norm needs more than one node over all processes")


def test_three_steps_under_data_parallel_are_those_of_one_process(pool):
    pool.run(layers.check_three_steps)


def test_three_steps_with_sharded_parameters_are_too(two):
    two.run(layers.check_three_steps, True)


def test_a_checkpoint_of_four_goes_on_on_two_and_one(pools, tmp_path):
    for size in (1, 2, 4):
        pools.setdefault(size, Pool(size)) if size not in pools else None
    pools[4].run(layers.save_after_two, str(tmp_path))
    wanted, _ = layers.train_alone(4)
    for size in (4, 2, 1):
        for found in pools[size].run(layers.go_on, str(tmp_path)):
            torch.testing.assert_close(torch.tensor(found), torch.tensor(wanted[2:]), rtol=0, atol=1e-12)
