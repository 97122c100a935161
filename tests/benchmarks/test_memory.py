"""The measurement of memory finds what it should: temporaries, without inputs and results."""

import functools

import torch

from benchmarks.measure import Case, Peer
from benchmarks.memory import peak_memory

SIZE = 4 * 2**20  # float32 numbers: 16 MiB
MIB = 2**20
kept = []


@functools.cache
def remembered(case_number: int) -> torch.Tensor:
    return torch.ones(2 * SIZE)


def build() -> Case:
    kept.append(None)
    number = len(kept)

    def with_temporaries(x):
        first = x * 2  # beside it lives `second`, which is the result
        second = first + 1
        return second

    peers = {
        "in place": Peer(lambda x: x.clone().mul_(2)),
        "temporary": Peer(with_temporaries),
        "keeps": Peer(lambda x: x + remembered(number)[:SIZE]),
    }
    return Case((torch.zeros(SIZE),), peers, lambda row, x: x[row], SIZE)


def test_peak_is_counted_beyond_inputs_and_results():
    in_place, temporary, keeps = (
        peak_memory(build, (), "forward", peer) for peer in ("in place", "temporary", "keeps")
    )
    assert in_place.extra < 2 * MIB and in_place.kept < 2 * MIB
    assert 15 * MIB < temporary.extra < 18 * MIB and temporary.kept < 2 * MIB
    assert keeps.extra < 2 * MIB and 31 * MIB < keeps.kept < 34 * MIB
