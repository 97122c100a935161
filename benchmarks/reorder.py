"""The gain of near numbers for near nodes: attention over the nearest neighbours of points, numbered at random and in order.

    python -m benchmarks.reorder

Points at random in a square (a cube with --dims 3) attend to the --neighbours points nearest to them. Peers are the kernel
'edges' on the nodes as they are and renumbered by each transform of graphattn.transforms; all are checked to give the same.
A line for each tells how edges lie in tiles of 128 x 128 queries and keys, and what the order costs once.
"""

import time

import torch
from scipy.spatial import KDTree
from torch import Tensor
from torch_geometric.data import Data

from benchmarks import expected
from benchmarks.edges import node_tensors
from benchmarks.measure import Case, Peer
from benchmarks.report import Report, parser, seconds
from graphattn import attend
from graphattn.graphs import EdgeListGraph, Graph
from graphattn.transforms import HilbertOrder, MortonOrder, ReverseCuthillMcKee
from graphattn.transforms.node_order import NodeOrder

TILE = 128  # queries, and keys


class AsGiven(NodeOrder):
    """No change."""

    def order(self, data: Data) -> Tensor:
        return torch.arange(data.num_nodes)


ORDERS = {
    "as given": AsGiven(),
    "Hilbert": HilbertOrder(),
    "Morton": MortonOrder(),
    "reverse Cuthill-McKee": ReverseCuthillMcKee(),
}


def points(num_nodes: int, neighbours: int, dims: int) -> Data:
    """Each of the random points with edges from the nearest others."""
    pos = torch.rand(num_nodes, dims, generator=torch.Generator().manual_seed(0))
    _, near = KDTree(pos).query(pos, neighbours + 1, workers=-1)
    key = torch.from_numpy(near[:, 1:]).flatten()  # the nearest is the point itself
    query = torch.arange(num_nodes).repeat_interleave(neighbours)
    edge_index = torch.stack([key, query])
    return Data(pos=pos, edge_index=edge_index, graph=EdgeListGraph(edge_index, num_nodes))


def occupancy(graph: Graph) -> tuple[float, float]:
    """(share of tiles that hold an edge, mean number of edges in those)."""
    key, query = graph.edge_index() // TILE
    rows, columns = (-(-size // TILE) for size in graph.shape)
    filled = (query * columns + key).unique().numel()
    return filled / (rows * columns), graph.num_edges / max(filled, 1)


def renumbered(graph: Graph, order: Tensor) -> Peer:
    """Attention over a renumbered graph; inputs and outputs are put in order outside the clock."""
    back = order.argsort()
    return Peer(lambda *tensors: attend(*tensors, graph, kernel="edges"), lambda x: x[order], lambda x: x[back])


def order_case(orders: dict[str, Data], heads: int, dim: int) -> Case:
    found = {name: renumbered(data.graph, data.node_order) for name, data in orders.items()}
    data = orders["as given"]
    return Case(node_tensors(3, data.num_nodes, heads, dim), found, expected.dot(data.graph), data.num_nodes)


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    for name, size in {"nodes": 200_000, "neighbours": 20, "dims": 2, "heads": 8, "dim": 16}.items():
        options.add_argument(f"--{name}", type=int, default=size, help=f"default {size}")
    options = options.parse_args(arguments)
    options.no_memory = True  # the same in every order
    report = Report("reorder", options)
    data, orders, notes = points(options.nodes, options.neighbours, options.dims), {}, []
    for name, transform in ORDERS.items():
        start = time.perf_counter()
        orders[name] = transform(data)
        spent = seconds(time.perf_counter() - start)
        share, mean = occupancy(orders[name].graph)
        notes.append(f"{name}: {share:.2%} of tiles hold edges, {mean:.1f} each; ordered in {spent}")
    work = f"{options.nodes} points, {options.neighbours} nearest of each"
    report.run(work, order_case, orders, options.heads, options.dim)
    report.say("\n" + "\n".join(notes))
    report.save()


if __name__ == "__main__":
    main()
