"""Arguments of constructors by the names that other libraries give them: an error says ours."""

import inspect
from collections.abc import Mapping
from typing import Any

CHANNELS = ("channels", "in_channels and out_channels")
# What torch, transformers, DGL and PyG call it: what it may be called here.
OURS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("nhead", "num_heads", "n_heads", "n_head", "nheads", "num_attention_heads"), ("heads",)),
    **dict.fromkeys(("d_model", "embed_dim", "hidden_size", "hidden_dim", "hidden_channels", "n_embd"), CHANNELS),
    **dict.fromkeys(("in_channels", "in_features", "in_feats", "in_dim", "input_dim"), ("in_channels", "channels")),
    **dict.fromkeys(("out_features", "out_feats", "out_dim", "output_dim"), ("out_channels", "channels")),
    **dict.fromkeys(("dim_feedforward", "intermediate_size", "ffn_dim"), ("feedforward_channels", "hidden_channels")),
    **dict.fromkeys(
        ("num_encoder_layers", "num_decoder_layers", "num_hidden_layers", "n_layers", "depth"), ("num_layers",)
    ),
    **dict.fromkeys(("attn_dropout", "attn_drop", "attention_probs_dropout_prob"), ("attention_dropout", "dropout")),
    **dict.fromkeys(("feat_drop", "hidden_dropout_prob", "drop_rate"), ("dropout",)),
    **dict.fromkeys(("num_kv_heads", "num_key_value_heads", "n_kv_heads"), ("kv_heads",)),
    **dict.fromkeys(("layer_norm_eps", "eps"), ("norm_eps",)),
    **dict.fromkeys(("vocab_size", "num_embeddings"), ("num_tokens",)),
    **dict.fromkeys(("edge_channels", "edge_features", "edge_in_channels"), ("edge_dim",)),
}
OF_LAYERS = ("attention_dropout", "dropout", "norm_eps", "kv_heads", "edge_dim")  # which a stack hands on to them
# What nothing here is called, and why.
INSTEAD: Mapping[str, str] = {
    "batch_first": "nodes are rows [num_nodes, channels], of all examples (graphattn.from_padded takes [B, L, C]): leave it out",
    "add_self_loops": "a node sees itself where the graph says so: torch_geometric.transforms.AddSelfLoops before the layer",
    **dict.fromkeys(
        ("is_causal", "causal", "attn_mask", "mask"),
        "the graph says who attends to whom: give graphattn.causal(n), or another, to the call of the layer",
    ),
    **dict.fromkeys(
        ("window_size", "window"), "the graph says who attends to whom: give graphattn.BandedGraph to the call"
    ),
}


def check_names(kind: str, signature: inspect.Signature, given: Mapping[str, Any]) -> None:
    """Raises TypeError where an argument has the name that another library gives it.

    >>> def __init__(self, in_channels, out_channels, heads=1): ...
    >>> check_names('Layer', inspect.signature(__init__), {'in_channels': 8, 'nhead': 2})
    Traceback (most recent call last):
    TypeError: Layer has no argument 'nhead'; here it is called heads
    """
    own = signature.parameters
    takes_more = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in own.values())
    for name in given:
        if name in own:
            continue
        names = OURS.get(name, ())
        known = [ours for ours in names if ours.split()[0] in own]
        known += [ours for ours in names if takes_more and ours in OF_LAYERS]
        advice = f"here it is called {known[0]}" if known else INSTEAD.get(name)
        if advice is not None:
            raise TypeError(f"{kind} has no argument {name!r}; {advice}")
