"""Layers."""

from graphattn.kernels.normalizers import Normalizer, Relu, Sigmoid, Softmax
from graphattn.kernels.scores import Additive, Dot, Score
from graphattn.nn.attention import GraphAttention
from graphattn.nn.bias import ALiBi, Bias, RelativeBias, T5Bias
from graphattn.nn.positions import LearnedPositions, RotaryPositions, SinusoidalPositions

__all__ = [
    "ALiBi",
    "Additive",
    "Bias",
    "Dot",
    "GraphAttention",
    "LearnedPositions",
    "Normalizer",
    "RelativeBias",
    "Relu",
    "RotaryPositions",
    "Score",
    "Sigmoid",
    "SinusoidalPositions",
    "Softmax",
    "T5Bias",
]
