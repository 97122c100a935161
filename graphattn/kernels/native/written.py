"""Loops as they were handed over, to run again at other addresses."""

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from graphattn.kernels.native.border import Struct
from graphattn.kernels.native.tape import Ran
from graphattn.kernels.native.threads import Job, run_job

WORD = ctypes.sizeof(ctypes.c_int64)  # every field of a struct takes one


class Where(NamedTuple):
    """Ranges of addresses, of which each belongs to one array."""

    ranges: list[tuple[int, int, int, int]]  # first address, the one behind the last, number of the array, offset in it

    @classmethod
    def of(cls, arrays: Sequence[tuple[Tensor, int, int]]) -> "Where":
        starts = [(x.data_ptr(), x.nbytes, number, offset) for x, number, offset in arrays]
        return cls([(start, start + size, number, offset) for start, size, number, offset in starts if size])

    def find(self, address: int) -> tuple[int, int] | None:
        """Its array and the bytes before it, None if it is in none, or in two: they may not be one tensor next time."""
        found = [
            (number, offset + address - start) for start, end, number, offset in self.ranges if start <= address < end
        ]
        return found[0] if len(found) == 1 else None


class Place(NamedTuple):
    """Where the address of an array stands, and so many bytes."""

    word: int
    array: int
    offset: int


class Written(NamedTuple):
    """Loops, one after the other.

    Attributes:
        words: The structs of all, and after them their jobs.
        places: Of all addresses that differ between calls.
        seeds: The words that are the seed of dropout.
        jobs: Of each loop the word where its job begins, and how many pieces it has.
        bounds: Which jobs have the addresses of.
    """

    words: ctypes.Array
    places: tuple[Place, ...]
    seeds: tuple[int, ...]
    jobs: tuple[tuple[int, int], ...]
    bounds: tuple[Tensor, ...]

    @classmethod
    def of(cls, ran: Sequence[Ran], where: Where) -> "Written | None":
        """None if an address is that of nothing known: a copy of a tensor, or what torch made."""
        words: list[int] = []
        places: list[Place] = []
        seeds: list[int] = []
        starts: list[int] = []
        for loop in ran:
            starts.append(len(words))
            for struct in structs_of(loop.work):
                first = len(words)
                words += (ctypes.c_int64 * (ctypes.sizeof(struct) // WORD)).from_buffer_copy(struct)
                for name, address in addresses_in(struct):
                    found = where.find(address)
                    if found is None:
                        return None
                    places.append(Place(first + word_of(struct, name), *found))
                seeds += [first + word_of(struct, name) for name in struct.SEEDS]
        jobs: list[tuple[int, int]] = []
        for loop, start in zip(ran, starts):
            jobs.append((len(words), loop.bounds.numel() - 1))
            words += Job.words(loop.name, start * WORD, loop.bounds)
        all_words = (ctypes.c_int64 * len(words))(*words)
        return cls(all_words, tuple(places), tuple(seeds), tuple(jobs), tuple([loop.bounds for loop in ran]))

    def run(self, where: Sequence[int], seed: int, kept: Any) -> None:
        """All loops on arrays at these addresses, which `kept` keeps alive."""
        words = type(self.words).from_buffer_copy(self.words)
        for word, array, offset in self.places:
            words[word] = where[array] + offset
        for word in self.seeds:
            words[word] = seed
        here = ctypes.addressof(words)
        for word, pieces in self.jobs:
            words[word + 1] += here  # the job has its struct in these words
            run_job(here + word * WORD, pieces, (words, kept))


def structs_of(work: Any) -> Sequence[Struct]:
    return list(work) if isinstance(work, ctypes.Array) else [work]


def word_of(struct: Struct, name: str) -> int:
    return getattr(type(struct), name).offset // WORD


def addresses_in(struct: Struct) -> list[tuple[str, int]]:
    """Those that belong to a call, not to its graph."""
    fields: Any = struct._fields_
    names = [name for name, form in fields if form is ctypes.c_void_p and name not in struct.LASTING]
    return [(name, getattr(struct, name)) for name in names if getattr(struct, name) is not None]
