"""Arguments by the names of torch, transformers, DGL and PyG."""

import inspect

import pytest
import torch

import graphattn.nn as nn
from graphattn.nn.other_names import INSTEAD, OURS

BLOCK = {"channels": 8, "heads": 2}


@pytest.mark.parametrize(
    "make, given, match",
    [
        (
            nn.GraphTransformer,
            {"channels": 8, "num_layers": 2, "nhead": 4},
            "no argument 'nhead'; here it is called heads",
        ),
        (
            nn.GraphTransformer,
            {"d_model": 8, "nhead": 4},
            "GraphTransformer has no argument 'd_model'; .* called channels",
        ),
        (nn.GraphTransformer, {**BLOCK, "num_encoder_layers": 2}, "called num_layers"),
        (nn.GraphTransformer, {"in_channels": 8}, "called channels"),
        (nn.EncoderLayer, {**BLOCK, "dim_feedforward": 9}, "EncoderLayer has .* called feedforward_channels"),
        (nn.EncoderLayer, {**BLOCK, "layer_norm_eps": 9}, "called norm_eps"),
        (nn.EncoderLayer, {**BLOCK, "batch_first": True}, "rows .* leave it out"),
        (nn.GraphAttention, {"embed_dim": 8, "num_heads": 2}, "called in_channels and out_channels"),
        (nn.GraphAttention, {"in_channels": 8, "out_channels": 8, "is_causal": True}, r"graphattn.causal\(n\)"),
        (nn.GraphAttention, {"in_channels": 8, "out_channels": 8, "attn_dropout": 0.1}, "called dropout"),
        (
            nn.GATConv,
            {"in_feats": 8, "out_feats": 8, "num_heads": 2},
            "GATConv has no argument 'in_feats'; .* in_channels",
        ),
        (nn.LanguageModel, {"vocab_size": 9}, "called num_tokens"),
        (nn.FeedForward, {"channels": 8, "dim_feedforward": 9}, "called hidden_channels"),
    ],
)
def test_the_error_says_our_name(make, given, match):
    with pytest.raises(TypeError, match=match):
        make(**given)


def test_subclasses_and_strangers():
    class Own(nn.GraphAttention):
        def __init__(self, size: int, num_heads: int):
            super().__init__(size, size, heads=num_heads)

    assert Own(8, num_heads=2).heads == 2
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        nn.GraphAttention(8, 8, nonsense=1)


def test_no_name_that_is_taken_somewhere_is_refused():
    for name in nn.__all__:
        kind = getattr(nn, name)
        if isinstance(kind, type) and issubclass(kind, torch.nn.Module):
            own = inspect.signature(kind).parameters
            handed_on = {"GraphTransformer": nn.EncoderLayer, "EncoderLayer": nn.GraphAttention}.get(name)
            taken = inspect.signature(handed_on).parameters if handed_on else ()
            assert not [
                word
                for word in taken
                if word not in own and (word in OURS or word in INSTEAD) and word != "in_channels"
            ]
