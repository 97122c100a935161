"""The loops of a call, run again on other tensors of the same sizes, with no question between them.

A layer of few nodes takes its time from what is asked before each loop: of a step of 34 nodes the loops are a twentieth. What is
asked depends on sizes alone. So a call is played onto a `Tape`, and `Replay` keeps what came of it: which memory was made, and
the loops as they were handed over (`written.py`). To run them again takes new memory, its addresses, and the loops.
"""

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from graphattn.kernels.native.arrays import LARGE_PAGES, LINE, empty, nothing, zeros
from graphattn.kernels.native.border import Form, addresses_of
from graphattn.kernels.native.tape import Made, Tape
from graphattn.kernels.native.written import Where, Written


class Result(NamedTuple):
    """A tensor that is made for the caller, `seen` by size, strides and offset where that is another view of its memory."""

    form: Form
    is_zero: bool
    seen: tuple[tuple[int, ...], tuple[int, ...], int] | None
    like: Tensor | None  # what is quickest to make it by, where it is small

    def make(self) -> Tensor:
        return zeros(*self.form) if self.is_zero else empty(*self.form)

    def see(self, tensor: Tensor) -> Tensor:
        if self.seen is None:
            return tensor
        shape, strides, offset = self.seen
        return tensor.as_strided(shape, strides, tensor.storage_offset() + offset)


class Slot(NamedTuple):
    """Part of the memory that all arrays share which are no results."""

    form: Form
    is_zero: bool
    offset: int  # in bytes
    bytes: int


class Ready(NamedTuple):
    """What a call is given, as loops read it."""

    given: Sequence[Tensor | None]
    addresses: list[int]


class Replay(NamedTuple):
    """What a tape says, in the form in which it runs again.

    Attributes:
        given: Of the tensors that a call reads; None for one that is not there.
        results: Of the tensors that a call makes for its caller.
        slots: Of all other memory, which is one tensor, and `size`, its bytes.
        kept: Of what the caller wants to see of the rest: its slot, and its shape.
        loops: That ran; their arrays are what is given, then the results, then the shared memory.
    """

    given: tuple[Form | None, ...]
    results: tuple[Result, ...]
    slots: tuple[Slot, ...]
    size: int
    kept: tuple[tuple[int, torch.Size], ...]
    loops: Written

    @classmethod
    def of(
        cls, tape: Tape, given: Sequence[Tensor | None], results: Sequence[Tensor], kept: Sequence[Tensor] = ()
    ) -> "Replay | None":
        """What ran on a tape, to run again; None if it was more than loops over what was given, made, and of the graph.

        Args:
            given: The tensors that the call was given, which it only read.
            results: Those that it made for its caller, parts of what was made while the tape ran.
            kept: Those that it wants to see later: each all of what was made, in any shape.
        """
        takes = tuple([None if x is None else Form(x.shape, x.dtype) for x in given])
        if not tape.ran or addresses_of(given, takes) is None:
            return None
        bases = [base_of(tape, x) for x in results]
        hidden = [i for i in range(len(tape.made)) if i not in bases]
        rooms = [base_of(tape, x) for x in kept]
        if None in bases or len(set(bases)) < len(bases) or not all([room in hidden for room in rooms]):
            return None
        if not all([is_all_of(tape.made[i], x) for i, x in zip(rooms, kept) if i is not None]):
            return None
        made = [tape.made[base] for base in bases if base is not None]
        made_again = tuple([result_of(base, x) for base, x in zip(made, results)])
        slots = slots_of([tape.made[i] for i in hidden])
        size = slots[-1].offset + slots[-1].bytes if slots else 0
        arrays = [(x, number, 0) for number, x in enumerate(given) if x is not None]
        arrays += [(x.tensor, len(given) + number, 0) for number, x in enumerate(made)]
        arrays += [(tape.made[i].tensor, len(given) + len(made), slot.offset) for i, slot in zip(hidden, slots)]
        loops = Written.of(tape.ran, Where.of(arrays))
        if loops is None:
            return None
        of_kept = tuple([(hidden.index(i), x.shape) for i, x in zip(rooms, kept) if i is not None])
        return cls(takes, made_again, tuple(slots), size, of_kept, loops)

    def ready(self, given: Sequence[Tensor | None]) -> "Ready | None":
        """Tensors that loops may read as they read those of the first call; None: they may not, the call must go another way.

        Nothing may look at what runs: no mode, no transform.
        """
        addresses = addresses_of(given, self.given)
        return None if addresses is None else Ready(given, addresses)

    def run(self, ready: "Ready", seed: int = 0) -> tuple[list[Tensor], Tensor]:
        """The results, and the memory that `views` looks into."""
        results = [of.make() if of.like is None else of.like.new_empty(of.form.shape) for of in self.results]
        room = self.make_room()
        start = room.data_ptr()
        for slot in self.slots:
            if slot.is_zero:
                ctypes.memset(start + slot.offset, 0, slot.bytes)
        where = [*ready.addresses, *[x.data_ptr() for x in results], start]
        self.loops.run(where, seed, kept=(ready, results, room))
        return [x if of.seen is None else of.see(x) for of, x in zip(self.results, results)], room

    def make_room(self) -> Tensor:
        # Many small arrays are no large one, whose pages would be new each time.
        is_large = any([slot.bytes >= LARGE_PAGES for slot in self.slots])
        return empty((self.size,), torch.uint8) if is_large else nothing(torch.uint8).new_empty(self.size)

    def views(self, room: Tensor) -> list[Tensor]:
        """What was kept, in the memory of a run."""
        slots = [(self.slots[i], shape) for i, shape in self.kept]
        return [room[of.offset : of.offset + of.bytes].view(of.form.dtype).view(shape) for of, shape in slots]


def base_of(tape: Tape, x: Tensor) -> int | None:
    """The number of what was made of which a tensor is a part."""
    memory = x.untyped_storage().data_ptr()
    return next((i for i, made in enumerate(tape.made) if made.tensor.untyped_storage().data_ptr() == memory), None)


def is_all_of(made: Made, x: Tensor) -> bool:
    return x.is_contiguous() and x.numel() == made.tensor.numel()


def result_of(made: Made, seen: Tensor) -> Result:
    tensor, is_zero = made
    view: tuple[tuple[int, ...], tuple[int, ...], int] | None = None
    if seen.shape != tensor.shape or seen.data_ptr() != tensor.data_ptr():
        view = tuple(seen.shape), seen.stride(), int(seen.storage_offset()) - int(tensor.storage_offset())
    is_quick = not is_zero and tensor.nbytes < LARGE_PAGES
    return Result(Form(tensor.shape, tensor.dtype), is_zero, view, nothing(tensor.dtype) if is_quick else None)


def slots_of(made: Sequence[Made]) -> list[Slot]:
    """Side by side, each from the start of a cache line."""
    slots: list[Slot] = []
    offset = 0
    for tensor, is_zero in made:
        slots.append(Slot(Form(tensor.shape, tensor.dtype), is_zero, offset, tensor.nbytes))
        offset += -(-tensor.nbytes // LINE) * LINE
    return slots
