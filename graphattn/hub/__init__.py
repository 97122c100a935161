"""Models in folders and on the Hugging Face Hub; needs `pip install graphattn[hub]`."""

try:
    import huggingface_hub  # noqa: F401
    import safetensors  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"graphattn.hub needs huggingface_hub and safetensors ({error}): pip install 'graphattn[hub]'"
    ) from error

from graphattn.hub.layers import from_pretrained, push_to_hub, save_pretrained
from graphattn.hub.mixin import HubMixin

__all__ = ["HubMixin", "from_pretrained", "push_to_hub", "save_pretrained"]
