"""Layers."""

from graphattn.kernels.normalizers import Normalizer, Relu, Sigmoid, Softmax
from graphattn.kernels.scores import Additive, Dot, Score
from graphattn.nn.attention import GraphAttention
from graphattn.nn.positions import LearnedPositions, SinusoidalPositions

__all__ = [
    "Additive",
    "Dot",
    "GraphAttention",
    "LearnedPositions",
    "Normalizer",
    "Relu",
    "Score",
    "Sigmoid",
    "SinusoidalPositions",
    "Softmax",
]
