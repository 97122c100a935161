"""Graphs of every kind with their edges written by plain loops: what graphs and kernels are tested on.

The loops share no code with the graphs: an edge list is a Python list of (key, query) pairs in the order of
`graph.edge_index()`.
"""

from itertools import product

import torch

from graphattn.graphs import (
    BandedGraph,
    CompleteGraph,
    EdgeListGraph,
    GlobalGraph,
    Graph,
    GridGraph,
    PrefixGraph,
    RuleGraph,
    batch_graphs,
    causal,
)

# Edges by definition, each in the order (query, key) ------------------------------------------------------------------


def complete_edges(num_queries, num_keys):
    return [(key, query) for query in range(num_queries) for key in range(num_keys)]


def banded_edges(num_queries, num_keys, before, after, dilation=1, offset=0):
    edges = []
    for query in range(num_queries):
        for step in range(-before, after + 1):
            key = query + offset + dilation * step
            if 0 <= key < num_keys:
                edges.append((key, query))
    return edges


def grid_edges(sides, key_sides, before, after, dilation, stride):
    edges = []
    keys = list(product(*map(range, key_sides)))
    for number, query in enumerate(product(*map(range, sides))):
        windows = [
            [i * s + d * step for step in range(-b, a + 1)]
            for i, b, a, d, s in zip(query, before, after, dilation, stride)
        ]
        near = set(product(*windows))
        edges += [(place, number) for place, key in enumerate(keys) if key in near]
    return edges


def shifted_grid_edges(sides, before, after, dilation):
    edges = []
    nodes = list(product(*map(range, sides)))
    for number, query in enumerate(nodes):
        windows = []
        for i, side, b, a, d in zip(query, sides, before, after, dilation):
            residue = [j for j in range(side) if j % d == i % d]  # the keys this query can see, then its window in them
            start = residue.index(i) - b
            while start < 0:
                start += 1
            while start + b + a >= len(residue):
                start -= 1
            windows.append(residue[start : start + b + a + 1])
        near = set(product(*windows))
        edges += [(place, number) for place, key in enumerate(nodes) if key in near]
    return edges


def window_along_axis(i, side, before, after, dilation, border, group, is_causal):
    """The keys that a query at coordinate i sees along one axis."""
    residue = [j for j in range(side) if j % dilation == i % dilation]
    pieces = [residue[start : start + group] for start in range(0, len(residue), group)]
    (piece,) = [piece for piece in pieces if i in piece]
    if is_causal:
        last = residue.index(piece[-1])
        return [j for place, j in enumerate(residue) if last - before <= place and j <= i]
    leader = residue.index(piece[group // 2] if group // 2 < len(piece) else piece[-1])
    if border == "clip":
        return [j for place, j in enumerate(residue) if leader - before <= place <= leader + after]
    return min(
        (residue[x : x + before + after + 1] for x in range(len(residue) - before - after)),
        key=lambda window: abs(residue.index(window[before]) - leader),
    )


def neighborhood_edges(sides, before, after, dilation, border, group, is_causal):
    """Of grids whose axes differ in border and causality, and whose queries share windows; one entry per axis."""
    edges = []
    nodes = list(product(*map(range, sides)))
    for number, query in enumerate(nodes):
        axes = zip(query, sides, before, after, dilation, border, group, is_causal)
        near = set(product(*(window_along_axis(*axis) for axis in axes)))
        edges += [(place, number) for place, key in enumerate(nodes) if key in near]
    return edges


def global_edges(num_nodes, nodes):
    return [(key, query) for query in range(num_nodes) for key in range(num_nodes) if key in nodes or query in nodes]


def is_near_or_even(query, key):
    """A rule that no class of graphs has."""
    return (abs(query - key) <= 1) | ((query + key) % 4 == 0)


def rule_edges(num_queries, num_keys):
    pairs = [(key, query) for query in range(num_queries) for key in range(num_keys)]
    return [(key, query) for key, query in pairs if -1 <= query - key <= 1 or (query + key) % 4 == 0]


class KnightMoves(Graph):
    """Squares of a chess board that a knight joins, as a user would write it."""

    def __init__(self, side):
        super().__init__(side * side)
        self.side = side

    def allows(self, query, key):
        rows, columns = query // self.side - key // self.side, query % self.side - key % self.side
        return abs(rows * columns) == 2


def knight_edges(side):
    edges = []
    for row, column in product(range(side), repeat=2):
        for other_row, other_column in product(range(side), repeat=2):
            if {abs(row - other_row), abs(column - other_column)} == {1, 2}:
                edges.append((other_row * side + other_column, row * side + column))
    return edges


def prefix_edges(num_nodes, prefix):
    edges = []
    for query in range(num_nodes):
        for key in range(num_nodes):
            if key <= query or (key < prefix and query < prefix):
                edges.append((key, query))
    return edges


def side_by_side(*examples):
    """Edges of a batch: `(num_queries, num_keys, edges)` of each example."""
    edges, first_query, first_key = [], 0, 0
    for num_queries, num_keys, example_edges in examples:
        edges += [(key + first_key, query + first_query) for key, query in example_edges]
        first_query, first_key = first_query + num_queries, first_key + num_keys
    return edges


def in_order(edges):
    """The edges by (query, key), each once."""
    return sorted(set(edges), key=lambda edge: (edge[1], edge[0]))


def complement_edges(num_queries, num_keys, edges):
    return [edge for edge in complete_edges(num_queries, num_keys) if edge not in edges]


def edge_list(edges, num_queries, num_keys=None):
    return EdgeListGraph(torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).t(), num_queries, num_keys)


# Given edges: asymmetric, empty rows and unused keys, columns in no order --------------------------------------------

ASYMMETRIC = [(5, 3), (0, 1), (6, 3), (2, 1), (1, 4), (3, 0), (0, 3), (4, 0), (5, 4)]  # 6 queries (2, 5 empty), 8 keys
REPEATED = [(0, 2), (1, 0), (0, 2), (3, 1), (1, 0), (0, 2), (2, 2), (4, 4)]  # 5 nodes, node 3 has no edge
RAGGED = [(4, 4), (0, 1), (2, 1), (6, 3), (1, 0), (3, 4), (5, 3)]  # 3, 0 and 4 nodes
STAR = [(leaf, 0) for leaf in range(1, 40)] + [(0, leaf) for leaf in range(1, 40)]  # one node of degree 39, others of 1
SQUARE = [(1, 0), (4, 0), (0, 2), (3, 2), (2, 3), (4, 4)]  # 5 nodes, no repeats

_BAND_5 = banded_edges(5, 5, 1, 0)

# (name, graph, edges): every graph runs through every test of graphs and of kernels.
GRAPHS = [
    ("complete", CompleteGraph(5), complete_edges(5, 5)),
    ("complete_rectangular", CompleteGraph(3, 7), complete_edges(3, 7)),
    (
        "complete_ragged",
        CompleteGraph([3, 0, 5]),
        side_by_side((3, 3, complete_edges(3, 3)), (0, 0, []), (5, 5, complete_edges(5, 5))),
    ),
    (
        "complete_ragged_rectangular",
        CompleteGraph([3, 5, 2], [2, 7, 0]),
        side_by_side((3, 2, complete_edges(3, 2)), (5, 7, complete_edges(5, 7)), (2, 0, [])),
    ),
    ("causal", causal(6), banded_edges(6, 6, 6, 0)),
    (
        "causal_ragged",
        causal([3, 1, 4]),
        side_by_side(
            (3, 3, banded_edges(3, 3, 9, 0)), (1, 1, banded_edges(1, 1, 9, 0)), (4, 4, banded_edges(4, 4, 9, 0))
        ),
    ),
    ("band_uneven", BandedGraph(9, 3, 1), banded_edges(9, 9, 3, 1)),
    ("band_one_step_beyond_causal", BandedGraph(6, None, 1), banded_edges(6, 6, 9, 1)),
    ("band_diagonal", BandedGraph(4, 0, 0), banded_edges(4, 4, 0, 0)),
    ("band_dilated", BandedGraph(11, 2, 1, dilation=3), banded_edges(11, 11, 2, 1, 3)),
    (
        "band_dilated_offset_rectangular",
        BandedGraph(5, 1, 2, dilation=2, num_keys=9, offset=3),
        banded_edges(5, 9, 1, 2, 2, 3),
    ),
    (
        "band_lower_right_causal",
        BandedGraph(3, None, 0, num_keys=7, offset=4),
        banded_edges(3, 7, 9, 0, 1, 4),
    ),
    (
        "band_negative_offset_empty_rows",
        BandedGraph(7, 1, 1, num_keys=4, offset=-2),
        banded_edges(7, 4, 1, 1, 1, -2),
    ),
    ("band_far_offset", BandedGraph(4, 2, 2, num_keys=6, offset=5), banded_edges(4, 6, 2, 2, 1, 5)),
    (
        "band_ragged",
        BandedGraph([10, 2, 4], 2, 1),
        side_by_side(
            (10, 10, banded_edges(10, 10, 2, 1)), (2, 2, banded_edges(2, 2, 2, 1)), (4, 4, banded_edges(4, 4, 2, 1))
        ),
    ),
    (
        "band_ragged_lower_right",
        BandedGraph([2, 3], None, 0, num_keys=[5, 4], offset=[3, 1]),
        side_by_side((2, 5, banded_edges(2, 5, 9, 0, 1, 3)), (3, 4, banded_edges(3, 4, 9, 0, 1, 1))),
    ),
    ("grid_1d", GridGraph((7,), 2, 1), grid_edges((7,), (7,), (2,), (1,), (1,), (1,))),
    ("grid_2d", GridGraph((3, 5), 1), grid_edges((3, 5), (3, 5), (1, 1), (1, 1), (1, 1), (1, 1))),
    (
        "grid_2d_uneven",
        GridGraph((4, 3), (1, 0), (2, 1)),
        grid_edges((4, 3), (4, 3), (1, 0), (2, 1), (1, 1), (1, 1)),
    ),
    (
        "grid_3d",
        GridGraph((2, 3, 4), (1, 1, 0), (0, 1, 2)),
        grid_edges((2, 3, 4), (2, 3, 4), (1, 1, 0), (0, 1, 2), (1, 1, 1), (1, 1, 1)),
    ),
    (
        "grid_dilated",
        GridGraph((5, 6), 1, dilation=(2, 3)),
        grid_edges((5, 6), (5, 6), (1, 1), (1, 1), (2, 3), (1, 1)),
    ),
    (
        "grid_strided",
        GridGraph((2, 3), 1, stride=(2, 1)),
        grid_edges((2, 3), (4, 3), (1, 1), (1, 1), (1, 1), (2, 1)),
    ),
    (
        "grid_strided_key_sides_dilated",
        GridGraph((3, 2), (1, 2), (1, 0), dilation=(1, 2), stride=2, key_sides=(5, 4)),
        grid_edges((3, 2), (5, 4), (1, 2), (1, 0), (1, 2), (2, 2)),
    ),
    (
        "grid_shift",
        GridGraph((4, 5), (1, 2), (1, 1), border="shift"),
        shifted_grid_edges((4, 5), (1, 2), (1, 1), (1, 1)),
    ),
    (
        "grid_shift_dilated",
        GridGraph((7, 3), (1, 0), (1, 1), dilation=(2, 1), border="shift"),
        shifted_grid_edges((7, 3), (1, 0), (1, 1), (2, 1)),
    ),
    (
        "grid_ragged",
        GridGraph([(3, 4), (1, 1), (5, 2)], (1, 0), (1, 2)),
        side_by_side(
            *(
                (h * w, h * w, grid_edges((h, w), (h, w), (1, 0), (1, 2), (1, 1), (1, 1)))
                for h, w in ((3, 4), (1, 1), (5, 2))
            )
        ),
    ),
    (
        "grid_ragged_shift",
        GridGraph([(3, 4), (5, 3)], 1, border="shift"),
        side_by_side(
            *((h * w, h * w, shifted_grid_edges((h, w), (1, 1), (1, 1), (1, 1))) for h, w in ((3, 4), (5, 3)))
        ),
    ),
    (
        "grid_causal_axis",
        GridGraph((3, 3, 4), (2, 1, 0), border="shift", is_causal=(True, False, False)),
        neighborhood_edges(
            *((3, 3, 4), (2, 1, 0), (0, 1, 0), (1, 1, 1), ("clip", "shift", "shift"), (1, 1, 1), (False,) * 3)
        ),
    ),
    (
        "grid_borders_dilated",
        GridGraph((6, 7), (2, 1), (1, 1), dilation=(1, 2), border=("clip", "shift")),
        neighborhood_edges((6, 7), (2, 1), (1, 1), (1, 2), ("clip", "shift"), (1, 1), (False, False)),
    ),
    (
        "grid_groups",
        GridGraph((5, 7), (1, 2), (1, 1), border="shift", group=(2, 3)),
        neighborhood_edges((5, 7), (1, 2), (1, 1), (1, 1), ("shift", "shift"), (2, 3), (False, False)),
    ),
    (
        "grid_groups_clip_dilated",
        GridGraph((9,), 1, 2, dilation=2, group=4),
        neighborhood_edges((9,), (1,), (2,), (2,), ("clip",), (4,), (False,)),
    ),
    (
        "grid_groups_causal",
        GridGraph((7, 5), (2, 1), group=(3, 2), dilation=(2, 1), is_causal=(True, False), border="shift"),
        neighborhood_edges((7, 5), (2, 1), (0, 1), (2, 1), ("clip", "shift"), (3, 2), (True, False)),
    ),
    (
        "grid_groups_without_keys",
        GridGraph((5,), 0, group=3, is_causal=True),
        neighborhood_edges((5,), (0,), (0,), (1,), ("clip",), (3,), (True,)),
    ),
    (
        "grid_ragged_groups",
        GridGraph([(5, 4), (1, 2), (3, 6)], (2, 0), 1, group=(2, 4)),
        side_by_side(
            *(
                (h * w, h * w, neighborhood_edges((h, w), (2, 0), (1, 1), (1, 1), ("clip",) * 2, (2, 4), (False,) * 2))
                for h, w in ((5, 4), (1, 2), (3, 6))
            )
        ),
    ),
    (
        "grid_intersection",
        GridGraph((4, 5), (2, 4), (0, 4)) & GridGraph((4, 5), (3, 1), border=("clip", "shift")),
        neighborhood_edges((4, 5), (2, 1), (0, 1), (1, 1), ("clip", "shift"), (1, 1), (False, False)),
    ),
    ("grid_single_pixel", GridGraph((1, 1), 1), [(0, 0)]),
    ("grid_side_of_one", GridGraph((1, 6), 2), grid_edges((1, 6), (1, 6), (2, 2), (2, 2), (1, 1), (1, 1))),
    ("global", GlobalGraph(7, [4, 1]), global_edges(7, [1, 4])),
    ("global_none", GlobalGraph(3, []), []),
    (
        "global_ragged",
        GlobalGraph([4, 2, 5], [0, 2, 8]),
        side_by_side((4, 4, global_edges(4, [0, 2])), (2, 2, []), (5, 5, global_edges(5, [2]))),
    ),
    ("prefix", PrefixGraph(6, 4), prefix_edges(6, 4)),
    (
        "prefix_ragged",
        PrefixGraph([5, 0, 3, 2, 1], [3, 2, 0, 7, 1]),
        side_by_side(
            *((count, count, prefix_edges(count, prefix)) for count, prefix in zip((5, 0, 3, 2, 1), (3, 2, 0, 7, 1)))
        ),
    ),
    ("rule", RuleGraph(5, 7, is_near_or_even), rule_edges(5, 7)),
    (
        "rule_ragged",
        RuleGraph([4, 0, 1], [3, 2, 5], is_near_or_even),
        side_by_side((4, 3, rule_edges(4, 3)), (0, 2, []), (1, 5, rule_edges(1, 5))),
    ),
    ("transposed_rule", RuleGraph(5, 7, is_near_or_even).T, [(query, key) for key, query in rule_edges(5, 7)]),
    ("own_class", KnightMoves(3), knight_edges(3)),
    (
        "own_class_in_a_batch",
        batch_graphs([KnightMoves(3), causal(2)]),
        side_by_side((9, 9, knight_edges(3)), (2, 2, banded_edges(2, 2, 1, 0))),
    ),
    ("transposed_prefix", PrefixGraph(5, 3).T, [(query, key) for key, query in prefix_edges(5, 3)]),
    ("edge_list", edge_list(ASYMMETRIC, 6, 8), ASYMMETRIC),
    ("edge_list_sorted", edge_list(in_order(ASYMMETRIC), 6, 8), in_order(ASYMMETRIC)),
    ("edge_list_repeated", edge_list(REPEATED, 5), REPEATED),
    ("edge_list_ragged", edge_list(RAGGED, [3, 0, 4]), RAGGED),
    ("edge_list_star", edge_list(STAR, 40), STAR),
    ("union", BandedGraph(6, 1, 0) | GlobalGraph(6, [3]), in_order(banded_edges(6, 6, 1, 0) + global_edges(6, [3]))),
    (
        "union_three",
        BandedGraph(5, 1, 0) | GlobalGraph(5, [2]) | edge_list(SQUARE, 5),
        in_order(_BAND_5 + global_edges(5, [2]) + SQUARE),
    ),
    (
        "union_ragged",
        BandedGraph([4, 3], 1, 0) | GlobalGraph([4, 3], [3, 4]),
        side_by_side(
            (4, 4, in_order(banded_edges(4, 4, 1, 0) + global_edges(4, [3]))),
            (3, 3, in_order(banded_edges(3, 3, 1, 0) + global_edges(3, [0]))),
        ),
    ),
    (
        "intersection",
        causal(5) & edge_list(SQUARE, 5),
        [edge for edge in in_order(SQUARE) if edge[0] <= edge[1]],
    ),
    (
        "intersection_rectangular",
        BandedGraph(6, 2, 2, num_keys=8) & edge_list(ASYMMETRIC, 6, 8),
        [edge for edge in in_order(ASYMMETRIC) if edge in banded_edges(6, 8, 2, 2)],
    ),
    ("complement", ~BandedGraph(5, 1, 0), complement_edges(5, 5, _BAND_5)),
    ("complement_edge_list", ~edge_list(ASYMMETRIC, 6, 8), complement_edges(6, 8, ASYMMETRIC)),
    (
        "complement_ragged",
        ~causal([3, 2]),
        side_by_side(
            (3, 3, complement_edges(3, 3, banded_edges(3, 3, 9, 0))),
            (2, 2, complement_edges(2, 2, banded_edges(2, 2, 9, 0))),
        ),
    ),
    (
        "batch_mixed",
        batch_graphs([causal(3), edge_list(ASYMMETRIC, 6, 8), CompleteGraph(2, 3), GridGraph((2, 2), 1, 0)]),
        side_by_side(
            (3, 3, banded_edges(3, 3, 9, 0)),
            (6, 8, ASYMMETRIC),
            (2, 3, complete_edges(2, 3)),
            (4, 4, grid_edges((2, 2), (2, 2), (1, 1), (0, 0), (1, 1), (1, 1))),
        ),
    ),
    (
        "transposed_rectangular",
        CompleteGraph(3, 2).T,
        [(query, key) for key, query in complete_edges(3, 2)],
    ),
    ("transposed_band", BandedGraph(5, 2, 0).T, [(query, key) for key, query in banded_edges(5, 5, 2, 0)]),
    ("transposed_edge_list", edge_list(ASYMMETRIC, 6, 8).T, [(query, key) for key, query in ASYMMETRIC]),
    (
        "transposed_strided_grid",
        GridGraph((2, 3), 1, stride=2).T,
        [(query, key) for key, query in grid_edges((2, 3), (4, 6), (1, 1), (1, 1), (1, 1), (2, 2))],
    ),
    (
        "transposed_grid_with_groups",
        GridGraph((5, 4), 1, group=(2, 3), border=("shift", "clip")).T,
        [
            (query, key)
            for key, query in neighborhood_edges(
                *((5, 4), (1, 1), (1, 1), (1, 1), ("shift", "clip"), (2, 3), (False, False))
            )
        ],
    ),
    ("zero_nodes", CompleteGraph(0), []),
    ("zero_keys", CompleteGraph(3, 0), []),
    ("zero_queries", CompleteGraph(0, 3), []),
    ("zero_edges", edge_list([], 4, 3), []),
    ("single_node", CompleteGraph(1), [(0, 0)]),
]
