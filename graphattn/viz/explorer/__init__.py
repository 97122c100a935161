"""A page on which attention is explored: one HTML file without server, library or request."""

from graphattn.viz.explorer.page import Page, join_pages
from graphattn.viz.explorer.scene import explore

__all__ = ["Page", "explore", "join_pages"]
