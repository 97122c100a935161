"""Parts as a user writes them in a project of their own, from docs/extending.md: by public names alone."""

from dataclasses import dataclass

import torch
from torch.nn.functional import normalize, pad, softplus

from graphattn.extending import Dot, Graph, Inputs, Kernel, Partial, Reduced, RowNormalizer

JUMPS = [(-2, -1), (-2, 1), (-1, -2), (-1, 2), (1, -2), (1, 2), (2, -1), (2, 1)]  # rows down and columns right


def is_knight_move(query, key, columns=8):
    down, right = query // columns - key // columns, query % columns - key % columns
    return abs(down * right) == 2


class KnightMoves(Graph):
    """Squares of a board of any sides that a knight joins; with `only_down`, those from which it moves down."""

    def __init__(self, rows, columns, only_down=False):
        super().__init__(rows * columns)
        self.rows, self.columns, self.only_down = rows, columns, only_down

    def allows(self, query, key):
        allowed = is_knight_move(query, key, self.columns)
        return allowed & (key // self.columns < query // self.columns) if self.only_down else allowed

    @property
    def jumps(self):
        """To the keys of a square, which they give in ascending order."""
        return [jump for jump in JUMPS if jump[0] < 0 or not self.only_down]

    def keys_by_query(self, device):
        square = torch.arange(self.rows * self.columns, device=device)[:, None]
        down, right = torch.tensor(self.jumps, device=device).T
        row, column = square // self.columns + down, square % self.columns + right
        is_on_board = (row >= 0) & (row < self.rows) & (column >= 0) & (column < self.columns)
        return is_on_board.sum(1), (row * self.columns + column)[is_on_board]


def knight_edges(rows, columns, only_down=False):
    """(key, query) by loops."""
    squares = [(row, column) for row in range(rows) for column in range(columns)]
    return [
        (number, place)
        for place, (row, column) in enumerate(squares)
        for number, (other_row, other_column) in enumerate(squares)
        if {abs(row - other_row), abs(column - other_column)} == {1, 2} and not (only_down and other_row >= row)
    ]


def softplus_of_row(scores):
    weights = softplus(scores)
    return weights / weights.sum(-1, keepdim=True)


@dataclass(frozen=True)
class Softplus(RowNormalizer):
    """The same, which compilers trace whole."""

    name = "softplus"

    def row_weights(self, scores, rows):
        weights = softplus(scores)
        return weights / rows.spread(rows.sum(weights).clamp(min=1e-30))


class Perceptron(torch.nn.Module):
    """v · tanh(A query + B key), another one of each ordered pair of vectors."""

    def __init__(self, dim, hidden=3):
        super().__init__()
        self.of_query, self.of_key = torch.nn.Linear(dim, hidden), torch.nn.Linear(dim, hidden)
        self.vector = torch.nn.Parameter(torch.randn(hidden))

    def forward(self, query, key):
        return (self.of_query(query) + self.of_key(key)).tanh() @ self.vector


class Angle(Reduced):
    """The cosine of the angle between query and key, as a dot product."""

    name = "angle"

    def reduce(self, query, key):
        return normalize(query, dim=-1), normalize(key, dim=-1), Dot()


class Board(Kernel):
    """Softmax over knight's moves: the board is laid over itself once for each jump, and no edge list is made."""

    name = "board"
    graphs = (KnightMoves,)
    takes_other_value_dim = True

    def shifted(self, board, x):
        """[squares, heads, dim] -> [jumps, squares, heads, dim]: of each square, what lies a jump away; 0 beyond the border."""
        padded = pad(x.unflatten(0, (board.rows, board.columns)), (0, 0, 0, 0, 2, 2, 2, 2))
        windows = [padded[2 + down :, 2 + right :][: board.rows, : board.columns] for down, right in board.jumps]
        return torch.stack([window.flatten(0, 1) for window in windows])

    def scores(self, plan, inputs):
        is_on_board = self.shifted(plan.graph, inputs.key.new_ones(plan.graph.num_keys, 1, 1))[..., 0] > 0
        scores = (inputs.query * self.shifted(plan.graph, inputs.key)).sum(-1) * plan.scale
        return scores.masked_fill(~is_on_board, -torch.inf)

    def weights(self, scores, lse):
        return (scores - lse.masked_fill(lse == -torch.inf, 0.0)).exp()  # 0 for a square without jumps

    def forward(self, plan, inputs):
        scores = self.scores(plan, inputs)
        lse = scores.logsumexp(0)
        weights = self.weights(scores, lse)[..., None]
        return Partial((weights * self.shifted(plan.graph, inputs.value)).sum(0), lse)

    def backward(self, plan, inputs, merged, grad):
        weights = self.weights(self.scores(plan, inputs), merged.lse)
        by_weight = (grad.out * self.shifted(plan.graph, inputs.value)).sum(-1)
        by_score = (weights * (by_weight - (grad.out * merged.out).sum(-1)) * plan.scale)[..., None]
        query = (by_score * self.shifted(plan.graph, inputs.key)).sum(0)
        return Inputs(
            query,
            self.gathered(plan.graph, by_score * inputs.query, inputs.key),
            self.gathered(plan.graph, weights[..., None] * grad.out, inputs.value),
        )

    def gathered(self, board, x, like):
        """The transpose of `shifted`."""
        return torch.func.vjp(lambda y: self.shifted(board, y), torch.zeros_like(like))[1](x)[0]
