"""What equals what: other layers as attention, and back where possible."""

from graphattn.nn.equivalences.averaging import AveragingAttention
from graphattn.nn.equivalences.convolution import ConvAttention
from graphattn.nn.equivalences.images import to_images, to_nodes
from graphattn.nn.equivalences.multihead import from_attn_mask, from_multihead, to_multihead
from graphattn.nn.equivalences.recurrence import path_length, rnn_graph, sequential_steps

__all__ = [
    "AveragingAttention",
    "ConvAttention",
    "from_attn_mask",
    "from_multihead",
    "path_length",
    "rnn_graph",
    "sequential_steps",
    "to_images",
    "to_multihead",
    "to_nodes",
]
