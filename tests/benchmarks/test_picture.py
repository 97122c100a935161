"""A picture is drawn, also where memory was not measured."""

from itertools import pairwise

from benchmarks.measure import Timing
from benchmarks.picture import draw, style_of
from benchmarks.report import Row


def test_draw(tmp_path):
    rows = [
        Row("w", pass_, "peer", Timing(size, size, size, 1.0), 1.0, size=size) for size in (1, 10) for pass_ in "ab"
    ]
    rows[0].extra = 2**20
    draw(rows, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_lines_on_one_place_are_all_seen():
    """A peer that is drawn later is thinner and smaller than those below it."""
    styles = [style_of(peer, "training") for peer in range(4)]
    for first, later in pairwise(styles):
        assert later["linewidth"] < first["linewidth"] and later["markersize"] < first["markersize"]
    assert style_of(0, "forward")["linestyle"] != style_of(0, "training")["linestyle"]
