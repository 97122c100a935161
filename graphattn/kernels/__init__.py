"""How attention over a graph is computed: one file per kernel, chosen by `choose.py`."""
