"""Layers."""

import torch

from graphattn.formulas.normalizers import (
    CustomNormalizer,
    EdgeNormalizer,
    Entmax15,
    Identity,
    Normalizer,
    Relu,
    RowNormalizer,
    Sigmoid,
    Softmax,
    Sparsemax,
    SquaredRelu,
    TopK,
)
from graphattn.formulas.scores import Additive, Bilinear, Cosine, Custom, Dot, Gat, Gaussian, Score
from graphattn.nn.acceleration import Acceleration, accelerate, restore
from graphattn.nn.attention import GraphAttention
from graphattn.nn.beam import Hypothesis
from graphattn.nn.bias import ALiBi, Bias, RelativeBias, T5Bias
from graphattn.nn.decoder import DecoderLayer
from graphattn.nn.decoding import Decoding
from graphattn.nn.dropout import Dropout
from graphattn.nn.edge_type_bias import EdgeTypeBias, HopBias
from graphattn.nn.embedding import TokenEmbedding
from graphattn.nn.encoder import EncoderLayer
from graphattn.nn.feed_forward import FeedForward
from graphattn.nn.gat_conv import GATConv
from graphattn.nn.gatv2_conv import GATv2Conv
from graphattn.nn.generation import beam_search, greedy_search, sample
from graphattn.nn.gps_conv import GPSConv
from graphattn.nn.hetero_attention import HeteroGraphAttention
from graphattn.nn.language_model import LanguageModel
from graphattn.nn.linear_attention import LinearAttention
from graphattn.nn.made_with import remember_arguments
from graphattn.nn.positions import (
    ContinuousPositions,
    LearnedPositions,
    RandomSigns,
    RecurrentPositions,
    RotaryPositions,
    SignInvariant,
    SinusoidalPositions,
)
from graphattn.nn.readout import AttentionReadout, ClassNode, MeanReadout
from graphattn.nn.residual import Residual
from graphattn.nn.seq2seq import Seq2Seq
from graphattn.nn.talking_heads import TalkingHeads
from graphattn.nn.transformer import GraphTransformer, GraphTransformerDecoder, PerLayer
from graphattn.nn.transformer_conv import TransformerConv

__all__ = [
    "ALiBi",
    "Acceleration",
    "Additive",
    "AttentionReadout",
    "Bias",
    "Bilinear",
    "ClassNode",
    "ContinuousPositions",
    "Cosine",
    "Custom",
    "CustomNormalizer",
    "DecoderLayer",
    "Decoding",
    "Dot",
    "Dropout",
    "EdgeNormalizer",
    "EdgeTypeBias",
    "EncoderLayer",
    "Entmax15",
    "FeedForward",
    "GATConv",
    "GATv2Conv",
    "GPSConv",
    "Gat",
    "Gaussian",
    "GraphAttention",
    "GraphTransformer",
    "GraphTransformerDecoder",
    "HeteroGraphAttention",
    "HopBias",
    "Hypothesis",
    "Identity",
    "LanguageModel",
    "LearnedPositions",
    "LinearAttention",
    "MeanReadout",
    "Normalizer",
    "PerLayer",
    "RandomSigns",
    "RecurrentPositions",
    "RelativeBias",
    "Relu",
    "Residual",
    "RotaryPositions",
    "RowNormalizer",
    "Score",
    "Seq2Seq",
    "Sigmoid",
    "SignInvariant",
    "SinusoidalPositions",
    "Softmax",
    "Sparsemax",
    "SquaredRelu",
    "T5Bias",
    "TalkingHeads",
    "TokenEmbedding",
    "TopK",
    "TransformerConv",
    "accelerate",
    "beam_search",
    "greedy_search",
    "restore",
    "sample",
]

remember_arguments(
    kind for kind in map(globals().get, __all__) if isinstance(kind, type) and issubclass(kind, torch.nn.Module)
)
