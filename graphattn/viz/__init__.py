"""Pictures of graphs and of attention over them (needs matplotlib, extra 'viz').

Every `draw_...` takes an `ax` to draw into, or makes one; saves the figure as `path` if that is given; and returns the
Axes, whose `.figure` is the figure. Weights are those of the edges, [num_edges] or [num_edges, heads], in the order of
`graph.edge_index()`, as a layer returns them; of several heads the mean is drawn. Large graphs are sampled, and say so.

`explore` writes a page for the browser instead (without matplotlib), on which every head of every layer is looked at.
"""

from graphattn.viz.explorer import Page, explore, join_pages
from graphattn.viz.heads import draw_heads
from graphattn.viz.image import draw_image
from graphattn.viz.mask import draw_mask
from graphattn.viz.molecule import draw_molecule
from graphattn.viz.node_link import draw_graph, draw_network
from graphattn.viz.sound import draw_sound
from graphattn.viz.words import draw_words

__all__ = [
    "Page",
    "draw_graph",
    "draw_heads",
    "draw_image",
    "draw_mask",
    "draw_molecule",
    "draw_network",
    "draw_sound",
    "draw_words",
    "explore",
    "join_pages",
]
