"""What equals what: other layers as attention, and back where possible."""

from graphattn.nn.equivalences.convolution import ConvAttention
from graphattn.nn.equivalences.images import to_images, to_nodes

__all__ = ["ConvAttention", "to_images", "to_nodes"]
