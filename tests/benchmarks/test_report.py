"""Figures are printed in units that one can read."""

from benchmarks.measure import Timing
from benchmarks.report import Row, megabytes, seconds


def test_units():
    assert [seconds(x) for x in (0.0000123, 0.0123, 1.23)] == ["12 us", "12.3 ms", "1.23 s"]
    assert [megabytes(x) for x in (None, 1000, 3 * 2**20)] == ["", "< 1 MiB", "3 MiB"]


def test_row():
    row = Row("work", "forward", "peer", Timing(0.002, 0.001, 0.003, 1.94), ratio=2.0, extra=2**21)
    assert row.cells() == ("work", "forward", "peer", "2 ms", "1 ms ... 3 ms", "2.00", "2 MiB", "", "1.9")
