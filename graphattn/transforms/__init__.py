"""PyG transforms that put a graph on a Data (who attends to whom among its nodes), or an encoding of where nodes are."""

from graphattn.transforms.banded import Banded
from graphattn.transforms.causal import Causal
from graphattn.transforms.complete import Complete
from graphattn.transforms.degrees import AddDegrees
from graphattn.transforms.edges import Edges
from graphattn.transforms.expander import Expander
from graphattn.transforms.global_nodes import GlobalNodes
from graphattn.transforms.grid import Grid
from graphattn.transforms.hops import AddHops
from graphattn.transforms.laplacian_pe import AddLaplacianPE
from graphattn.transforms.random_walk_pe import AddRandomWalkPE

__all__ = [
    'AddDegrees',
    'AddHops',
    'AddLaplacianPE',
    'AddRandomWalkPE',
    'Banded',
    'Causal',
    'Complete',
    'Edges',
    'Expander',
    'GlobalNodes',
    'Grid',
]
