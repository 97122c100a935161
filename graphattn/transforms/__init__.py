"""PyG transforms: they put a graph on a Data (who attends to whom), or an encoding of where nodes are, or reorder nodes."""

from graphattn.transforms.banded import Banded
from graphattn.transforms.causal import Causal
from graphattn.transforms.complete import Complete
from graphattn.transforms.curve_order import HilbertOrder, MortonOrder
from graphattn.transforms.degrees import AddDegrees
from graphattn.transforms.edges import Edges
from graphattn.transforms.expander import Expander
from graphattn.transforms.global_nodes import GlobalNodes
from graphattn.transforms.grid import Grid
from graphattn.transforms.hops import AddHops
from graphattn.transforms.laplacian_pe import AddLaplacianPE
from graphattn.transforms.metis_order import MetisOrder
from graphattn.transforms.node_order import restore_nodes
from graphattn.transforms.random_walk_pe import AddRandomWalkPE
from graphattn.transforms.reverse_cuthill_mckee import ReverseCuthillMcKee
from graphattn.transforms.self_loops import SelfLoops

__all__ = [
    "AddDegrees",
    "AddHops",
    "AddLaplacianPE",
    "AddRandomWalkPE",
    "Banded",
    "Causal",
    "Complete",
    "Edges",
    "Expander",
    "GlobalNodes",
    "Grid",
    "HilbertOrder",
    "MetisOrder",
    "MortonOrder",
    "ReverseCuthillMcKee",
    "SelfLoops",
    "restore_nodes",
]
