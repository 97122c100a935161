"""Where a node is: encodings added to its features."""

from graphattn.nn.positions.learned import LearnedPositions
from graphattn.nn.positions.sinusoidal import SinusoidalPositions

__all__ = ["LearnedPositions", "SinusoidalPositions"]
