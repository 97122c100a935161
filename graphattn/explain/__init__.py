"""What attention looked at: the weights of every layer of a model, and how they come together over the layers.

PyG's `Explainer` takes every layer as well (AttentionExplainer, GNNExplainer, CaptumExplainer).
"""

from graphattn.explain.attention import LayerAttention, attention_of
from graphattn.explain.rollout import attention_rollout
from graphattn.explain.table import attention_edges, attention_table

__all__ = ["LayerAttention", "attention_edges", "attention_of", "attention_rollout", "attention_table"]
