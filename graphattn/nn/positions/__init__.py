"""Where a node is: encodings added to its features, or turning its queries and keys."""

from graphattn.nn.positions.continuous import ContinuousPositions
from graphattn.nn.positions.learned import LearnedPositions
from graphattn.nn.positions.recurrent import RecurrentPositions
from graphattn.nn.positions.rotary import RotaryPositions
from graphattn.nn.positions.signs import RandomSigns, SignInvariant
from graphattn.nn.positions.sinusoidal import SinusoidalPositions

__all__ = [
    "ContinuousPositions",
    "LearnedPositions",
    "RandomSigns",
    "RecurrentPositions",
    "RotaryPositions",
    "SignInvariant",
    "SinusoidalPositions",
]
