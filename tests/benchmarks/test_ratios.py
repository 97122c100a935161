"""Ratios are those of the times, each beside its bound."""

from benchmarks.measure import Timing
from benchmarks.ratios import draw_ratios, ratios
from benchmarks.report import Row

TIMES = {"ours": 2.0, "theirs": 6.0, "products": 1.5}


def rows():
    return [
        Row(work, pass_, peer, Timing(time * factor, 0, 0, 1.0), 1.0)
        for work in ("a", "b")
        for pass_, factor in (("forward", 1), ("forward + backward", 3))
        for peer, time in TIMES.items()
    ]


def test_ratios_of_the_peer_and_of_the_bound():
    found = ratios(rows(), "products")
    assert found == [(work, pass_, 3.0, 4.0) for work in "ab" for pass_ in ("forward", "forward + backward")]


def test_draw(tmp_path):
    draw_ratios(rows(), tmp_path / "ratios.png", "products", "title")
    assert (tmp_path / "ratios.png").read_bytes().startswith(b"\x89PNG")
