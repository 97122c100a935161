"""A picture is drawn, also where memory was not measured."""

from benchmarks.measure import Timing
from benchmarks.picture import draw
from benchmarks.report import Row


def test_draw(tmp_path):
    rows = [
        Row("w", pass_, "peer", Timing(size, size, size, 1.0), 1.0, size=size) for size in (1, 10) for pass_ in "ab"
    ]
    rows[0].extra = 2**20
    draw(rows, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
