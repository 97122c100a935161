"""Which loops a function runs, and where: for who wants to run the same ones again (`replay.py`)."""

import ctypes
from threading import local
from typing import NamedTuple

from torch import Tensor


class Made(NamedTuple):
    """Memory that was asked for to be written by loops."""

    tensor: Tensor
    is_zero: bool


class Ran(NamedTuple):
    """A loop that ran."""

    name: str
    work: "ctypes.Structure | ctypes.Array"
    bounds: Tensor


class Tape:
    """As long as it is entered it is told of all memory that is made for loops, and of all loops, of this thread.

    It keeps what it was told of alive, so that no address means two things.
    """

    def __init__(self) -> None:
        self.made: list[Made] = []
        self.ran: list[Ran] = []

    def __enter__(self) -> "Tape":
        HERE.tape = self
        return self

    def __exit__(self, *_: object) -> None:
        HERE.tape = None


class Here(local):
    tape: Tape | None = None


HERE = Here()


def tell_made(tensor: Tensor, is_zero: bool) -> Tensor:
    """The tensor, of which the tape is told that runs, if one does."""
    if HERE.tape is not None:
        HERE.tape.made.append(Made(tensor, is_zero))
    return tensor


def tell_ran(name: str, work: "ctypes.Structure | ctypes.Array", bounds: Tensor) -> None:
    if HERE.tape is not None:
        HERE.tape.ran.append(Ran(name, work, bounds))
