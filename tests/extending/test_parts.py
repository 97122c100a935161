"""Parts of a user's own run wherever those of this package do, and equal plain loops in float64, gradients too."""

import ast
from pathlib import Path

import pytest
import torch
from torch.nn import Module
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from graphattn import BandedGraph, PerHead, RuleGraph, attend, batch_graphs, choose_kernel
from graphattn.extending import register_kernel, remove_kernel
from graphattn.nn import GraphAttention
from graphattn.testing import check_graph, check_kernel, check_normalizer, check_score, loop_attention
from tests.extending.parts import (
    Angle,
    Board,
    KnightMoves,
    Perceptron,
    Softplus,
    is_knight_move,
    knight_edges,
    softplus_of_row,
)

BOARDS = [(3, 5), (4, 4, True), (1, 2)]  # the last one has no edges


@pytest.fixture
def board_kernel():
    """Registered, so that it is asked before all others."""
    register_kernel(Board())
    yield "board"
    remove_kernel("board")


def side_by_side(boards):
    edges, first = [], 0
    for board in boards:
        edges += [(first + key, first + query) for key, query in knight_edges(*board)]
        first += board[0] * board[1]
    return edges


def vectors(nodes, heads=2, dim=5):
    return [torch.randn(nodes, heads, dim, dtype=torch.float64, requires_grad=True) for _ in range(3)]


def assert_same(found, wanted, inputs):
    """And their gradients, from random cotangents."""
    torch.testing.assert_close(found, wanted)
    cotangent = torch.randn_like(wanted)
    torch.testing.assert_close(*(torch.autograd.grad(x, inputs, cotangent) for x in (found, wanted)))


def test_by_public_names_alone():
    tree = ast.parse((Path(__file__).parent / "parts.py").read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module for module in modules if module.startswith("graphattn")} == {"graphattn.extending"}


# Each by itself -----------------------------------------------------------------------------------------------------------


def test_a_rule():
    check_graph(RuleGraph(64, rule=is_knight_move), knight_edges(8, 8))


@pytest.mark.parametrize("board", [(8, 8), (0, 3), (2, 3, True), *BOARDS])
def test_a_class(board):
    check_graph(KnightMoves(*board), knight_edges(*board))


@pytest.mark.parametrize("normalizer", [softplus_of_row, Softplus()])
def test_a_normalizer(normalizer):
    check_normalizer(normalizer)


@pytest.mark.parametrize("score", [Perceptron(5), Angle()])
def test_a_score(score):
    check_score(score)


def test_a_kernel():
    ran = check_kernel(
        Board(), graphs=[(f"board {board}", KnightMoves(*board), knight_edges(*board)) for board in BOARDS]
    )
    assert ran == {f"board {board}": ["plain", "scale", "cosine"] for board in BOARDS}


# Together -----------------------------------------------------------------------------------------------------------------


def score_of_loops(score):
    """(query [dim], key [dim]) -> number, as `loop_attention` asks it."""
    if isinstance(score, Angle):
        return lambda query, key: query @ key / (query.norm() * key.norm())
    return score if isinstance(score, Module) else "dot"


@pytest.mark.parametrize("score", ["dot", Perceptron(5).double(), Angle()])
@pytest.mark.parametrize("normalizer", ["softmax", softplus_of_row, Softplus()])
def test_a_batch_equals_loops(score, normalizer):
    edges, inputs = side_by_side(BOARDS), vectors(33)
    graph = batch_graphs([KnightMoves(*board) for board in BOARDS])
    row = softplus_of_row if isinstance(normalizer, Softplus) else normalizer
    learned = list(score.parameters()) if isinstance(score, Module) else []
    found = attend(*inputs, graph, score=score, normalizer=normalizer)
    assert_same(found, loop_attention(*inputs, edges, score=score_of_loops(score), normalizer=row)[0], inputs + learned)


def test_the_kernel_runs_each_example_of_a_batch(board_kernel):
    graph, inputs = batch_graphs([KnightMoves(*board) for board in BOARDS]), vectors(33)
    assert choose_kernel(graph, *inputs) == (board_kernel, {})
    assert_same(attend(*inputs, graph), loop_attention(*inputs, side_by_side(BOARDS))[0], inputs)


def test_the_kernel_runs_a_part_of_a_larger_graph(board_kernel):
    inputs = vectors(15)
    graph = batch_graphs([KnightMoves(3, 4), BandedGraph(3, 1, 1)])
    assert board_kernel in choose_kernel(graph, *inputs).kernel
    edges = knight_edges(3, 4) + [
        (12 + key, 12 + query) for query in range(3) for key in range(3) if abs(query - key) < 2
    ]
    assert_same(attend(*inputs, graph), loop_attention(*inputs, edges)[0], inputs)


@pytest.mark.parametrize("kernel", [None, "board", "edges_torch"])
def test_each_head_has_its_board(kernel, board_kernel):
    graphs, edges = ([make(3, 5), make(3, 5, True)] for make in (KnightMoves, knight_edges))
    inputs = vectors(15)
    by_head = [loop_attention(*(x[:, [head]] for x in inputs), edges[head])[0] for head in range(2)]
    assert_same(attend(*inputs, PerHead(graphs), kernel=kernel), torch.cat(by_head, 1), inputs)


def test_each_head_has_its_board_with_a_normalizer_and_a_score_that_have_none():
    inputs, graphs = vectors(15), [KnightMoves(3, 5), KnightMoves(3, 5, True)]
    edges = [knight_edges(3, 5), knight_edges(3, 5, True)]
    for normalizer in (softplus_of_row, Softplus()):
        found = attend(*inputs, PerHead(graphs), normalizer=normalizer, score=Angle())
        options = {"normalizer": softplus_of_row, "score": score_of_loops(Angle())}
        by_head = [loop_attention(*(x[:, [head]] for x in inputs), edges[head], **options)[0] for head in range(2)]
        assert_same(found, torch.cat(by_head, 1), inputs)


def test_each_head_has_its_board_with_a_score_that_sees_all_heads():
    inputs, graphs, score = vectors(15), [KnightMoves(3, 5), KnightMoves(3, 5, True)], Perceptron(5).double()
    found = attend(*inputs, PerHead(graphs), score=score)
    for head, graph in enumerate(graphs):
        torch.testing.assert_close(found[:, head], attend(*inputs, graph, score=score)[:, head])


# In a layer ---------------------------------------------------------------------------------------------------------------


def layers():
    torch.manual_seed(0)
    yield GraphAttention(6, 4, heads=2, normalizer=Softplus())
    yield GraphAttention(6, 4, heads=2, score=Perceptron(4), normalizer=Softplus())
    yield GraphAttention(6, 4, heads=2, score=Angle())


def test_a_layer_learns_through_them():
    layer = GraphAttention(6, 4, heads=2, score=Perceptron(4), normalizer=softplus_of_row).double()
    x = torch.randn(15, 6, dtype=torch.float64, requires_grad=True)
    inputs = [linear(x).view(15, 2, 4) for linear in (layer.lin_query, layer.lin_key, layer.lin_value)]
    wanted = loop_attention(*inputs, knight_edges(3, 5), score=layer.score, normalizer=softplus_of_row)[0].flatten(1)
    assert_same(layer(x, KnightMoves(3, 5)), wanted, [x, *layer.parameters()])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_batches_them(workers):
    data = [Data(x=torch.randn(board[0] * board[1], 6), graph=KnightMoves(*board)) for board in BOARDS]
    (batch,) = DataLoader(data, batch_size=len(data), num_workers=workers)
    for layer in layers():
        each = torch.cat([layer(one.x, one.graph) for one in data])
        torch.testing.assert_close(layer(batch.x, batch.graph), each)


def assert_compiles(layer, x, graph, fullgraph=True):
    torch._dynamo.reset()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=fullgraph)
    assert_same(compiled(x, graph), layer(x, graph), list(layer.parameters()))


def test_compiled_whole():
    graph, x = batch_graphs([KnightMoves(3, 5), KnightMoves(2, 4, True)]), torch.randn(23, 6)
    for layer in layers():
        assert_compiles(layer, x, graph)


def test_compiled_with_the_kernel_and_for_each_head(board_kernel):
    layer, x = GraphAttention(6, 4, heads=2, kernel=board_kernel), torch.randn(15, 6)
    assert_compiles(layer, x, KnightMoves(3, 5))
    assert_compiles(layer, x, PerHead([KnightMoves(3, 5), KnightMoves(3, 5, True)]))


def test_compiled_around_a_function_as_normalizer():
    layer, x = GraphAttention(6, 4, heads=2, normalizer=softplus_of_row), torch.randn(15, 6)
    assert_compiles(layer, x, KnightMoves(3, 5), fullgraph=False)
    with pytest.raises(
        torch._dynamo.exc.Unsupported, match="a function as normalizer is not traced; a RowNormalizer is"
    ):
        assert_compiles(layer, x, KnightMoves(3, 5))
