"""The numbers at which one kernel overtakes another, read once from `crossovers.json`, which has the figures behind them."""

import json
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("crossovers.json")


class Crossovers(NamedTuple):
    """The constants of the file; what each is stands beside its figures there."""

    least_share_of_tiles: dict[str, float]  # by kernel
    least_share_of_dilated_tiles: dict[str, float]  # by kernel, where it is another under dilation
    least_share_in_bfloat16: dict[str, float]  # by kernel, where torch's products of it are faster
    least_share_with_bias: float  # by offset, which 'edges_cpu' is given edge by edge
    most_numbers_of_edges: int
    area_of_a_call: int  # scores
    edges_of_a_call: int
    least_keys: int  # that a query sees, on average
    blocks_of_bands: list[tuple[int, int]]  # (keys of a window at most, queries of a tile)
    blocks_of_bands_backward: list[tuple[int, int]]
    largest_block_of_bands: int  # where windows are wider than all of them
    blocks_of_grids: list[int]  # queries of a tile along an axis, by the number of axes longer than one
    block_of_more_axes: int
    wide_window: int  # keys along an axis


def read(file: Path = FILE) -> Crossovers:
    """The constants of all topics of a file."""
    topics = json.loads(file.read_text(encoding="utf-8"))
    return Crossovers(**{name: value for topic in topics.values() for name, value in topic["constants"].items()})


CROSSOVERS = read()
