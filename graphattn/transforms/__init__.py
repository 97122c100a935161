"""PyG transforms that put a graph on a Data: who attends to whom among its nodes."""

from graphattn.transforms.banded import Banded
from graphattn.transforms.causal import Causal
from graphattn.transforms.complete import Complete
from graphattn.transforms.edges import Edges
from graphattn.transforms.expander import Expander
from graphattn.transforms.global_nodes import GlobalNodes
from graphattn.transforms.grid import Grid

__all__ = ['Banded', 'Causal', 'Complete', 'Edges', 'Expander', 'GlobalNodes', 'Grid']
